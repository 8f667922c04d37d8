"""Searches for many items at once find what each search finds, to the bit."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multirecall import Dataset
from multirecall.datasets import generate
from multirecall.retrievers._text import similar
from multirecall.retrievers._text.cold_start import with_cold_items
from multirecall.retrievers._text.postings import FieldTerms, Postings
from multirecall.retrievers._text.similar import plan_searches, search_planned
from multirecall.retrievers._text.terms import TermCounts
from multirecall.retrievers._vector_table import VectorTable

N_ITEMS, N_WORDS, N_KINDS = 500, 40, 6


def catalogue(seed: int) -> Postings:
    """Items with a few words, which a few hold or most, and one of a few kinds; some have neither."""
    rng = np.random.default_rng(seed)
    share = 1.0 / (1 + np.arange(N_WORDS))
    holds = rng.random((N_ITEMS, N_WORDS)) < share
    items, words = (one.astype(np.int32) for one in np.nonzero(holds))
    counts = TermCounts(items, words, rng.integers(1, 3, items.size).astype(np.float32))
    kinds = np.flatnonzero(rng.random(N_ITEMS) < 0.8).astype(np.int32)
    one_each = TermCounts(kinds, rng.integers(0, N_KINDS, kinds.size).astype(np.int32), np.ones(kinds.size, np.float32))
    fields = [FieldTerms(counts, N_WORDS, 1.0, 0.75, False), FieldTerms(one_each, N_KINDS, 1.0, 0.0, True)]
    return Postings.of(fields, N_ITEMS, 1.2)


@settings(max_examples=30)
@given(
    seed=st.integers(0, 50),
    rare=st.sampled_from([0, 3, 30, 10_000]),
    k=st.sampled_from([1, 7, 600]),
    limits=st.sampled_from([(64, 50_000), (3, 50_000), (64, 200), (64, 1)]),
)
def test_lists_equal_those_of_single_searches(seed: int, rare: int, k: int, limits: tuple[int, int]) -> None:
    postings = catalogue(seed)
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(similar, "RARE", rare)
        *plan, order = plan_searches(postings.profiles, postings, *limits)
    assert sorted(order.tolist()) == [*range(N_ITEMS)]
    near, scores = search_planned(0, N_ITEMS, order, *plan, postings, k)
    for place, item in enumerate(order.tolist()):
        one = np.array([item], np.int32), np.ones(1, np.float32)
        items, own = postings.search(*postings.order(*postings.profile(*one, *limits)), k)
        assert near[place, : items.size].tolist() == items.tolist()
        assert scores[place, : items.size].tolist() == own.tolist()
        assert (near[place, items.size :] == -1).all()
        assert not scores[place, items.size :].any()


def test_threads_change_no_vector_of_a_cold_item() -> None:
    log = generate(100, 10_000, 400)
    data = Dataset.from_frames(log.interactions, log.items, log.users)
    vectors = np.random.default_rng(0).normal(size=(data.n_items, 8)).astype(np.float32)
    (one, rule), (two, _) = (with_cold_items(vectors, data, 10, threads=threads) for threads in (1, 2))
    assert one.tobytes() == two.tobytes()
    cold = np.flatnonzero(~rule.learnt).astype(np.int32)
    assert cold.size > 2 * 4_096, "several blocks"
    alone = rule.vectors(data.items, cold[5:6], VectorTable.of(one))
    assert alone.tobytes() == one[cold[5]].tobytes(), "an item that joins later gets what the fit gives it"


def test_vector_of_a_cold_item_by_hand() -> None:
    """Two items share its colour and its shape, one its colour alone; the mean weighs them by BM25 and has the mean
    length of all learnt vectors."""
    items = pl.DataFrame(
        {"item_id": range(5), "colour": ["red", "red", "red", "blue", "red"], "shape": ["a", "a", "b", "b", "a"]}
    )
    data = Dataset.from_frames(pl.DataFrame({"user_id": [0] * 4, "item_id": [0, 1, 2, 3]}), items)
    vectors = np.array([[3, 0], [0, 2], [-1, 0], [0, 2], [9, 9]], np.float32)
    filled, _ = with_cold_items(vectors, data, 10)
    red, a = np.log1p((5 - 4 + 0.5) / (4 + 0.5)), np.log1p((5 - 3 + 0.5) / (3 + 0.5))
    both, one = red * red + a * a, red * red  # idf of the profile times idf of the score, counts of 1
    mean = (both * np.array([1, 0]) + both * np.array([0, 1]) + one * np.array([-1, 0])) / (2 * both + one)
    assert filled[4] == pytest.approx(2 * mean, rel=1e-5)


def test_without_a_learnt_item_the_vectors_are_zero() -> None:
    log = generate(50, 100, 10)
    data = Dataset.from_frames(log.interactions, log.items)
    vectors, rule = with_cold_items(np.ones((data.n_items, 3), np.float32), data, 5, np.zeros(data.n_items, bool))
    assert rule.lexicons
    assert (vectors == 0).all()

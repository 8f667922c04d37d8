"""Pruned search over postings equals adding up all of them, to the bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multirecall.retrievers._gather import Sums
from multirecall.retrievers._postings import FieldTerms, Postings
from multirecall.retrievers._terms import TermCounts
from multirecall.topk import ALL_ALLOWED, NO_ROWS

N_ITEMS = 4_000
HOLDERS = (3, 8, 20, 60, 150, 600, 1_500, 2_500, 3_200, 3_900)


def index(seed: int, *, single: bool = False) -> Postings:
    """Postings of ten terms, few to almost all items each; with `single` two fields of five terms, one an item."""
    rng = np.random.default_rng(seed)
    if single:
        shares = np.array([0.01, 0.04, 0.1, 0.25, 0.6])
        everyone = np.arange(N_ITEMS, dtype=np.int32)
        fields = []
        for _ in range(2):
            terms = rng.choice(5, N_ITEMS, p=shares / shares.sum()).astype(np.int32)
            fields.append(FieldTerms(TermCounts(everyone, terms, np.ones(N_ITEMS, np.float32)), 5, 1.0, 0.0, True))
        return Postings.of(fields, N_ITEMS, 1.2)
    items = [np.sort(rng.choice(N_ITEMS, n, replace=False)) for n in HOLDERS]
    terms = np.repeat(np.arange(len(HOLDERS)), HOLDERS)
    counts = rng.integers(1, 4, terms.size).astype(np.float32)
    order = np.argsort(np.concatenate(items), kind="stable")
    own = TermCounts(np.concatenate(items)[order].astype(np.int32), terms[order].astype(np.int32), counts[order])
    return Postings.of([FieldTerms(own, len(HOLDERS), 1.0, 0.75, False)], N_ITEMS, 1.2)


@pytest.mark.parametrize("single", [False, True])
@given(
    seed=st.integers(0, 20),
    weights=st.dictionaries(st.integers(0, 9), st.sampled_from([0.0, 0.5, 1.0, 1.0, 3.0]), max_size=10),
    excluded=st.sets(st.integers(0, N_ITEMS - 1), max_size=100),
    share=st.sampled_from([1.0, 0.5, 0.01]),
    k=st.sampled_from([0, 1, 3, 10, 100, 5_000]),
)
def test_equals_all_sums(
    single: bool, seed: int, weights: dict[int, float], excluded: set[int], share: float, k: int
) -> None:
    postings = index(seed, single=single)
    exclude = np.array(sorted(excluded), np.int32)
    allowed = ALL_ALLOWED if share == 1.0 else np.random.default_rng(seed).random(N_ITEMS) < share
    terms = postings.ordered(np.array([*weights], np.int32), np.array([*weights.values()], np.float32))
    sums = Sums(N_ITEMS)
    postings.impacts.add(*terms, sums)
    expected_items, expected_scores = sums.top_among(k, exclude, allowed)
    items, scores = postings.search(*terms, k, exclude, allowed)
    assert items.tolist() == expected_items.tolist()
    assert scores.tolist() == expected_scores.tolist()
    assert not Sums(N_ITEMS).totals.any(), "the scratch memory is clean again"


def test_postings_that_cannot_matter_are_not_read() -> None:
    postings = index(1)
    terms, weights = postings.ordered(np.array([1, 2, 9], np.int32), np.ones(3, np.float32))
    impacts = postings.impacts
    spoilt = impacts.values.copy()
    spoilt[impacts.offsets[9] : impacts.offsets[10]] = np.nan
    unread = replace(postings, impacts=replace(impacts, values=spoilt))
    items, scores = postings.search(terms, weights, 5, NO_ROWS)
    assert unread.search(terms, weights, 5, NO_ROWS)[0].tolist() == items.tolist()
    assert np.isfinite(scores).all()

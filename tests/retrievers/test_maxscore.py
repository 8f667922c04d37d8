"""Pruned search over postings equals adding up all of them, to the bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multirecall.retrievers._text.columns import NO_CODE
from multirecall.retrievers._text.maxscore import _sum_lower_bound
from multirecall.retrievers._text.postings import FieldTerms, Postings
from multirecall.retrievers._text.terms import TermCounts
from multirecall.sums import Sums
from multirecall.topk import ALL_ALLOWED, NO_ROWS

N_ITEMS = 4_000
HOLDERS = (3, 8, 20, 60, 150, 600, 1_500, 2_500, 3_200, 3_900)


def lists(rng: np.random.Generator) -> FieldTerms:
    """Ten terms, few to almost all items each, several times in some."""
    items = [np.sort(rng.choice(N_ITEMS, n, replace=False)) for n in HOLDERS]
    terms = np.repeat(np.arange(len(HOLDERS)), HOLDERS)
    counts = rng.integers(1, 4, terms.size).astype(np.float32)
    order = np.argsort(np.concatenate(items), kind="stable")
    own = TermCounts(np.concatenate(items)[order].astype(np.int32), terms[order].astype(np.int32), counts[order])
    return FieldTerms(own, len(HOLDERS), 1.0, 0.75, False)


def singles(rng: np.random.Generator, n_terms: int) -> FieldTerms:
    """Terms of which nine in ten items hold one."""
    items = np.flatnonzero(rng.random(N_ITEMS) < 0.9).astype(np.int32)
    shares = 2.0 ** np.arange(min(n_terms, 5))
    terms = rng.choice(shares.size, items.size, p=shares / shares.sum()).astype(np.int32)
    return FieldTerms(TermCounts(items, terms, np.ones(items.size, np.float32)), n_terms, 1.0, 0.0, True)


def index(seed: int, kind: str = "lists") -> Postings:
    """Postings of fields that have columns, have none, and have too many terms for one."""
    rng = np.random.default_rng(seed)
    fields = {
        "lists": lambda: [lists(rng)],
        "singles": lambda: [singles(rng, 5), singles(rng, 5)],
        "mixed": lambda: [singles(rng, 5), lists(rng)],
        "many": lambda: [singles(rng, NO_CODE + 1)],
    }
    return Postings.of(fields[kind](), N_ITEMS, 1.2)


@pytest.mark.parametrize("kind", ["lists", "singles", "mixed", "many"])
@given(
    seed=st.integers(0, 20),
    weights=st.dictionaries(st.integers(0, 9), st.sampled_from([0.0, 0.5, 1.0, 1.0, 3.0]), max_size=10),
    excluded=st.sets(st.integers(0, N_ITEMS + 50), max_size=100),
    share=st.sampled_from([1.0, 0.5, 0.01]),
    k=st.sampled_from([0, 1, 3, 10, 100, 5_000]),
)
def test_equals_all_sums(
    kind: str, seed: int, weights: dict[int, float], excluded: set[int], share: float, k: int
) -> None:
    postings = index(seed, kind)
    exclude = np.array(sorted(excluded), np.int32)
    allowed = ALL_ALLOWED if share == 1.0 else np.random.default_rng(seed).random(N_ITEMS) < share
    terms = postings.order(np.array([*weights], np.int32), np.array([*weights.values()], np.float32))
    sums = Sums(N_ITEMS)
    postings.impacts.add(*terms, sums)
    expected_items, expected_scores = sums.top_among(k, exclude, allowed)
    items, scores = postings.search(*terms, k, exclude, allowed)
    assert items.tolist() == expected_items.tolist()
    assert scores.tolist() == expected_scores.tolist()
    assert not Sums(N_ITEMS).totals.any(), "the scratch memory is clean again"


def test_postings_that_cannot_matter_are_not_read() -> None:
    postings = index(1)
    terms, weights = postings.order(np.array([1, 2, 9], np.int32), np.ones(3, np.float32))
    impacts = postings.impacts
    spoilt = impacts.values.copy()
    spoilt[impacts.offsets[9] : impacts.offsets[10]] = np.nan
    unread = replace(postings, impacts=replace(impacts, values=spoilt))
    items, scores = postings.search(terms, weights, 5, NO_ROWS)
    assert unread.search(terms, weights, 5, NO_ROWS)[0].tolist() == items.tolist()
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("n_steps", [1, 8, 100])
def test_sums_that_rounding_lifts_are_not_cut_off(n_steps: int) -> None:
    """Each addend is little more than half a step between float32 numbers, and counts as a whole one."""
    step = np.float32(2.0**-23)
    addend = np.float32(0.51) * step
    low = np.float32(1.0) + 7 * step
    total = low
    for _ in range(n_steps):
        total += addend
    assert total == low + n_steps * step
    assert _sum_lower_bound(int(total.view(np.int32)), n_steps * float(addend), n_steps) <= low.view(np.int32)

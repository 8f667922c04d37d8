from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import rank_items

from multirecall.kernels import LANES, Array, first_place, kernel, lanes_at_least
from multirecall.query import Query
from multirecall.selection import best_keys, candidates_of, find_best, key_of
from multirecall.topk import ALL_ALLOWED, MARK_WORDS, NO_ROWS, eligible, find_places, top_eligible, top_k

SCORES = st.dictionaries(
    st.integers(0, 50),
    st.sampled_from([0.0, 1.0, -1.0, 0.5, math.nan, math.inf, -math.inf, 1e-30, 3.25]),
    max_size=40,
)


def arrays(scores: dict[int, float]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([*scores], np.int32), np.array([*scores.values()], np.float32)


@given(SCORES, st.integers(0, 60))
def test_follows_the_ordering_rule(scores: dict[int, float], k: int) -> None:
    items, values = top_k(*arrays(scores), k)
    assert items.tolist() == rank_items(scores)[:k]
    assert values.tolist() == [float(np.float32(scores[item])) for item in items.tolist()]


@given(SCORES, st.integers(0, 50), st.integers(0, 20))
def test_top_of_a_concatenation_is_top_of_the_tops(scores: dict[int, float], cut: int, k: int) -> None:
    items, values = arrays(scores)
    whole = top_k(items, values, k)
    parts = [top_k(items[part], values[part], k) for part in (slice(0, cut), slice(cut, None))]
    joined_items, joined_values = (np.concatenate(column) for column in zip(*parts, strict=True))
    again = top_k(joined_items, joined_values, k)
    assert whole[0].tolist() == again[0].tolist()
    assert whole[1].tolist() == again[1].tolist()


@given(SCORES, st.sets(st.integers(0, 50)), st.sets(st.integers(0, 50)), st.integers(0, 20))
def test_filters_before_it_counts(scores: dict[int, float], exclude: set[int], allowed: set[int], k: int) -> None:
    bitmap = np.zeros(51, np.bool_)
    bitmap[list(allowed)] = True
    rows = np.array(sorted(exclude), np.int32)
    wanted = [item for item in rank_items(scores) if item in allowed and item not in exclude]
    assert top_eligible(*arrays(scores), k, rows, bitmap)[0].tolist() == wanted[:k]
    every = np.arange(51, dtype=np.int32)
    assert every[eligible(every, rows, bitmap)].tolist() == sorted(allowed - exclude)


@given(st.sets(st.one_of(st.integers(0, 40), st.integers(0, 2**31 - 1)), max_size=60), st.integers(0, 3))
def test_a_row_that_shares_its_mark_with_excluded_ones_is_eligible(excluded: set[int], turns: int) -> None:
    """Rows 4,096 apart share a mark."""
    exclude = np.array(sorted(excluded), np.int32)
    others = {row + turns * MARK_WORDS * 64 for row in excluded} | set(range(45))
    rows = [row for row in others if row < 2**31]
    asked = Query(-1, NO_ROWS, np.empty(0, np.float32), exclude=exclude)
    assert asked.eligible(np.array(rows, np.int32)).tolist() == [row not in excluded for row in rows]


def test_no_filter_lets_everything_pass() -> None:
    items, _ = top_eligible(np.arange(5, dtype=np.int32), np.arange(5, dtype=np.float32), 9, NO_ROWS, ALL_ALLOWED)
    assert items.tolist() == [4, 3, 2, 1, 0]


def test_scores_are_compared_as_float32() -> None:
    """Of a float64 nothing is left that a ranked list could not hold; so 1 and 1 + 1e-12 tie, and the row decides."""
    items, scores = top_k(np.arange(3, dtype=np.int32), np.array([1.0, 1.0 + 1e-12, 1e300]), 3)
    assert (items.tolist(), scores.tolist()) == ([0, 1], [1.0, 1.0])
    assert scores.dtype == np.float32


ENDS = np.array([0.0, -0.0, 1.0, -1.0, np.nan, np.inf, -np.inf, 1e-45, -1e-45, 3.4028235e38, -3.4028235e38], np.float32)


@given(
    seed=st.integers(0, 10**6),
    n=st.sampled_from([0, 1, 9, 300, 9_000]),
    kind=st.sampled_from(["positive", "negative", "both", "ends", "ties"]),
    k=st.sampled_from([0, 1, 10, 300, 10_000]),
    n_excluded=st.sampled_from([0, 3, 300]),
    filtered=st.booleans(),
)
def test_the_best_of_many_are_those_of_a_full_sort(
    seed: int, n: int, kind: str, k: int, n_excluded: int, filtered: bool
) -> None:
    rng = np.random.default_rng(seed)
    items = rng.permutation(10_000)[:n].astype(np.int32)
    scores = (rng.normal(size=n) * 10.0 ** rng.integers(-44, 38)).astype(np.float32)
    if kind in ("positive", "negative"):
        scores = np.abs(scores) * np.float32(1 if kind == "positive" else -1)
    elif kind != "both":
        scores = rng.choice(ENDS if kind == "ends" else ENDS[:3], n)
    exclude = np.sort(rng.permutation(10_000)[:n_excluded]).astype(np.int32)
    allowed = rng.random(10_000) < 0.5 if filtered else ALL_ALLOWED
    good = np.isfinite(scores) & ~np.isin(items, exclude) & (allowed[items] if filtered else True)
    order = np.lexsort((items[good], -scores[good]))[:k]
    found = top_eligible(items, scores, k, exclude, allowed)
    assert found[0].tolist() == items[good][order].tolist()
    assert found[1].tolist() == scores[good][order].tolist()


@pytest.mark.parametrize("k", [10, 300, 3_000])
@pytest.mark.parametrize(
    "scores",
    [
        np.random.default_rng(0).normal(size=10_000),
        np.random.default_rng(0).uniform(0.5, 0.6, 10_000),
        -1 - np.random.default_rng(0).random(10_000),
        np.random.default_rng(0).pareto(0.5, 10_000),
    ],
    ids=["of both signs", "in a narrow range", "below zero", "over many powers of ten"],
)
def test_few_more_places_are_found_than_asked_for(scores: np.ndarray, k: int) -> None:
    places = find_places(np.arange(10_000, dtype=np.int32), scores.astype(np.float32), k, ALL_ALLOWED)
    assert set(np.argsort(-scores)[:k].tolist()) <= set(places.tolist())
    assert places.size <= 1.3 * k + 20


@kernel
def keys_of(items: np.ndarray, bits: np.ndarray) -> np.ndarray:
    keys = np.empty(items.size, np.int64)
    for position in range(items.size):
        keys[position] = key_of(bits[position], items[position])
    return keys


@given(
    seed=st.integers(0, 10**6),
    n=st.sampled_from([0, 1, 70, 500, 9_000]),
    values=st.sampled_from([1, 3, 1_000, 10**6]),
    k=st.sampled_from([0, 1, 10, 500, 8_999, 20_000]),
)
def test_best_keys_are_the_first_of_a_full_sort(seed: int, n: int, values: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    items = (2**31 - 1 - rng.permutation(10 * n)[:n]).astype(np.int32)
    scores = ((rng.integers(0, values, n) - values // 2) / 7).astype(np.float32)
    order = np.lexsort((items, -scores))[:k]
    found = candidates_of(best_keys(keys_of(items, scores.view(np.int32)), k))
    assert found[0].tolist() == items[order].tolist()
    assert found[1].tolist() == scores[order].tolist()


@pytest.mark.parametrize("n", [30, 3_000, 70_000])
@pytest.mark.parametrize("far", [0.0, 1e-30, 1e30, -1e30])
def test_keys_are_sorted_however_unevenly_they_are_spread(n: int, far: float) -> None:
    """Beside one score far from all others, the others share a bucket, and there again, and are ties or nearly so."""
    rng = np.random.default_rng(n)
    scores = np.where(np.arange(n) % 2, 1.0, 1.0 + rng.random(n) * 1e-6).astype(np.float32)
    scores[n // 2] = far
    keys = keys_of(rng.permutation(n).astype(np.int32), scores.view(np.int32))
    assert best_keys(keys.copy(), n).tolist() == sorted(keys.tolist(), reverse=True)


@given(seed=st.integers(0, 10**6), n=st.sampled_from([0, 1, 63, 64, 65, 5_000]), k=st.integers(0, 100))
def test_what_reaches_the_bound_holds_the_best(seed: int, n: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.choice(np.array([0.0, -1.0, np.inf, np.nan, 1e-30, 0.5, 3.25], np.float32), n)
    scores = np.where(rng.random(n) < 0.5, scores, rng.random(n).astype(np.float32))
    bits = scores.view(np.int32)
    places = find_best(bits, k)
    good = {place: float(score) for place, score in enumerate(scores) if 0 < score < np.inf}
    assert {*rank_items(good)[:k]} <= {*places.tolist()} <= good.keys()
    assert places.tolist() == sorted(places.tolist())


@kernel
def places_at_least(values: Array, start: int, least: int) -> list[int]:
    places, bits = [0][:0], lanes_at_least(values, start, least)
    while bits:
        places.append(first_place(bits))
        bits &= bits - 1
    return places


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=LANES + 3, max_size=LANES + 3), st.integers(0, 3))
def test_lanes_are_compared_at_once(values: list[int], start: int) -> None:
    lanes = values[start : start + LANES]
    for least in (values[0], 0):
        found = places_at_least(np.array(values, np.int32), start, least)
        assert found == [lane for lane, value in enumerate(lanes) if value >= least]

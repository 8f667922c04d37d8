from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from oracles import ranked

from multirecall.topk import ALL_ALLOWED, NO_ROWS, top_eligible, top_k

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
    assert items.tolist() == ranked(scores)[:k]
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
    wanted = [item for item in ranked(scores) if item in allowed and item not in exclude]
    assert top_eligible(*arrays(scores), k, rows, bitmap)[0].tolist() == wanted[:k]


def test_no_filter_lets_everything_pass() -> None:
    items, _ = top_eligible(np.arange(5, dtype=np.int32), np.arange(5, dtype=np.float64), 9, NO_ROWS, ALL_ALLOWED)
    assert items.tolist() == [4, 3, 2, 1, 0]

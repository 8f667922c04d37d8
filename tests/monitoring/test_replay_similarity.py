"""Overlap and rank-biased overlap beside slow definitions and numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multirecall.csr import offsets_of
from multirecall.monitoring.replay.similarity import overlaps, places_in, rank_biased_overlaps

LISTS = st.lists(st.integers(0, 30), unique=True, max_size=20)
PAIRS = st.lists(st.tuples(LISTS, LISTS), min_size=1, max_size=5)


def compared(
    pairs: list[tuple[list[int], list[int]]], p: float, ks: tuple[int, ...]
) -> tuple[list[float], list[list[float]]]:
    sides = [[pair[side] for pair in pairs] for side in (0, 1)]
    (o1, i1), (o2, i2) = (
        (offsets_of([len(one) for one in side]), np.array([i for one in side for i in one], np.int32)) for side in sides
    )
    places = places_in(o1, i1, o2, i2)
    return rank_biased_overlaps(o1, o2, places, p).tolist(), overlaps(o1, o2, places, ks).tolist()


def rbo(a: list[int], b: list[int], p: float) -> float:
    """Equation 32, term by term."""
    short, long = sorted((a, b), key=len)
    s, m = len(short), len(long)
    if not s:
        return 1.0 if not m else 0.0
    x = [len(set(short[:d]) & set(long[:d])) for d in range(m + 1)]
    first = sum(x[d] / d * p**d for d in range(1, m + 1))
    second = sum(x[s] * (d - s) / (s * d) * p**d for d in range(s + 1, m + 1))
    return (1 - p) / p * (first + second) + ((x[m] - x[s]) / m + x[s] / s) * p**m


@given(PAIRS, st.floats(0.1, 0.99))
def test_as_defined(pairs: list[tuple[list[int], list[int]]], p: float) -> None:
    found, shares = compared(pairs, p, (1, 5, 30))
    assert found == pytest.approx([rbo(a, b, p) for a, b in pairs])
    for (a, b), own in zip(pairs, shares, strict=True):
        for k, share in zip((1, 5, 30), own, strict=True):
            depth = min(k, max(len(a), len(b)))
            assert share == (len(set(a[:depth]) & set(b[:depth])) / depth if depth else 1.0)


@given(LISTS, LISTS)
def test_it_is_symmetric_and_bounded(a: list[int], b: list[int]) -> None:
    (there, back), shares = compared([(a, b), (b, a)], 0.9, (5,))
    assert there == pytest.approx(back)
    assert -1e-12 <= there <= 1 + 1e-12
    assert shares[0] == shares[1]


def test_by_hand() -> None:
    """p = ½, lists [1, 2] and [2, 1]: X = 0, 2; (½/½)·(0·½ + 1·¼) + (2/2)·¼ = ½."""
    found, shares = compared([([1, 2], [2, 1]), ([1, 2], [1, 2]), ([], [1])], 0.5, (1, 2))
    assert found == pytest.approx([0.5, 1.0, 0.0])
    assert shares == [[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]

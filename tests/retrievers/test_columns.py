"""Adding columns of codes equals a look-up for each item, on every processor."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from multirecall.retrievers._text.columns import NO_CODE, add_codes, add_columns, length_of, place_of
from multirecall.selection import block_peaks, candidates_of, keys_of

WIDTHS = (3, 15, 16, 200)
"""Terms of each column: the first two fit the table of 16 addends, whose last is that of items without a value."""

Case = tuple[np.ndarray, ...]


def case(seed: int, n_items: int) -> Case:
    """The arguments of `add_columns`; one item in ten has no value, and one sum in ten is -infinity."""
    rng = np.random.default_rng(seed)
    columns = np.repeat(np.arange(len(WIDTHS)), WIDTHS).astype(np.int32)
    firsts = np.concatenate([[0], np.cumsum(WIDTHS)[:-1]]).astype(np.int32)
    codes = np.stack([rng.integers(0, width, n_items) for width in WIDTHS]).astype(np.uint8)
    codes[rng.random(codes.shape) < 0.1] = NO_CODE
    used = np.array([2, 0, 3, 1], np.int32)
    addends = np.zeros((used.size, NO_CODE + 1), np.float32)
    for position, column in enumerate(used):
        addends[position, : WIDTHS[column]] = rng.random(WIDTHS[column])
    totals = np.where(rng.random(n_items) < 0.1, -np.inf, rng.random(n_items)).astype(np.float32)
    return addends, used, columns, firsts, in_lines(codes), totals


def in_lines(codes: np.ndarray) -> np.ndarray:
    """Codes in the order of the items, in the places where `add_columns` expects them."""
    placed = np.full((len(codes), length_of(codes.shape[1])), NO_CODE, np.uint8)
    for item in range(codes.shape[1]):
        placed[:, place_of(item)] = codes[:, item]
    return placed


def test_places_fill_lines() -> None:
    assert [place_of(item) for item in (0, 1, 15, 16, 17, 63, 64, 129)] == [0, 4, 60, 1, 5, 63, 64, 132]
    assert sorted(place_of(item) for item in range(192)) == list(range(192))
    assert [length_of(n) for n in (0, 1, 64, 65)] == [0, 64, 64, 128]


def looked_up(addends: np.ndarray, used: np.ndarray, codes: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """The sums with every column, in the order of `used`."""
    expected = totals.copy()
    for own, column in zip(addends, used, strict=True):
        expected += [own[codes[column, place_of(item)]] for item in range(totals.size)]
    return expected


@pytest.mark.parametrize("n_items", [0, 1, 16, 63, 64, 65, 1_024, 1_100, 5_000])
def test_all_items(n_items: int) -> None:
    addends, used, columns, firsts, codes, totals = case(n_items, n_items)
    expected = looked_up(addends, used, codes, totals)
    peaks = add_columns(addends, used, columns, firsts, codes, totals)
    np.testing.assert_array_equal(totals, expected)
    np.testing.assert_array_equal(peaks, block_peaks(expected.view(np.int32)))


def test_some_items() -> None:
    addends, used, _, _, codes, totals = case(1, 500)
    items = np.array([499, 3, 250, 0, 17], np.int32)
    totals = np.nan_to_num(totals, neginf=0.5)
    keys = add_codes(keys_of(items, totals[items].view(np.int32)), addends, used, codes)
    found, scores = candidates_of(keys)
    assert found.tolist() == items.tolist()
    assert scores.tolist() == looked_up(addends, used, codes, totals)[items].tolist()


RUN = """
import test_columns as own
arrays = own.case(2, 2_000)
own.add_columns(*arrays)
print(arrays[-1].tobytes().hex())
"""


@pytest.mark.parametrize("features", ["+sse2", "+sse4.2,+avx,+avx2,+fma"])
def test_processors_with_shorter_registers_find_the_same(features: str) -> None:
    arrays = case(2, 2_000)
    add_columns(*arrays)
    shown = subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=os.path.dirname(__file__),
        env={**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": features},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    ).stdout
    assert shown.strip() == arrays[-1].tobytes().hex()

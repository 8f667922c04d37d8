"""Runs of consecutive elements behind one array of offsets, as in a CSR matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def offsets_of(lengths: Sequence[int] | NDArray[np.integer]) -> NDArray[np.int64]:
    """CSR offsets, int64 (n + 1,), of consecutive runs with the given lengths."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def replace_runs(
    offsets: NDArray[np.int64],
    elements: NDArray[Any],
    rows: NDArray[np.integer],
    new_offsets: NDArray[np.int64],
    new_elements: NDArray[Any],
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """CSR runs in which distinct `rows` have new ones, and their offsets; what lies between is copied as a whole."""
    lengths = np.diff(offsets)
    lengths[rows] = np.diff(new_offsets)
    order = np.argsort(rows)
    starts, stops = offsets[rows[order]].tolist(), offsets[rows[order] + 1].tolist()
    new_starts, new_stops = new_offsets[order].tolist(), new_offsets[order + 1].tolist()
    pieces, done = [], 0
    for start, stop, new_start, new_stop in zip(starts, stops, new_starts, new_stops, strict=True):
        pieces += [elements[done:start], new_elements[new_start:new_stop]]
        done = stop
    return offsets_of(lengths), np.concatenate([*pieces, elements[done:]])


def take_runs(offsets: NDArray[np.int64], rows: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """CSR runs of other rows: their offsets, and where their elements stand; -1 gives an empty run."""
    starts = np.where(rows < 0, 0, offsets[rows])
    lengths = np.where(rows < 0, 0, offsets[rows + 1] - starts)
    taken = offsets_of(lengths)
    places = np.arange(taken[-1]) + np.repeat(starts - taken[:-1], lengths)
    return taken, places

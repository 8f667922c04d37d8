"""CSR arrays: runs of consecutive elements, and the offsets at which each run begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def offsets_of(lengths: Sequence[int] | NDArray[np.integer]) -> NDArray[np.int64]:
    """The CSR offsets, int64 (n + 1,), of consecutive runs of these lengths: a prefix sum that begins with 0."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    offsets[1:] = lengths
    return offsets.cumsum()


def replace_runs(
    offsets: NDArray[np.int64],
    elements: NDArray[Any],
    rows: NDArray[np.integer],
    new_offsets: NDArray[np.int64],
    new_elements: NDArray[Any],
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Replace the runs of some rows; the runs between them are copied as whole blocks.

    Args:
        offsets: CSR offsets, int64 (n + 1,).
        elements: the elements of all runs.
        rows: distinct rows whose runs are replaced, int (m,), in any order.
        new_offsets: CSR offsets of the new runs, int64 (m + 1,), in the order of `rows`.
        new_elements: the elements of the new runs.

    Returns:
        The offsets, int64 (n + 1,), and the elements.
    """
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
    """Select the runs of `rows`; a row may repeat, and row -1 gives an empty run.

    Returns:
        The CSR offsets of the selected runs, int64 (len(rows) + 1,), and the positions of their elements in the
        original element array, int64.
    """
    starts = np.where(rows < 0, 0, offsets[rows])
    lengths = np.where(rows < 0, 0, offsets[rows + 1] - starts)
    taken = offsets_of(lengths)
    places = np.arange(taken[-1]) + np.repeat(starts - taken[:-1], lengths)
    return taken, places

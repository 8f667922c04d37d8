"""Serving from sparse rows: add up the weighted rows of a query, keep the best columns."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from multirecall.kernels import Array, kernel
from multirecall.lists import RankedList, offsets_of
from multirecall.query import Query
from multirecall.topk import ALL_ALLOWED, NO_ROWS, top_eligible

ENTRIES_TO_SCAN = 8
"""A query that reads more entries than an eighth of the columns goes over all columns at the end."""

BLOCK = 32
"""Columns whose maximum is taken together when all columns are gone over."""

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class SparseRows:
    """A sparse matrix by rows, such as neighbour lists (item × item) or postings (term × item).

    Attributes:
        offsets: int64 (n_rows + 1,).
        columns: int32 (nnz,).
        values: float32 (nnz,).
        n_columns: columns of the matrix.
    """

    offsets: NDArray[np.int64]
    columns: NDArray[np.int32]
    values: NDArray[np.float32]
    n_columns: int

    def __post_init__(self) -> None:
        _compile()

    def add(self, rows: NDArray[np.int32], weights: NDArray[np.float32], sums: Sums) -> None:
        """Add `Σ weight · row` to `sums`; weights ≥ 0."""
        sums.size = _add(
            rows,
            weights,
            self.offsets,
            self.columns,
            self.values,
            sums.totals,
            sums.marks,
            sums.touched,
            sums.size,
        )

    def affordable(self, rows: NDArray[np.int32], n_entries: int) -> int:
        """How many of the first `rows` have `n_entries` entries or fewer together, but at least one."""
        entries = np.cumsum(self.offsets[rows + 1] - self.offsets[rows])
        return max(1, int(np.searchsorted(entries, n_entries, side="right")))

    @classmethod
    def of_matrix(cls, matrix: csr_array) -> SparseRows:
        """The rows of a scipy matrix."""
        return cls(
            matrix.indptr.astype(np.int64),
            matrix.indices.astype(np.int32),
            matrix.data.astype(np.float32),
            matrix.shape[1],
        )

    @classmethod
    def of_parts(
        cls, parts: Sequence[tuple[NDArray[np.integer], NDArray[np.int32], NDArray[np.float32]]], n_columns: int
    ) -> SparseRows:
        """Join blocks of rows, each given as the lengths of its rows, their columns and their values."""
        return cls(
            offsets_of(np.concatenate([lengths for lengths, _, _ in parts])),
            np.concatenate([columns for _, columns, _ in parts]),
            np.concatenate([values for _, _, values in parts]),
            n_columns,
        )

    def arrays(self) -> Arrays:
        """What `of_arrays` rebuilds it from."""
        return {"offsets": self.offsets, "columns": self.columns, "values": self.values}

    @classmethod
    def of_arrays(cls, arrays: Arrays, n_columns: int) -> SparseRows:
        """The matrix that `arrays()` was taken from."""
        return cls(arrays["offsets"], arrays["columns"], arrays["values"], n_columns)


class Sums:
    """An accumulator over columns, in scratch memory of the calling thread.

    While few columns are touched it remembers which; once a query reads many entries it goes over all columns
    at the end instead (`size` -1), which is faster then. One at a time on a thread: making a new one, or asking
    for `top`, ends the one before.

    Attributes:
        totals: float32, the sum of each column.
        marks: bool, which columns are in `touched`.
        touched: int32, the columns that were touched, in its first `size` entries.
        size: how many columns were touched, -1 when that is no longer counted.
    """

    __slots__ = ("marks", "size", "totals", "touched")

    def __init__(self, n_columns: int) -> None:
        scratch = _scratch.__dict__
        if scratch.get("in_use", True) or scratch["totals"].size < n_columns:
            scratch["totals"] = np.zeros(n_columns, np.float32)
            scratch["marks"] = np.zeros(n_columns, np.bool_)
            scratch["touched"] = np.empty(n_columns, np.int32)
        scratch["in_use"] = True
        self.totals: NDArray[np.float32] = scratch["totals"][:n_columns]
        self.marks: NDArray[np.bool_] = scratch["marks"][:n_columns]
        self.touched: NDArray[np.int32] = scratch["touched"]
        self.size = 0

    def top(self, k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The best `k` columns with a sum above 0, under the ordering rule, and their sums."""
        return self.top_among(k, NO_ROWS, ALL_ALLOWED)

    def top_for(self, query: Query, quota: int) -> RankedList:
        """The best `quota` columns that the query's filter lets pass; columns are item rows."""
        return RankedList(*self.top_among(quota, *query.filter))

    def top_among(
        self, k: int, exclude: NDArray[np.int32], allowed: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The same among the columns that are absent from `exclude` (sorted) and set in `allowed` (bitmap)."""
        if self.size < 0:
            items, scores = _take_all(self.totals, self.marks, k, exclude, allowed)
        else:
            items, scores = _take_touched(self.totals, self.marks, self.touched, self.size, k, exclude, allowed)
        _scratch.in_use = False
        return items, scores


_scratch = threading.local()


@cache
def _compile() -> None:
    """Compile both ways of summing up before the first request, whichever it takes."""
    rows, weights = np.zeros(1, np.int32), np.ones(1, np.float32)
    entry = np.array([0, 1], np.int64), np.zeros(1, np.int32), np.ones(1, np.float32)
    for n_columns in (ENTRIES_TO_SCAN - 1, ENTRIES_TO_SCAN):
        sums = Sums(n_columns)
        sums.size = _add(rows, weights, *entry, sums.totals, sums.marks, sums.touched, sums.size)
        sums.top(1)


@kernel
def _add(
    rows: Array,
    weights: Array,
    offsets: Array,
    columns: Array,
    values: Array,
    totals: Array,
    marks: Array,
    touched: Array,
    size: int,
) -> int:
    if size >= 0:
        n_entries = 0
        for row in rows:
            n_entries += offsets[row + 1] - offsets[row]
        if n_entries > totals.size // ENTRIES_TO_SCAN:
            size = -1
    for position in range(rows.size):
        row, weight = rows[position], weights[position]
        if weight == 0.0:
            continue
        if size < 0:
            for entry in range(offsets[row], offsets[row + 1]):
                totals[columns[entry]] += weight * values[entry]
            continue
        for entry in range(offsets[row], offsets[row + 1]):
            column = columns[entry]
            if not marks[column]:
                marks[column] = True
                touched[size] = column
                size += 1
            totals[column] += weight * values[entry]
    return size


@kernel
def _take_touched(
    totals: Array, marks: Array, touched: Array, size: int, k: int, exclude: Array, allowed: Array
) -> tuple[Array, Array]:
    scores = np.empty(size, np.float32)
    for position in range(size):
        column = touched[position]
        scores[position] = totals[column]
        totals[column] = 0.0
        marks[column] = False
    items, best = top_eligible(touched[:size], scores, k, exclude, allowed)
    return _above_zero(items, best)


@kernel
def _take_all(totals: Array, marks: Array, k: int, exclude: Array, allowed: Array) -> tuple[Array, Array]:
    """The best of all columns, found among those that reach a bound which enough blocks are known to reach.

    The bits of sums above 0 order them as integers, whose maximum the compiler vectorises; others are below 1.
    """
    bits = totals.view(np.int32)
    n_blocks = (bits.size + BLOCK - 1) // BLOCK
    peaks = np.zeros(n_blocks, np.int32)
    for block in range(n_blocks):
        peak = np.int32(0)
        for column in range(block * BLOCK, min((block + 1) * BLOCK, bits.size)):
            value = bits[column] if not allowed.size or allowed[column] else np.int32(0)
            peak = max(peak, value)
        peaks[block] = peak
    enough = k + exclude.size
    bound = np.int32(1)
    if enough < n_blocks:
        bound = max(bound, np.partition(peaks, n_blocks - enough)[n_blocks - enough])
    reaching = np.empty(bits.size, np.int32)
    size = 0
    for block in range(n_blocks):
        if peaks[block] >= bound:
            for column in range(block * BLOCK, min((block + 1) * BLOCK, bits.size)):
                if bits[column] >= bound:
                    reaching[size] = column
                    size += 1
    items, scores = top_eligible(reaching[:size], totals[reaching[:size]], k, exclude, allowed)
    totals[:] = 0.0
    marks[:] = False
    return items, scores


@kernel
def _above_zero(items: Array, scores: Array) -> tuple[Array, Array]:
    size = scores.size
    while size and scores[size - 1] <= 0.0:
        size -= 1
    return items[:size], scores[:size]

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

from multirecall.csr import offsets_of
from multirecall.kernels import Array, kernel
from multirecall.lists import RankedList
from multirecall.query import Query
from multirecall.selection import FINITE, best_keys, block_peaks, candidates_of, key_of, reached_by, reaching
from multirecall.topk import ALL_ALLOWED, NO_ROWS

ENTRIES_TO_SCAN = 4
"""A query that reads more entries than a quarter of the columns goes over all columns at the end."""

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
        """Add `Σ weight · row` to `sums`; weights ≥ 0. Rows that are newer than the matrix add nothing."""
        sums.size = _add(
            rows,
            weights,
            self.offsets,
            self.columns,
            self.values,
            sums.totals,
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
        touched: int32, the columns with a sum other than 0 in its first `size` entries; one whose sum was 0 again
            in between stands there twice.
        size: entries of `touched`, -1 when they are no longer kept.
    """

    __slots__ = ("size", "totals", "touched")

    def __init__(self, n_columns: int) -> None:
        scratch = _scratch.__dict__
        if scratch.get("in_use", True) or scratch["totals"].size < n_columns:
            scratch["totals"] = np.zeros(n_columns, np.float32)
            scratch["touched"] = np.empty(n_columns // ENTRIES_TO_SCAN, np.int32)
        scratch["in_use"] = True
        self.totals: NDArray[np.float32] = scratch["totals"][:n_columns]
        self.touched: NDArray[np.int32] = scratch["touched"][: n_columns // ENTRIES_TO_SCAN]
        self.size = 0

    def add(self, columns: NDArray[np.int32], weights: NDArray[np.float32]) -> None:
        """Add to each column its weight, ≥ 0; a column may stand there several times. Newer columns are passed over."""
        self.size = _add_each(columns, weights, self.totals, self.touched, self.size)

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
            found: tuple[NDArray[np.int32], NDArray[np.float32]] = _take_all(self.totals, k, exclude, allowed)
        else:
            found = _take_touched(self.totals, self.touched, self.size, k, exclude, allowed)
        self.release()
        return found

    def release(self) -> None:
        """Let the thread use the scratch memory again; all `totals` are 0."""
        _scratch.in_use = False


_scratch = threading.local()


@cache
def _compile() -> None:
    """Compile both ways of summing up before the first request, whichever it takes."""
    rows, weights = np.zeros(1, np.int32), np.ones(1, np.float32)
    entry = np.array([0, 1], np.int64), np.zeros(1, np.int32), np.ones(1, np.float32)
    for n_columns in (ENTRIES_TO_SCAN - 1, ENTRIES_TO_SCAN):
        sums = Sums(n_columns)
        sums.add(rows, weights)
        sums.size = _add(rows, weights, *entry, sums.totals, sums.touched, sums.size)
        sums.top(1)


@kernel
def _add(
    rows: Array,
    weights: Array,
    offsets: Array,
    columns: Array,
    values: Array,
    totals: Array,
    touched: Array,
    size: int,
) -> int:
    if size >= 0:
        n_entries = size
        for row in rows:
            if row < offsets.size - 1:
                n_entries += offsets[row + 1] - offsets[row]
        if n_entries > touched.size:
            size = -1
    for position in range(rows.size):
        row, weight = rows[position], weights[position]
        if weight == 0.0 or row >= offsets.size - 1:
            continue
        if size < 0:
            for entry in range(offsets[row], offsets[row + 1]):
                totals[columns[entry]] += weight * values[entry]
            continue
        for entry in range(offsets[row], offsets[row + 1]):
            column = columns[entry]
            total = totals[column]
            touched[size] = column
            size += total == 0.0
            totals[column] = total + weight * values[entry]
    return size


@kernel
def _add_each(columns: Array, weights: Array, totals: Array, touched: Array, size: int) -> int:
    if size >= 0 and size + columns.size > touched.size:
        size = -1
    for position in range(columns.size):
        column = columns[position]
        if weights[position] == 0.0 or column >= totals.size:
            continue
        total = totals[column]
        if size >= 0:
            touched[size] = column
            size += total == 0.0
        totals[column] = total + weights[position]
    return size


@kernel
def _take_touched(
    totals: Array, touched: Array, size: int, k: int, exclude: Array, allowed: Array
) -> tuple[Array, Array]:
    for column in exclude:
        if column < totals.size:
            totals[column] = 0.0
    bits = totals.view(np.int32)
    keys = np.empty(size, np.int64)
    n_keys = 0
    for position in range(size):
        column = touched[position]
        value = bits[column]
        bits[column] = 0
        keys[n_keys] = key_of(value, column)
        n_keys += 0 < value < FINITE and (not allowed.size or allowed[column])
    return candidates_of(best_keys(keys[:n_keys], k))


@kernel
def _take_all(totals: Array, k: int, exclude: Array, allowed: Array) -> tuple[Array, Array]:
    """The best of all columns, found among those that reach what `k` of them are known to reach."""
    for column in exclude:
        if column < totals.size:
            totals[column] = 0.0
    bits = totals.view(np.int32)
    if allowed.size:
        for column in range(bits.size):
            bits[column] = bits[column] if allowed[column] else 0
    peaks = block_peaks(bits)
    places = reaching(bits, peaks, reached_by(peaks, k))
    keys = np.empty(places.size, np.int64)
    for position in range(places.size):
        keys[position] = key_of(bits[places[position]], places[position])
    totals[:] = 0.0
    return candidates_of(best_keys(keys, k))

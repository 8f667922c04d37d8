"""A sparse matrix by rows, whose weighted rows a query adds up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from multirecall.csr import offsets_of
from multirecall.kernels import LINE, Array, kernel, prefetch
from multirecall.sums import Sums

Arrays = dict[str, NDArray[Any]]

AHEAD = 2
"""Rows that are fetched into the cache ahead of their turn. Changes speed only."""


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
        """Add `Σ weight · row` to `sums`, in place; weights are ≥ 0. Rows beyond those of the matrix are ignored."""
        sums.size = add_rows(
            rows,
            weights,
            self.offsets,
            self.columns,
            self.values,
            sums.totals,
            sums.touched,
            sums.size,
        )

    def with_columns(self, columns: NDArray[np.int32]) -> SparseRows:
        """The matrix with the entries of these columns, ascending, only; the others are empty."""
        kept = np.zeros(self.n_columns, np.bool_)
        kept[columns] = True
        listed = kept[self.columns]
        offsets = offsets_of(listed.view(np.int8))[self.offsets]
        return SparseRows(offsets, self.columns[listed], self.values[listed], self.n_columns)

    @classmethod
    def of_matrix(cls, matrix: csr_array) -> SparseRows:
        """The sparse rows of a scipy matrix."""
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
        """Concatenate blocks of rows, each given as the lengths of its rows, their columns and their values."""
        return cls(
            offsets_of(np.concatenate([lengths for lengths, _, _ in parts])),
            np.concatenate([columns for _, columns, _ in parts]),
            np.concatenate([values for _, _, values in parts]),
            n_columns,
        )

    def arrays(self) -> Arrays:
        """The arrays from which `of_arrays` restores the matrix."""
        return {"offsets": self.offsets, "columns": self.columns, "values": self.values}

    @classmethod
    def of_arrays(cls, arrays: Arrays, n_columns: int) -> SparseRows:
        """The matrix whose `arrays()` are given."""
        return cls(arrays["offsets"], arrays["columns"], arrays["values"], n_columns)


@kernel
def fetch_row(rows: Array, position: int, offsets: Array, columns: Array, values: Array) -> None:
    """Have the row at a position of `rows`, if there is one, in the cache before it is read."""
    if position < rows.size and rows[position] < offsets.size - 1:
        start = offsets[rows[position]]
        n_bytes = columns.itemsize * (offsets[rows[position] + 1] - start) + LINE
        prefetch(columns, start, n_bytes)
        prefetch(values, start, n_bytes)


@cache
def _compile() -> None:
    """Compile what `SparseRows.add` and a `Sums` need before the first request does."""
    rows, weights = np.zeros(1, np.int32), np.ones(1, np.float32)
    entry = np.array([0, 1], np.int64), np.zeros(1, np.int32), np.ones(1, np.float32)
    sums = Sums(1)
    sums.add(rows, weights)
    sums.size = add_rows(rows, weights, *entry, sums.totals, sums.touched, sums.size)
    sums.top(1)


@kernel
def add_rows(
    rows: Array,
    weights: Array,
    offsets: Array,
    columns: Array,
    values: Array,
    totals: Array,
    touched: Array,
    size: int,
) -> int:
    """Add `Σ weight · row` to `totals`, in place; returns the new `size`, see `Sums`."""
    if size >= 0:
        n_entries = size
        for row in rows:
            if row < offsets.size - 1:
                n_entries += offsets[row + 1] - offsets[row]
        if n_entries > touched.size:
            size = -1
    for position in range(rows.size):
        fetch_row(rows, position + AHEAD, offsets, columns, values)
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

"""A dense matrix of scores between items, for serving."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multirecall.kernels import Array, kernel
from multirecall.sums import Sums

from .rows import Arrays, SparseRows


@dataclass(frozen=True, slots=True)
class DenseRows:
    """A dense matrix with the interface of `SparseRows`.

    Attributes:
        values: float32 (n_rows, n_columns), C-contiguous.
    """

    values: NDArray[np.float32]

    def __post_init__(self) -> None:
        sums = Sums(self.n_columns)
        self.add(np.zeros(0, np.int32), np.zeros(0, np.float32), sums)
        sums.top(1)

    @property
    def n_columns(self) -> int:
        """The number of columns of the matrix."""
        return int(self.values.shape[1])

    def add(self, rows: NDArray[np.int32], weights: NDArray[np.float32], sums: Sums) -> None:
        """Add `Σ weight · row` to `sums`, in place; weights are ≥ 0."""
        _add(rows, weights, self.values, sums.totals)
        sums.size = -1

    def with_columns(self, columns: NDArray[np.int32]) -> DenseColumns:
        """The matrix with the entries of these columns, ascending, only; the others are empty."""
        return DenseColumns(np.ascontiguousarray(self.values[:, columns]), columns, self.n_columns)

    def arrays(self) -> Arrays:
        """The arrays from which `rows_of_arrays` restores the matrix."""
        return {"dense": self.values}


@dataclass(frozen=True, slots=True)
class DenseColumns:
    """Some columns of a dense matrix, with the interface of `SparseRows`.

    Attributes:
        values: float32 (n_rows, n), C-contiguous.
        columns: int32 (n,), ascending, the columns.
        n_columns: the number of columns of the matrix.
    """

    values: NDArray[np.float32]
    columns: NDArray[np.int32]
    n_columns: int

    def add(self, rows: NDArray[np.int32], weights: NDArray[np.float32], sums: Sums) -> None:
        """Add `Σ weight · row` to `sums`, in place; weights are ≥ 0."""
        totals = sums.totals[self.columns]
        _add(rows, weights, self.values, totals)
        sums.totals[self.columns] = totals
        sums.size = -1

    def with_columns(self, columns: NDArray[np.int32]) -> DenseColumns:
        """The matrix with the entries of these columns, ascending, only; they are among its own."""
        kept = np.isin(self.columns, columns)
        return DenseColumns(np.ascontiguousarray(self.values[:, kept]), self.columns[kept], self.n_columns)

    def arrays(self) -> Arrays:
        """The arrays from which `dense_of_arrays` restores the matrix."""
        return {"dense": self.values, "columns": self.columns, "n_columns": np.array(self.n_columns)}


def dense_of_arrays(arrays: Arrays) -> DenseRows | DenseColumns:
    """The dense matrix, or the columns of one, whose `arrays()` are given."""
    dense = arrays["dense"]
    if "columns" not in arrays:
        return DenseRows(dense)
    return DenseColumns(dense, arrays["columns"], int(arrays["n_columns"]))


def rows_of_arrays(arrays: Arrays) -> SparseRows | DenseRows | DenseColumns:
    """The square matrix, sparse or dense, whose `arrays()` are given."""
    return dense_of_arrays(arrays) if "dense" in arrays else SparseRows.of_arrays(arrays, arrays["offsets"].size - 1)


@kernel
def _add(rows: Array, weights: Array, values: Array, totals: Array) -> None:
    for position in range(rows.size):
        row, weight = values[rows[position]], weights[position]
        if weight != 0.0:
            for column in range(totals.size):
                totals[column] += weight * row[column]

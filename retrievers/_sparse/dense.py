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

    def arrays(self) -> Arrays:
        """The arrays from which `rows_of_arrays` restores the matrix."""
        return {"dense": self.values}


def rows_of_arrays(arrays: Arrays) -> SparseRows | DenseRows:
    """The square matrix, sparse or dense, whose `arrays()` are given."""
    return DenseRows(arrays["dense"]) if "dense" in arrays else SparseRows.of_arrays(arrays, arrays["offsets"].size - 1)


@kernel
def _add(rows: Array, weights: Array, values: Array, totals: Array) -> None:
    for position in range(rows.size):
        row, weight = values[rows[position]], weights[position]
        if weight != 0.0:
            for column in range(totals.size):
                totals[column] += weight * row[column]

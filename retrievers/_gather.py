"""Serving from sparse rows: add up the weighted rows of a query, keep the best columns."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.kernels import Array, kernel
from multirecall.lists import RankedList
from multirecall.query import Query
from multirecall.topk import top_eligible

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

    def add(self, rows: NDArray[np.int32], weights: NDArray[np.float32], sums: Sums) -> None:
        """Add `Σ weight · row` to `sums`."""
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

    def arrays(self) -> Arrays:
        """What `of_arrays` rebuilds it from."""
        return {"offsets": self.offsets, "columns": self.columns, "values": self.values}

    @classmethod
    def of_arrays(cls, arrays: Arrays, n_columns: int) -> SparseRows:
        """The matrix that `arrays()` was taken from."""
        return cls(arrays["offsets"], arrays["columns"], arrays["values"], n_columns)


class Sums:
    """A sparse accumulator over columns, in scratch memory of the calling thread.

    One at a time on a thread: making a new one, or asking for `top`, ends the one before.

    Attributes:
        totals: float32, the sum of each column, 0 where `marks` is false.
        marks: bool, which columns were touched.
        touched: int32, the columns that were touched, in its first `size` entries.
    """

    __slots__ = ("marks", "size", "totals", "touched")

    def __init__(self, n_columns: int) -> None:
        scratch = _scratch.__dict__
        if scratch.get("in_use", True) or scratch["totals"].size < n_columns:
            scratch["totals"] = np.zeros(n_columns, np.float32)
            scratch["marks"] = np.zeros(n_columns, np.bool_)
            scratch["touched"] = np.empty(n_columns, np.int32)
        scratch["in_use"] = True
        self.totals: NDArray[np.float32] = scratch["totals"]
        self.marks: NDArray[np.bool_] = scratch["marks"]
        self.touched: NDArray[np.int32] = scratch["touched"]
        self.size = 0

    def top(self, k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The best `k` columns and their sums under the ordering rule."""
        return self._take(k, np.empty(0, np.int32), np.empty(0, np.bool_))

    def top_for(self, query: Query, quota: int) -> RankedList:
        """The best `quota` columns that the query's filter lets pass; columns are item rows."""
        return RankedList(*self._take(quota, *query.filter))

    def _take(
        self, k: int, exclude: NDArray[np.int32], allowed: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        items, scores = _take(self.totals, self.marks, self.touched, self.size, k, exclude, allowed)
        self.size = 0
        _scratch.in_use = False
        return items, scores


_scratch = threading.local()


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
    for position in range(rows.size):
        row, weight = rows[position], weights[position]
        if weight == 0.0:
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
def _take(
    totals: Array, marks: Array, touched: Array, size: int, k: int, exclude: Array, allowed: Array
) -> tuple[Array, Array]:
    scores = np.empty(size, np.float32)
    for position in range(size):
        column = touched[position]
        scores[position] = totals[column]
        totals[column] = 0.0
        marks[column] = False
    return top_eligible(touched[:size], scores, k, exclude, allowed)

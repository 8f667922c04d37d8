"""An accumulator of scores by item that allocates no memory: for retrievers that add up over a history."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from multirecall.kernels import Array, kernel
from multirecall.lists import RankedList
from multirecall.query import Query
from multirecall.selection import FINITE, best_keys, candidates_of, find_best, key_of
from multirecall.topk import ALL_ALLOWED, NO_ROWS

ENTRIES_TO_SCAN = 4
"""A query that reads more entries than this share (1 / 4) of the columns scans all columns at the end."""

_scratch = threading.local()


class Sums:
    """Adds up scores by item and selects the best: for a retriever whose score is a sum over the history.

    ```python
    sums = Sums(n_items)
    for row, weight in zip(query.history, query.weights):
        sums.add(neighbours[row], weight * similarities[row])
    return sums.top_for(query, quota)
    ```

    The totals use memory that the calling thread keeps, so that a request allocates and clears nothing. `top`,
    `top_for`, `top_among` and `release` set all totals to 0 and give the memory back. Call exactly one of them, once,
    on the thread that made the sums. A `Sums` that begins while another holds the memory allocates its own.

    The accumulator records the columns that it touches as long as they are few. Once a query has read many entries,
    it scans all columns at the end instead (`size` is -1), which is faster then.

    Attributes:
        totals: float32 (n_columns,), the sum of each column.
        touched: int32; its first `size` entries are the columns whose sum is not 0. A column whose sum returned to 0
            in between may occur twice.
        size: the number of recorded columns, -1 when they are no longer recorded.
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
        """Add to each of `columns`, int32 (n,), its weight, float32 (n,), ≥ 0. In place.

        Columns may repeat, and those ≥ `n_columns` are ignored.
        """
        self.size = add_each(columns, weights, self.totals, self.touched, self.size)

    def top(self, k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The best `k` columns with a sum above 0, int32 under the ordering rule, and their sums, float32."""
        return self.top_among(k, NO_ROWS, ALL_ALLOWED)

    def top_for(self, query: Query, quota: int) -> RankedList:
        """The best `quota` items that pass the query's filter; columns are item rows."""
        return RankedList(*self.top_among(quota, *query.filter))

    def top_among(
        self, k: int, exclude: NDArray[np.int32], allowed: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """As `top`, among the columns that are absent from `exclude` and set in `allowed`.

        Args:
            k: most columns to return.
            exclude: sorted int32 (n,).
            allowed: bool (n_columns,), or empty for all.
        """
        found: tuple[NDArray[np.int32], NDArray[np.float32]] = take_top(
            self.totals, self.touched, self.size, k, exclude, allowed
        )
        self.size = 0  # the kernel has cleared the totals
        self.release()
        return found

    def release(self) -> None:
        """Set all totals to 0, and give the memory back to the thread if it is the thread's."""
        if self.size < 0:
            self.totals[:] = 0.0
        elif self.size:
            self.totals[self.touched[: self.size]] = 0.0
        if self.totals.base is _scratch.__dict__.get("totals"):
            _scratch.in_use = False


@kernel
def add_each(columns: Array, weights: Array, totals: Array, touched: Array, size: int) -> int:
    """`Sums.add` for kernels: adds to `totals` and `touched`, in place, and returns the new `size`."""
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
def scale_sums(totals: Array, touched: Array, size: int, factors: Array) -> None:
    """Multiply the sums of a `Sums`, all ≥ 0, by the factors of their columns, float32 (n_columns,), in place.

    A column that occurs twice in `touched` is multiplied once: a negative sign marks it as done.
    """
    if size < 0:
        for column in range(totals.size):
            totals[column] *= factors[column]
    for column in touched[: max(size, 0)]:
        if totals[column] > 0.0:
            totals[column] *= -factors[column]
    for column in touched[: max(size, 0)]:
        totals[column] = abs(totals[column])


@kernel
def take_top(totals: Array, touched: Array, size: int, k: int, exclude: Array, allowed: Array) -> tuple[Array, Array]:
    """`Sums.top_among` for kernels: the best columns and their sums. Sets all `totals` to 0."""
    if size < 0:
        return _take_all(totals, k, exclude, allowed)
    return _take_touched(totals, touched, size, k, exclude, allowed)


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
    """The best of all columns, selected from those that reach a lower bound of the k-th largest sum."""
    for column in exclude:
        if column < totals.size:
            totals[column] = 0.0
    bits = totals.view(np.int32)
    if allowed.size:
        for column in range(bits.size):
            bits[column] = bits[column] if allowed[column] else 0
    places = find_best(bits, k)
    keys = np.empty(places.size, np.int64)
    for position in range(places.size):
        keys[position] = key_of(bits[places[position]], places[position])
    totals[:] = 0.0
    return candidates_of(best_keys(keys, k))

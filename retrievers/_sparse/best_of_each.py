"""The best columns of each of several sums of weighted sparse rows, in one call for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from multirecall.kernels import Array, kernel
from multirecall.lists import RankedBatch
from multirecall.query_batch import SharedFilter
from multirecall.sums import Sums, add_each, take_top

from .patch_kernels import Matrix, add_patched
from .patched import PatchedRows
from .rows import SparseRows, add_rows


def best_of_each(
    matrix: SparseRows | PatchedRows, own: RankedBatch, lists: RankedBatch, k: int, filters: Sequence[SharedFilter]
) -> RankedBatch:
    """The `k` best columns of each sum of rows, equal to the bit to those of a `Sums` for each.

    Args:
        matrix: the rows.
        own: columns and amounts ≥ 0, with which each sum begins.
        lists: the rows that each sum adds up, with their weights, all ≥ 0.
        k: most columns of a sum; only those above 0 count.
        filters: the columns that each sum leaves out.
    """
    parts = []
    for users, offsets, exclude, allowed in filters:
        sums = Sums(matrix.n_columns)
        bounds = slice(users.start, users.stop + 1)
        begin, rows = ((one.offsets[bounds], one.items, one.scores) for one in (own, lists))
        rest = k, offsets, exclude, allowed, sums.totals, sums.touched
        if isinstance(matrix, SparseRows):
            arrays = _best_of_sparse(begin, rows, (matrix.offsets, matrix.columns, matrix.values), *rest)
        else:
            arrays = _best_of_patched(begin, rows, matrix.kernel_arrays(), *rest)
        sums.release()
        parts.append(RankedBatch(*arrays))
    return parts[0] if len(parts) == 1 else RankedBatch.concat(parts)


Lists = tuple[Array, Array, Array]
"""CSR offsets, int64 (n + 1,), rows or columns, int32, and their weights, float32."""


@kernel
def _best_of_sparse(
    own: Lists,
    lists: Lists,
    matrix: Lists,
    k: int,
    bounds: Array,
    exclude: Array,
    allowed: Array,
    totals: Array,
    touched: Array,
) -> tuple[Array, Array, Array]:
    """`best_of_each` as CSR. `totals` and `touched` are of a `Sums`, whose totals are 0, and are so again."""
    found = _room(bounds.size - 1, k, totals.size)
    for number in range(bounds.size - 1):
        size = _add_own(own, number, totals, touched)
        start, stop = lists[0][number], lists[0][number + 1]
        rows, weights = lists[1][start:stop], lists[2][start:stop]
        size = add_rows(rows, weights, matrix[0], matrix[1], matrix[2], totals, touched, size)
        _keep(found, number, totals, touched, size, k, exclude[bounds[number] : bounds[number + 1]], allowed)
    return found[0], found[1][: found[0][-1]], found[2][: found[0][-1]]


@kernel
def _best_of_patched(
    own: Lists,
    lists: Lists,
    matrix: Matrix,
    k: int,
    bounds: Array,
    exclude: Array,
    allowed: Array,
    totals: Array,
    touched: Array,
) -> tuple[Array, Array, Array]:
    """The same for a matrix with a patch."""
    found = _room(bounds.size - 1, k, totals.size)
    for number in range(bounds.size - 1):
        size = _add_own(own, number, totals, touched)
        start, stop = lists[0][number], lists[0][number + 1]
        size = add_patched(lists[1][start:stop], lists[2][start:stop], matrix, totals, touched, size)
        _keep(found, number, totals, touched, size, k, exclude[bounds[number] : bounds[number + 1]], allowed)
    return found[0], found[1][: found[0][-1]], found[2][: found[0][-1]]


@kernel
def _room(n: int, k: int, n_columns: int) -> Lists:
    """Room for `n` lists of at most `k` columns."""
    width = min(k, n_columns)
    return np.zeros(n + 1, np.int64), np.empty(n * width, np.int32), np.empty(n * width, np.float32)


@kernel
def _add_own(own: Lists, number: int, totals: Array, touched: Array) -> int:
    """Begin sum `number` with its own columns; returns the size of the `Sums`."""
    start, stop = own[0][number], own[0][number + 1]
    return int(add_each(own[1][start:stop], own[2][start:stop], totals, touched, 0))


@kernel
def _keep(
    found: Lists, number: int, totals: Array, touched: Array, size: int, k: int, exclude: Array, allowed: Array
) -> None:
    """Append the best columns of sum `number` to the lists found so far, in place."""
    best, scores = take_top(totals, touched, size, k, exclude, allowed)
    first = found[0][number]
    last = first + best.size
    found[1][first:last], found[2][first:last] = best, scores
    found[0][number + 1] = last

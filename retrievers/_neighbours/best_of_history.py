"""The best columns of the sum of one history's rows, in one call of a kernel."""

from __future__ import annotations

import numpy as np

from multirecall.kernels import Array, kernel
from multirecall.lists import RankedList
from multirecall.query import Query
from multirecall.sums import Sums, add_each, take_top

from .._recency import decay_of, newest_distinct
from .._shard import Shard, place_of
from .._sparse.patch_kernels import Matrix, add_patched
from .._sparse.patched import PatchedRows
from .._sparse.rows import SparseRows, add_rows


def best_of_history(
    matrix: SparseRows | PatchedRows, query: Query, half_life: float | None, own: Shard, quota: int
) -> RankedList:
    """The best columns of the sum of the rows of the history's items, with recency weights (see `recent_items`).

    Args:
        matrix: item × item.
        query: the history, and the filter of the columns.
        half_life: in items; None: weights do not decay.
        own: the items that a sum begins with: each counts for itself, with its own weight.
        quota: the most columns; only those with a sum above 0 count.
    """
    sums = Sums(matrix.n_columns)
    history = query.history, query.weights, decay_of(query, half_life), own.rows, own.n_items
    rest = quota, *query.filter, sums.totals, sums.touched
    if isinstance(matrix, SparseRows):
        found = _best_of_sparse(*history, matrix.offsets, matrix.columns, matrix.values, *rest)
    else:
        found = _best_of_patched(*history, matrix.kernel_arrays(), *rest)
    sums.release()
    return RankedList(*found)


@kernel
def _best_of_sparse(
    history: Array,
    weights: Array,
    decay: float,
    own_rows: Array,
    n_items: int,
    offsets: Array,
    columns: Array,
    values: Array,
    k: int,
    exclude: Array,
    allowed: Array,
    totals: Array,
    touched: Array,
) -> tuple[Array, Array]:
    """Columns and sums. `totals` and `touched` are of a `Sums`, whose totals are 0, and are so again."""
    items, decayed = newest_distinct(history, weights, history.size, decay)
    size = _begin_with_own(items, decayed, own_rows, n_items, totals, touched)
    size = add_rows(items, decayed, offsets, columns, values, totals, touched, size)
    found: tuple[Array, Array] = take_top(totals, touched, size, k, exclude, allowed)
    return found


@kernel
def _best_of_patched(
    history: Array,
    weights: Array,
    decay: float,
    own_rows: Array,
    n_items: int,
    matrix: Matrix,
    k: int,
    exclude: Array,
    allowed: Array,
    totals: Array,
    touched: Array,
) -> tuple[Array, Array]:
    """The same for a matrix with a patch."""
    items, decayed = newest_distinct(history, weights, history.size, decay)
    size = _begin_with_own(items, decayed, own_rows, n_items, totals, touched)
    size = add_patched(items, decayed, matrix, totals, touched, size)
    found: tuple[Array, Array] = take_top(totals, touched, size, k, exclude, allowed)
    return found


@kernel
def _begin_with_own(items: Array, weights: Array, own_rows: Array, n_items: int, totals: Array, touched: Array) -> int:
    """Add the weights of the items that belong to a shard to their totals; returns the size of the `Sums`."""
    own, own_weights = np.empty(items.size, np.int32), np.empty(items.size, np.float32)
    n_own = 0
    for position in range(items.size):
        own[n_own], own_weights[n_own] = items[position], weights[position]
        n_own += place_of(items[position], own_rows, n_items) >= 0
    return int(add_each(own[:n_own], own_weights[:n_own], totals, touched, 0))

"""The best items for histories, one or several, from rows of an item × item matrix, in one call of a kernel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from multirecall.kernels import Array, kernel
from multirecall.lists import RankedBatch, RankedList
from multirecall.query import Query
from multirecall.query_batch import filters_of, histories_of
from multirecall.sums import Sums, add_each, take_top

from .._recency import decay_of, decays_of, newest_distinct
from .._shard import Shard, place_of
from .._sparse.found_lists import Lists, filled, put_list, room_for
from .._sparse.patch_kernels import Matrix, add_patched
from .._sparse.patched import PatchedRows
from .._sparse.rows import SparseRows, add_rows

Own = tuple[Array, int]
"""`rows` and `n_items` of the `Shard` whose items count for themselves."""


def best_of_history(
    matrix: SparseRows | PatchedRows, query: Query, half_life: float | None, own: Shard, k: int
) -> RankedList:
    """The `k` best columns of the sum of the rows of the history's `recent_items`, multiplied by their weights.

    Args:
        matrix: the rows of all items.
        query: the history, and the filter of the columns.
        half_life: see `recent_items`.
        own: the items that count for themselves: where one is in the history, the sum has its weight.
        k: most columns; only those above 0 count.
    """
    sums = Sums(matrix.n_columns)
    history = query.history, query.weights, decay_of(query, half_life), (own.rows, own.n_items)
    asked = *history, k, *query.filter, sums.totals, sums.touched
    found = _best_of_one(_arrays_of(matrix), *asked)
    sums.release()
    return RankedList(*found)


def best_of_histories(
    matrix: SparseRows | PatchedRows, queries: Sequence[Query], half_life: float | None, own: Shard, k: int
) -> RankedBatch:
    """What `best_of_history` finds for each of several queries, at least one."""
    bounds, history, weights, ordered = histories_of(queries)
    decays = decays_of(ordered, half_life)
    parts = []
    for users, exclude_bounds, exclude, allowed in filters_of(queries):
        sums = Sums(matrix.n_columns)
        part = bounds[users.start : users.stop + 1], history, weights, decays[users], (own.rows, own.n_items)
        asked = *part, k, exclude_bounds, exclude, allowed, sums.totals, sums.touched
        parts.append(RankedBatch(*_best_of_each(_arrays_of(matrix), *asked)))
        sums.release()
    return parts[0] if len(parts) == 1 else RankedBatch.concat(parts)


def _arrays_of(matrix: SparseRows | PatchedRows) -> Lists | Matrix:
    if isinstance(matrix, SparseRows):
        return matrix.offsets, matrix.columns, matrix.values
    return matrix.kernel_arrays()


@kernel
def _best_of_one(
    matrix: Lists | Matrix,
    history: Array,
    weights: Array,
    decay: float,
    own: Own,
    k: int,
    exclude: Array,
    allowed: Array,
    totals: Array,
    touched: Array,
) -> tuple[Array, Array]:
    """Columns and sums. `totals` and `touched` are of a `Sums`, whose totals are 0, and are so again.

    numba knows the length of `matrix` and compiles one of the branches.
    """
    items, decayed = newest_distinct(history, weights, history.size, decay)
    size = _begin_with_own(items, decayed, own, totals, touched)
    if len(matrix) == 3:
        size = add_rows(items, decayed, matrix[0], matrix[1], matrix[2], totals, touched, size)
    else:
        size = add_patched(items, decayed, matrix, totals, touched, size)
    found: tuple[Array, Array] = take_top(totals, touched, size, k, exclude, allowed)
    return found


@kernel
def _begin_with_own(items: Array, weights: Array, own: Own, totals: Array, touched: Array) -> int:
    """Add the weights of the items that count for themselves; returns the size of the `Sums`."""
    kept, kept_weights = np.empty(items.size, np.int32), np.empty(items.size, np.float32)
    n_kept = 0
    for position in range(items.size):
        kept[n_kept], kept_weights[n_kept] = items[position], weights[position]
        n_kept += place_of(items[position], own[0], own[1]) >= 0
    return int(add_each(kept[:n_kept], kept_weights[:n_kept], totals, touched, 0))


@kernel
def _best_of_each(
    matrix: Lists | Matrix,
    bounds: Array,
    histories: Array,
    weights: Array,
    decays: Array,
    own: Own,
    k: int,
    exclude_bounds: Array,
    exclude: Array,
    allowed: Array,
    totals: Array,
    touched: Array,
) -> Lists:
    """`_best_of_one` for each history between two of `bounds`; each leaves out what is between `exclude_bounds`."""
    lists = room_for(decays.size, min(k, totals.size))
    for user in range(decays.size):
        start, stop = bounds[user], bounds[user + 1]
        history, own_weights = histories[start:stop], weights[start:stop]
        left_out = exclude[exclude_bounds[user] : exclude_bounds[user + 1]]
        items, scores = _best_of_one(
            matrix, history, own_weights, decays[user], own, k, left_out, allowed, totals, touched
        )
        put_list(lists, user, items, scores)
    return filled(lists)

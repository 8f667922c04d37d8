"""Each item's nearest neighbours by cosine, as sparse rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from multirecall.csr import offsets_of
from multirecall.kernels import Array, kernel
from multirecall.progress import Progress
from multirecall.topk import top_k

from .._sparse.rows import SparseRows
from .knn_cells import cell_lists
from .retriever import Block, run_in_blocks

EXACT_UP_TO = 50_000
"""The largest number of rows whose neighbours are found by all inner products; beyond, cells are several times as
fast."""

RECALL = 0.95
"""The recall that lists from cells have. A list of hundreds can spare some of its last entries, and .99 takes twice
the time."""

BLOCK_BYTES = 64 * 2**20
"""Bytes of one block of similarities: bounds the memory of the fit."""


def nearest_neighbours(
    units: NDArray[np.float32], n_neighbours: int, progress: Progress, task: str, *, threads: int = 1
) -> SparseRows:
    """For each row of `units` (n, dim), unit or zero vectors, the `n_neighbours` others of largest cosine above 0.

    Up to `EXACT_UP_TO` rows the lists are exact, by blocked matrix products (n² · dim multiplications). Beyond, a
    search by cells finds about the share `RECALL` of each list; `threads` changes the speed only.
    """
    n = units.shape[0]
    if n > EXACT_UP_TO:
        rng = np.random.default_rng(0)
        lengths, items, cosines = cell_lists(units, n_neighbours, RECALL, rng, threads, progress, task)
        return SparseRows(offsets_of(lengths), items, cosines, n)
    block = max(1, BLOCK_BYTES // (4 * max(n, 1)))
    return run_in_blocks(_nearest, (units, n_neighbours), n, threads, progress, task, size=block)


def _nearest(start: int, stop: int, units: NDArray[np.float32], n_neighbours: int) -> Block:
    """The nearest neighbours of the rows `start … stop - 1` of `units` by all inner products."""
    similarities = units[start:stop] @ units.T
    np.fill_diagonal(similarities[:, start:], np.nan)
    found: Block = best_columns(similarities, n_neighbours)
    return found


def entries_for_items(
    rows: NDArray[np.int32], units: NDArray[np.float32], lowest: NDArray[np.float32], n_neighbours: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """The entries that new items add to neighbour lists: their own lists, and their entries in the lists of others.

    An item enters the list of each of its own neighbours that was not full or whose lowest cosine it exceeds. No entry
    is evicted, so that lists may grow beyond `n_neighbours`.

    Args:
        rows: the new items, int32, distinct.
        units: float32 (n_items, dim), unit or zero vectors of all items.
        lowest: float32 (n,), the `lowest_of_lists` of the first `n` items; the others' lists are not full.
        n_neighbours: the length of a full list.

    Returns:
        Rows, columns and cosines of the entries.
    """
    bounds = np.zeros(len(units), np.float32)
    bounds[: lowest.size] = lowest
    bounds[rows] = np.inf
    block = max(1, BLOCK_BYTES // (4 * max(len(units), 1)))
    entries = [(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32))]
    for start in range(0, rows.size, block):
        own = rows[start : start + block]
        similarities = units[own] @ units.T
        similarities[np.arange(own.size), own] = np.nan
        lengths, near, scores = best_columns(similarities, n_neighbours)
        sources, joins = np.repeat(own, lengths), scores > bounds[near]
        entries += [(sources, near, scores), (near[joins], sources[joins], scores[joins])]
    every_row, every_column, values = (np.concatenate(part) for part in zip(*entries, strict=True))
    return every_row, every_column, values


@kernel
def lowest_of_lists(offsets: Array, values: Array, n_neighbours: int) -> Array:
    """The lowest value of each full list, float32 (n_lists,); 0 for a list that is not full."""
    lowest = np.zeros(offsets.size - 1, np.float32)
    for row in range(lowest.size):
        if offsets[row + 1] - offsets[row] >= n_neighbours:
            lowest[row] = values[offsets[row] : offsets[row + 1]].min()
    return lowest


@kernel
def best_columns(scores: Array, n_best: int) -> tuple[Array, Array, Array]:
    """The `n_best` best columns of each row of `scores`, float32 (n_rows, n_columns), with a score above 0.

    Returns:
        The number of columns for each row, int64 (n_rows,), then the columns, int32, and scores, float32, of all rows,
        best first within a row.
    """
    n_rows, n_columns = scores.shape
    columns = np.arange(n_columns).astype(np.int32)
    lengths = np.zeros(n_rows, np.int64)
    items = np.empty(n_rows * min(n_best, n_columns), np.int32)
    values = np.empty(items.size, np.float32)
    filled = 0
    for row in range(n_rows):
        best, best_values = top_k(columns, scores[row], n_best)
        for position in range(best.size):
            if best_values[position] > 0.0:
                items[filled], values[filled] = best[position], best_values[position]
                filled += 1
                lengths[row] += 1
    return lengths, items[:filled], values[:filled]

"""Each item's nearest neighbours by cosine, as sparse rows to serve from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from multirecall.csr import offsets_of
from multirecall.kernels import Array, kernel
from multirecall.progress import Progress
from multirecall.topk import top_k

from .._sparse.rows import SparseRows
from .._vector_table import unit_rows
from .knn_cells import cell_lists

EXACT_UP_TO = 50_000
"""Rows from which on cells are several times as fast as all products."""

RECALL = 0.95
"""Of a list from cells, about: one of hundreds can spare some of its ends, and .99 takes twice the time."""

BLOCK_BYTES = 64 * 2**20
"""Memory of one block of similarities."""


def nearest_neighbours(
    vectors: NDArray[np.float32], n_neighbours: int, progress: Progress, task: str, *, threads: int = 1
) -> SparseRows:
    """For each row of `vectors` (n, dim) the `n_neighbours` others of largest cosine above 0; zero rows have none.

    Exact, by blocked matrix products (n² · dim multiplications), up to 50,000 rows; beyond, cell by cell, which finds
    about .95 of them. `threads` changes the speed of the latter only.
    """
    n = vectors.shape[0]
    units = unit_rows(vectors)
    if n > EXACT_UP_TO:
        rng = np.random.default_rng(0)
        lengths, items, cosines = cell_lists(units, n_neighbours, RECALL, rng, threads, progress, task)
        return SparseRows(offsets_of(lengths), items, cosines, n)
    block = max(1, BLOCK_BYTES // (4 * max(n, 1)))
    parts = []
    with progress.task(task, n) as advance:
        for start in range(0, n, block):
            similarities = units[start : start + block] @ units.T
            np.fill_diagonal(similarities[:, start:], np.nan)
            parts.append(best_columns(similarities, n_neighbours))
            advance(len(similarities))
    return SparseRows.of_parts(parts, n)


def joining(
    rows: NDArray[np.int32], units: NDArray[np.float32], lists: SparseRows, n_neighbours: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """The entries of neighbour lists that items bring with them: their own lists, and their places in those of others.

    An item joins the lists of its own neighbours where its cosine is above the list's lowest, which is not put out.

    Args:
        rows: the items, distinct.
        units: float32 (n_items, dim), unit or zero vectors of all items.
        lists: the lists of the other items; they have no entries of `rows`.
        n_neighbours: when a list is full.

    Returns:
        Rows, columns and cosines of the entries.
    """
    bounds = np.zeros(len(units), np.float32)
    lowest = _lowest(lists.offsets, lists.values, n_neighbours)
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
def _lowest(offsets: Array, values: Array, n_neighbours: int) -> Array:
    """The lowest value of each list that is full, 0 of the others."""
    lowest = np.zeros(offsets.size - 1, np.float32)
    for row in range(lowest.size):
        if offsets[row + 1] - offsets[row] >= n_neighbours:
            lowest[row] = values[offsets[row] : offsets[row + 1]].min()
    return lowest


@kernel
def best_columns(scores: Array, n_best: int) -> tuple[Array, Array, Array]:
    """The best columns of each row of `scores`, float32 (n_rows, n_columns), whose score is above 0.

    Returns:
        How many each row has, and the columns and scores of all rows, best first within a row.
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

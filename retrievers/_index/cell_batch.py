"""The search of an inverted file for several queries in one call."""

from __future__ import annotations

import numpy as np

from multirecall.kernels import Array, kernel

from .cell_scan import search_cells


@kernel
def search_cells_of_each(
    queries: Array,
    margins: Array,
    bounds: Array,
    exclude: Array,
    allowed: Array,
    l2: bool,
    slack: float,
    k: int,
    n_best: int,
    centre: Array,
    unit: Array,
    centroids: Array,
    centroid_scales: Array,
    spreads: Array,
    squares: Array,
    starts: Array,
    first_blocks: Array,
    blocks: Array,
    offsets: Array,
    rows: Array,
    values: Array,
    dead: Array,
    new_rows: Array,
    new_values: Array,
) -> tuple[Array, Array, Array]:
    """`search_cells` for each query: items, int32 (n, k), their scores, float32 (n, k), and bool (n,) which are whole.

    A query is left out where its margin, float64 (n,), is not finite. What query `i` leaves out is between two of
    `bounds` in `exclude`. The other arrays are those of `search_cells`.
    """
    n = len(queries)
    items, scores, whole = np.empty((n, k), np.int32), np.empty((n, k), np.float32), np.zeros(n, np.bool_)
    for number in range(n):
        if not np.isfinite(margins[number]):
            continue
        found, found_scores = search_cells(
            queries[number],
            l2,
            margins[number],
            slack,
            k,
            n_best,
            centre,
            unit,
            centroids,
            centroid_scales,
            spreads,
            squares,
            starts,
            first_blocks,
            blocks,
            offsets,
            rows,
            values,
            dead,
            new_rows,
            new_values,
            exclude[bounds[number] : bounds[number + 1]],
            allowed,
        )
        if found.size == k:
            items[number], scores[number], whole[number] = found, found_scores, True
    return items, scores, whole

"""The search of an inverted file: which cells queries visit, and the best of their vectors by 4-bit codes.

Vectors are centred and scaled as those of a `Cells` are. What a query finds does not depend on the order in
which it visits cells, and so not on the queries that it is asked with, see `best_positions`.
"""

from __future__ import annotations

import numpy as np

from multirecall.kernels import Array, kernel
from multirecall.topk import marks_of

from .cell_pass import level_of, order_by_level, scale_of_levels, scan_cells
from .cell_scan import CellArrays, StoredArrays, locate, query_terms, score_moments, slack_unit
from .code_blocks import LANES, PER_LINE, n_lines
from .scan import rescore

FARTHEST = 1e15
"""The largest distance of a query, in units of the largest entry; beyond it squares could overflow."""

GROUP = 32
"""Queries that pass over the cells together. What they keep meanwhile fits the second cache of a core."""

ALONE = 4
"""Vectors for each of `n_best` that a query of a group visits by itself, in its best cells, for a first bound."""

NEVER = -1
"""In place of the level that a cell may reach: the query visits none."""


@kernel
def search_cells(
    queries: Array,
    l2: bool,
    margins: Array,
    slack: float,
    k: int,
    spare: int,
    bounds: Array,
    exclude: Array,
    allowed: Array,
    stored: StoredArrays,
    cells: CellArrays,
) -> tuple[Array, Array, Array]:
    """The best `k` of `best_positions` and of what was added since, by their exact scores, for each query.

    Returns:
        Items, int32 (n, k), their scores, float32 (n, k), and bool (n,) which lists have `k` items; others are void.
        So is the list of a query whose margin, float64 (n,), is not finite.
    """
    rows, values, dead, new_rows, new_values = stored
    n = len(queries)
    items, scores, whole = np.empty((n, k), np.int32), np.empty((n, k), np.float32), np.zeros(n, np.bool_)
    asked = np.flatnonzero(np.isfinite(margins))
    for start in range(0, asked.size, GROUP):
        group = asked[start : start + GROUP]
        ends, positions = best_positions(
            queries, group, l2, margins, slack, k + spare, bounds, exclude, allowed, rows, dead, cells
        )
        for place, number in enumerate(group):
            filtered = exclude[bounds[number] : bounds[number + 1]]
            own, query = positions[ends[place] : ends[place + 1]], queries[number]
            found, found_scores, _ = rescore(
                own, rows, values, dead, new_rows, new_values, query, l2, k, filtered, allowed
            )
            if found.size == k:
                items[number], scores[number], whole[number] = found, found_scores, True
    return items, scores, whole


@kernel
def search_alone(
    query: Array,
    l2: bool,
    margin: float,
    slack: float,
    k: int,
    spare: int,
    exclude: Array,
    allowed: Array,
    stored: StoredArrays,
    cells: CellArrays,
) -> tuple[Array, Array]:
    """`search_cells` for one query, float32 (dim,), that leaves out all of `exclude`.

    Returns:
        Items, int32 (k,), and their scores, float32 (k,); empty where `search_cells` says that they are void.
    """
    bounds = np.array([0, exclude.size])
    items, scores, whole = search_cells(
        query.reshape(1, -1), l2, np.array([margin]), slack, k, spare, bounds, exclude, allowed, stored, cells
    )
    n_found = k if whole[0] else 0
    return items[0, :n_found], scores[0, :n_found]


@kernel
def best_positions(
    queries: Array,
    group: Array,
    l2: bool,
    margins: Array,
    slack: float,
    n_best: int,
    bounds: Array,
    exclude: Array,
    allowed: Array,
    rows: Array,
    dead: Array,
    cells: CellArrays,
) -> tuple[Array, Array]:
    """Positions of the best `n_best` eligible vectors, but for a few, and of others that are hardly worse.

    These are found for each query of the `group`, numbers of rows of `queries`. What query `i` leaves out is between
    two of `bounds` in `exclude`: if these are few rows, the search returns that many extra positions and leaves their
    removal to the caller.

    A vector counts at the level of its score by codes, lowered by `slack` deviations of its error, and at most at the
    level that its cell may reach, `mean + margin · deviation`. The bound is the highest level that `n_best` vectors
    have. A cell is visited if it may reach the bound, and a vector kept if its score may, raised by `slack` deviations.

    A query alone visits its cells from the one that reaches highest. Those of a group do so until each has a bound.
    Then they pass over the cells together, so that a block is read once for several.

    Returns:
        Offsets, int64 (len(group) + 1,), and positions, int32. They are all for a query that is too far away to tell
        them apart. `dead` is empty where no vector is.
    """
    centre, unit, centroids, centroid_scales, spreads, squares, starts = cells[:7]
    n, n_cells, dim = group.size, squares.size, queries.shape[1]
    codes = np.empty((n, n_lines(dim) * PER_LINE), np.int8)
    own_terms, raised = np.empty((n, 2), np.float32), np.empty(n, np.float32)
    means, reaches = np.empty((n, n_cells), np.float32), np.empty((n, n_cells), np.float32)
    tops = np.empty((n, n_cells), np.int16)
    lows, per_scores = np.empty(n, np.float32), np.empty(n, np.float32)
    wanted, marks, filters = np.full(n, n_best), np.empty((n, marks_of(exclude[:0]).size), np.uint64), dead.size > 0
    filtered_from, filtered_to = bounds[group], bounds[group + 1]
    is_far = np.zeros(n, np.bool_)
    turns, n_turns = np.empty(n * n_cells, np.int32), np.zeros(n, np.int64)
    for one in range(n):
        number = group[one]
        if filtered_to[one] - filtered_from[one] <= n_best:
            wanted[one] += filtered_to[one] - filtered_from[one]
            filtered_to[one] = filtered_from[one]
        marks[one] = marks_of(exclude[filtered_from[one] : filtered_to[one]])
        filters = filters or filtered_to[one] - filtered_from[one] + allowed.size > 0
        placed, length = locate(queries[number], l2, centre, unit[0])
        if length > FARTHEST:
            is_far[one] = True
            tops[one] = NEVER
            continue
        mean, reach, top = means[one], reaches[one], tops[one]
        score_moments(placed, l2, centroids, centroid_scales, spreads, squares, mean, reach)
        for cell in range(n_cells):
            reach[cell] = mean[cell] + np.float32(margins[number]) * reach[cell]
        lows[one], per_scores[one] = scale_of_levels(reach)
        for cell in range(n_cells):
            top[cell] = level_of(reach[cell], lows[one], per_scores[one])
        raised[one] = np.float32(slack) * slack_unit(length, l2)
        factor, lift = query_terms(placed, l2, codes[one])
        own_terms[one, 0], own_terms[one, 1] = factor, lift + raised[one]
        order = turns[one * n_cells : (one + 1) * n_cells]
        order_by_level(top, order)
        n_turns[one] = n_cells
        if n > 1:
            n_turns[one], n_vectors = 0, 0
            while n_turns[one] < n_cells and n_vectors < ALONE * wanted[one]:
                cell = order[n_turns[one]]
                n_vectors += starts[cell + 1] - starts[cell]
                n_turns[one] += 1
    capacity = max(4 * wanted.max(), 16 * LANES)
    positions, sizes = np.empty((n, capacity), np.int32), np.empty(n, np.int64)
    while not scan_cells(
        turns,
        n_turns,
        tops,
        means,
        reaches,
        codes,
        own_terms,
        raised,
        lows,
        per_scores,
        wanted,
        filters,
        marks,
        filtered_from,
        filtered_to,
        l2,
        exclude,
        allowed,
        rows,
        dead,
        cells,
        positions,
        sizes,
    ):
        capacity *= 2
        positions = np.empty((n, capacity), np.int32)
    ends = np.zeros(n + 1, np.int64)
    for one in range(n):
        ends[one + 1] = ends[one] + (rows.size if is_far[one] else sizes[one])
    best = np.empty(ends[-1], np.int32)
    for one in range(n):
        if is_far[one]:
            best[ends[one] : ends[one + 1]] = np.arange(rows.size)
        else:
            best[ends[one] : ends[one + 1]] = positions[one, : sizes[one]]
    return ends, best

"""The pass of queries over the cells of an inverted file, which keeps what may be among the best, block by block.

What a vector scores by its codes and what its cell may reach are both told in levels, whole numbers: so the bound that
a query has in the end is the same in whatever order the cells came.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from multirecall.kernels import Array, first_place, kernel, prefetch
from multirecall.topk import is_eligible

from .cell_scan import CellArrays, base_of
from .code_blocks import LANES, N_TERMS, TOGETHER, keep_lanes, score_block, score_block_together

N_LEVELS = 1_024
"""The number of score levels at which vectors are counted, to bound the score of the k-th best."""

BELOW = 0.01
"""Part of a level by which a bound is lowered, so that no rounding puts a score of the level below it."""

N_AHEAD = 4
"""The number of blocks that are prefetched at the start of the next cell."""

FRESH = 64
"""Vectors that a query keeps before they are counted, which may raise its bound; half of `n_best` if that is more."""

LANE_BITS = (1 << LANES) - 1
"""The bits of one query in what `score_block_together` returns."""

MASK = 0x0001_0001_0001_0001
"""The lowest bit of each query in what `score_block_together` returns."""


@kernel
def scan_cells(
    turns: Array,
    n_turns: Array,
    tops: Array,
    means: Array,
    reaches: Array,
    codes: Array,
    own_terms: Array,
    raised: Array,
    lows: Array,
    per_scores: Array,
    wanted: Array,
    filters: bool,
    marks: Array,
    filtered_from: Array,
    filtered_to: Array,
    l2: bool,
    exclude: Array,
    allowed: Array,
    rows: Array,
    dead: Array,
    cells: CellArrays,
    positions: Array,
    sizes: Array,
) -> bool:
    """Writes what `best_positions` keeps of each of `n` queries to `positions`, and how many to `sizes`, int64 (n,).

    Args:
        turns, n_turns: the cells of each query, those that reach highest first, int32 (n · n_cells,), and how many of
            them it visits by itself, int64 (n,).
        tops, means, reaches: for each query and cell the level that its vectors may reach, int16, their mean score, and
            the score that they may reach, both float32; all (n, n_cells).
        codes, own_terms: of each query the codes, and factor and lift, float32 (n, 2), as `score_block` takes them.
        raised: float32 (n,), what the lift of a query has for errors, in units of a vector's scale.
        lows, per_scores: float32 (n,), see `scale_of_levels`.
        wanted: int64 (n,), how many vectors of a level make it the bound.
        filters: whether any query leaves anything out: `dead` positions, rows that are not `allowed`, or the rows of
            `exclude` between `filtered_from` and `filtered_to`, int64 (n,), which have `marks`, uint64 (n, …).
        positions: int32 (n, capacity).

    Returns:
        False if there is too little room; what was written is void then.
    """
    _, _, _, _, _, squares, starts, first_blocks, blocks, offsets = cells
    n, n_cells, capacity = sizes.size, squares.size, positions.shape[1]
    sizes[:] = 0
    most_fresh = max(FRESH, wanted.max() // 2)
    uppers, lowers = np.empty((n, capacity), np.float32), np.empty((n, most_fresh + LANES), np.float32)
    flat_positions, flat_uppers, flat_lowers = positions.reshape(-1), uppers.reshape(-1), lowers.reshape(-1)
    bound_levels, above, leasts = np.zeros(n, np.int64), np.zeros(n, np.int64), np.full(n, np.float32(-np.inf))
    at_level, n_fresh = np.zeros((n, N_LEVELS), np.int32), np.zeros(n, np.int64)
    asked, terms = np.zeros(n + TOGETHER, np.int64), np.empty((n + TOGETHER, N_TERMS), np.float32)
    scores = np.empty(TOGETHER * LANES, np.float32)
    block_bytes, width = blocks.reshape(-1), blocks.shape[1]
    visited = np.zeros((n, n_cells if n > 1 else 0), np.bool_)
    for phase in range(n + 1 if n > 1 else 1):
        alone = phase < n
        for turn in range(n_turns[phase] if alone else n_cells):
            n_asked = 0
            if alone:
                cell, following = turns[phase * n_cells + turn], turns[phase * n_cells + min(turn + 1, n_cells - 1)]
                asked[0] = phase
                n_asked += int(tops[phase, cell] >= bound_levels[phase])
            else:
                cell, following = turn, min(turn + 1, n_cells - 1)
                for one in range(n):
                    asked[n_asked] = one
                    n_asked += int(tops[one, cell] >= bound_levels[one] and not visited[one, cell])
            if n_asked == 0:
                continue
            prefetch(block_bytes, first_blocks[following] * width, N_AHEAD * width)
            for slot in range(n_asked):
                one = asked[slot]
                terms[slot, 0], terms[slot, 1] = own_terms[one, 0], own_terms[one, 1]
                terms[slot, 2], terms[slot, 3] = base_of(means[one, cell], squares[cell], l2), leasts[one]
            if n_asked > 1:
                asked[n_asked : n_asked + TOGETHER] = asked[0]
                terms[n_asked : n_asked + TOGETHER] = terms[0]
                terms[n_asked : n_asked + TOGETHER, 3] = np.inf
            first, last = starts[cell], starts[cell + 1]
            for block in range(first_blocks[cell], first_blocks[cell + 1]):
                lowered = first if l2 else 0
                mask = MASK * ((1 << min(last - first, LANES)) - 1)
                for slot in range(0, n_asked, TOGETHER):
                    if n_asked == 1:
                        found = score_block(blocks, block, codes, asked, terms, slot, offsets, lowered, scores)
                    else:
                        found = score_block_together(blocks, block, codes, asked, terms, slot, offsets, lowered, scores)
                    found &= mask
                    while found:
                        place = first_place(found) // LANES
                        bits = (found >> (place * LANES)) & LANE_BITS
                        found &= ~(LANE_BITS << (place * LANES))
                        one = asked[slot + place]
                        if filters:
                            filtered = exclude[filtered_from[one] : filtered_to[one]]
                            bits = _eligible_lanes(bits, rows[first:], dead[first:], filtered, marks[one], allowed)
                        if sizes[one] + LANES > capacity:
                            return False
                        n_kept = keep_lanes(
                            bits,
                            scores,
                            place * LANES,
                            blocks,
                            block,
                            raised[one],
                            reaches[one, cell],
                            first,
                            flat_positions,
                            flat_uppers,
                            one * capacity + sizes[one],
                            flat_lowers,
                            one * lowers.shape[1] + n_fresh[one],
                        )
                        sizes[one] += n_kept
                        n_fresh[one] += n_kept
                        if n_fresh[one] < most_fresh:
                            continue
                        bound_levels[one], above[one] = _raise_bound(
                            lowers[one, : n_fresh[one]],
                            lows[one],
                            per_scores[one],
                            wanted[one],
                            at_level[one],
                            bound_levels[one],
                            above[one],
                        )
                        n_fresh[one] = 0
                        if bound_levels[one] > 0:
                            below = np.float32(bound_levels[one]) - np.float32(BELOW)
                            leasts[one] = lows[one] + below / per_scores[one]
                            terms[slot + place, 3] = leasts[one]
                        if 2 * sizes[one] > capacity:
                            sizes[one] = _keep_from(
                                positions[one], uppers[one], sizes[one], lows[one], per_scores[one], bound_levels[one]
                            )
                first += LANES
            if alone and n > 1:
                visited[phase, cell] = True
    for one in range(n):
        fresh = lowers[one, : n_fresh[one]]
        scale = lows[one], per_scores[one]
        bound_levels[one], _ = _raise_bound(
            fresh, scale[0], scale[1], wanted[one], at_level[one], bound_levels[one], above[one]
        )
        sizes[one] = _keep_from(positions[one], uppers[one], sizes[one], scale[0], scale[1], bound_levels[one])
    return True


@kernel
def _eligible_lanes(bits: int, rows: Array, dead: Array, exclude: Array, marks: Array, allowed: Array) -> int:
    """The bits of lanes whose vectors are neither `dead` nor left out. `rows` and `dead` begin at the first lane."""
    kept, rest = bits, bits
    while rest:
        lane = first_place(rest)
        rest &= rest - 1
        if (dead.size and dead[lane]) or not is_eligible(rows[lane], exclude, marks, allowed):
            kept &= ~(1 << lane)
    return kept


@kernel
def _raise_bound(
    lowers: Array, low: Any, per_score: Any, wanted: int, at_level: Array, bound_level: int, above: int
) -> tuple[int, int]:
    """Counts vectors at the levels of their scores; the highest level that `wanted` ones have, and how many have it."""
    for lower in lowers:
        level = level_of(lower, low, per_score)
        at_level[level] += 1
        above += int(level >= bound_level)
    while above - at_level[bound_level] >= wanted:
        above -= at_level[bound_level]
        bound_level += 1
    return bound_level, above


@kernel
def scale_of_levels(reach: Array) -> tuple[Any, Any]:
    """The score of the lowest level, and levels for each unit of score, such that the highest reach has the last."""
    low, high = reach.min(), reach.max()
    return low, np.float32(N_LEVELS) / (high - low) if high > low else np.float32(0.0)


@kernel
def level_of(score: Any, low: Any, per_score: Any) -> Any:
    """The level of a score, int64."""
    return np.int64(min(max((score - low) * per_score, np.float32(0.0)), np.float32(N_LEVELS - 1)))


@kernel
def order_by_level(tops: Array, order: Array) -> None:
    """Writes the cells in `order`, those that reach highest first; of equal ones the lower first."""
    ends = np.zeros(N_LEVELS + 1, np.int32)
    for top in tops:
        ends[N_LEVELS - top] += 1
    for level in range(N_LEVELS):
        ends[level + 1] += ends[level]
    for cell in range(tops.size):
        level = N_LEVELS - 1 - tops[cell]
        order[ends[level]] = cell
        ends[level] += 1


@kernel
def _keep_from(positions: Array, uppers: Array, size: int, low: Any, per_score: Any, least: int) -> int:
    """How many of the first `size` vectors may have at least this level, after these have been moved to the front."""
    kept = 0
    for place in range(size):
        positions[kept], uppers[kept] = positions[place], uppers[place]
        kept += int(level_of(uppers[place], low, per_score) >= least)
    return kept

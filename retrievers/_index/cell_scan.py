"""Kernels over an inverted file: which cells a query visits, and the best of their vectors by 4-bit codes.

Arrays are those of a `Cells`, whose vectors are centred and scaled; `placed` is a query that was treated alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from multirecall.kernels import Array, first_place, kernel, prefetch
from multirecall.topk import is_eligible, marks_of

from .code_blocks import LANES, MIDDLE, query_bytes, scales_of, score_block
from .expectation import deviation_of
from .scan import rescore

CODE_MAX = 127
"""The largest code of a centroid's entry."""

FARTHEST = 1e15
"""The largest distance of a query, in units of the largest entry; beyond it squares could overflow."""

QUERY_MAX = 1_023
"""The largest code of a query's entry, for centroids. With it, sums of 16,384 products with their codes fit int32."""

N_LEVELS = 1_024
"""The number of score levels at which vectors are counted, to bound the score of the k-th best."""

N_BUCKETS = 256
"""The number of buckets of the bucket sort of cells."""

N_AHEAD = 4
"""The number of blocks that are prefetched at the start of the next cell."""

ERROR = 12.0**-0.5
"""The standard deviation of an entry's rounding error, in units of its scale: that of uniform numbers."""


@kernel
def _code_product(codes: Array, query_codes: Array) -> Any:
    """Each step is truncated to int32; otherwise numba widens the sum, and it is not vectorised."""
    total = np.int32(0)
    for entry in range(codes.size):
        total = np.int32(total + np.int32(codes[entry]) * np.int32(query_codes[entry]))
    return total


@kernel
def encode(vectors: Array) -> tuple[Array, Array]:
    """Codes of vectors, int8 (n, dim), and the scale of each, float32 (n,): entry ≈ code · scale."""
    n, dim = vectors.shape
    codes = np.empty((n, dim), np.int8)
    scales = np.empty(n, np.float32)
    for position in range(n):
        largest = np.float32(0.0)
        for entry in range(dim):
            largest = max(largest, abs(vectors[position, entry]))
        scales[position] = largest / np.float32(CODE_MAX)
        factor = np.float64(CODE_MAX) / np.float64(largest) if largest > 0.0 else 0.0
        for entry in range(dim):
            codes[position, entry] = np.int8(np.rint(vectors[position, entry] * factor))
    return codes, scales


@kernel
def locate(query: Array, l2: bool, centre: Array, unit: float) -> tuple[Array, float]:
    """A query among the vectors of the cells, float32, and its length; only its direction counts unless `l2`."""
    moved = query.astype(np.float64)
    total = 0.0
    for entry in range(query.size):
        if l2:
            moved[entry] = (moved[entry] - centre[entry]) / unit
        total += moved[entry] * moved[entry]
    length = np.sqrt(total)
    if not l2 and length > 0.0:
        moved /= length
        length = 1.0
    return moved.astype(np.float32), length


@kernel
def score_moments(
    placed: Array, l2: bool, centroids: Array, centroid_scales: Array, spreads: Array, squares: Array
) -> tuple[Array, Array]:
    """Mean and standard deviation of the scores in each cell, float32 (n_cells,), by the model of `expectation`.

    A score is the inner product with the query, or in `l2` `2 q·x - |x|²`, which orders as the distance does.
    """
    n_cells = centroids.shape[0]
    mean = np.empty(n_cells, np.float32)
    deviation = np.empty(n_cells, np.float32)
    codes, step = query_codes(placed)
    length = np.float32(0.0)
    for value in placed:
        length += value * value
    for cell in range(n_cells):
        product = np.float32(_code_product(centroids[cell], codes)) * (step * centroid_scales[cell])
        if l2:
            mean[cell] = 2 * product - squares[cell]
            centre = squares[cell] - placed.size * spreads[cell] * spreads[cell]
            deviation[cell] = 2 * deviation_of(spreads[cell], length - 2 * product + centre)
        else:
            mean[cell] = product
            deviation[cell] = deviation_of(spreads[cell], length)
    return mean, deviation


@kernel
def _order_descending(values: Array, low: Any, high: Any) -> Array:
    """Positions of values between `low` and `high`, the larger first, in no order within one of `N_BUCKETS` buckets."""
    width = high - low
    factor = np.float32(N_BUCKETS - 1) / width if width > 0.0 else np.float32(0.0)
    buckets = np.empty(values.size, np.int32)
    ends = np.zeros(N_BUCKETS + 1, np.int32)
    for position in range(values.size):
        buckets[position] = np.int32((high - values[position]) * factor)
        ends[buckets[position] + 1] += 1
    for bucket in range(N_BUCKETS):
        ends[bucket + 1] += ends[bucket]
    order = np.empty(values.size, np.int32)
    for position in range(values.size):
        order[ends[buckets[position]]] = position
        ends[buckets[position]] += 1
    return order


@kernel
def query_codes(placed: Array) -> tuple[Array, Any]:
    """Codes of a query, int16, and their scale."""
    largest = np.float32(0.0)
    for value in placed:
        largest = max(largest, abs(value))
    step = largest / np.float32(QUERY_MAX) if largest > 0.0 else np.float32(1.0)
    codes = np.empty(placed.size, np.int16)
    for entry in range(placed.size):
        codes[entry] = np.int16(np.rint(placed[entry] / step))
    return codes, step


@kernel
def slack_unit(length: float, l2: bool) -> Any:
    """The deviation of a score's error, in units of the scale of its vector, for a query of this length."""
    return np.float32(ERROR * length * (2.0 if l2 else 1.0))


@kernel
def score_codes(
    query: Array,
    l2: bool,
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
) -> tuple[Array, Array]:
    """The scores of all vectors by their codes, and the standard deviations of their errors, both float32 (n,)."""
    placed, length = locate(query, l2, centre, unit[0])
    mean, _ = score_moments(placed, l2, centroids, centroid_scales, spreads, squares)
    asked, step, total = query_bytes(placed)
    factor = np.float32(2 * step if l2 else step)
    lift = np.float32(-factor * MIDDLE * total)
    found, errors = np.empty(starts[-1], np.float32), np.empty(starts[-1], np.float32)
    scores, scales = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    for cell in range(mean.size):
        base = mean[cell] + squares[cell] if l2 else mean[cell]
        for block in range(first_blocks[cell], first_blocks[cell + 1]):
            first = starts[cell] + (block - first_blocks[cell]) * LANES
            score_block(
                blocks, block, asked, factor, lift, base, offsets, first if l2 else 0, np.float32(-np.inf), scores
            )
            scales_of(blocks, block, scales)
            for place in range(first, min(first + LANES, starts[cell + 1])):
                found[place] = scores[place - first]
                errors[place] = slack_unit(length, l2) * scales[place - first]
    return found, errors


@kernel
def best_positions(
    query: Array,
    l2: bool,
    margin: float,
    slack: float,
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
    dead: Array,
    exclude: Array,
    allowed: Array,
) -> Array:
    """Positions of the best `n_best` eligible vectors, int32, but for a few, and of others that are hardly worse.

    If few rows are excluded, the search returns that many extra positions and leaves their removal to the caller.

    Cells are visited by what their vectors may score, `mean + margin · deviation`, as long as that reaches the lowest
    of the best `n_best` scores found so far. A vector is kept if its score by codes is at most `slack` deviations of
    its error below that. All positions for a query that is too far away to tell them apart.

    `dead` is empty where no vector is.
    """
    if exclude.size <= n_best:
        n_best += exclude.size
        exclude = exclude[:0]
    marks = marks_of(exclude)
    filters = dead.size + exclude.size + allowed.size > 0
    placed, length = locate(query, l2, centre, unit[0])
    if length > FARTHEST:
        return np.arange(rows.size).astype(np.int32)
    mean, reach = score_moments(placed, l2, centroids, centroid_scales, spreads, squares)
    low, high = np.float32(np.inf), np.float32(-np.inf)
    for cell in range(mean.size):
        reach[cell] = mean[cell] + np.float32(margin) * reach[cell]
        low, high = min(low, reach[cell]), max(high, reach[cell])
    order = _order_descending(reach, low, high)
    asked, step, total = query_bytes(placed)
    factor, raised = np.float32(2 * step if l2 else step), np.float32(slack) * slack_unit(length, l2)
    lift = np.float32(raised - factor * MIDDLE * total)
    scores, scales = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    capacity = max(4 * n_best, 16 * LANES)
    positions, reaches = np.empty(capacity, np.int32), np.empty(capacity, np.float32)
    size = 0
    per_score = np.float32(N_LEVELS) / (high - low) if high > low else np.float32(0.0)
    at_level = np.zeros(N_LEVELS, np.int32)
    level, above = 0, 0
    bound = np.float32(-np.inf)
    block_bytes, width = blocks.reshape(-1), blocks.shape[1]
    for turn in range(order.size):
        cell = order[turn]
        if reach[cell] < bound:
            continue
        prefetch(block_bytes, first_blocks[order[min(turn + 1, order.size - 1)]] * width, N_AHEAD * width)
        base = mean[cell] + squares[cell] if l2 else mean[cell]
        first, last = starts[cell], starts[cell + 1]
        for block in range(first_blocks[cell], first_blocks[cell + 1]):
            found = score_block(blocks, block, asked, factor, lift, base, offsets, first if l2 else 0, bound, scores)
            if last - first < LANES:
                found &= (1 << (last - first)) - 1
            if found:
                if size + LANES > capacity:
                    size = _keep_reaching(positions, reaches, size, bound)
                    if 2 * size > capacity:
                        capacity *= 2
                        positions, reaches = _resized(positions, capacity), _resized(reaches, capacity)
                scales_of(blocks, block, scales)
            while found:
                lane = first_place(found)
                found &= found - 1
                if filters:
                    if dead.size and dead[first + lane]:
                        continue
                    if not is_eligible(rows[first + lane], exclude, marks, allowed):
                        continue
                positions[size], reaches[size] = first + lane, scores[lane]
                size += 1
                score = scores[lane] - raised * scales[lane]
                if score >= bound:
                    at = min(max((score - low) * per_score, np.float32(0.0)), np.float32(N_LEVELS - 1))
                    at_level[np.int64(at)] += 1
                    above += 1
                    while above - at_level[level] >= n_best:
                        above -= at_level[level]
                        level += 1
                        bound = low + np.float32(level) / per_score
            first += LANES
    return positions[: _keep_reaching(positions, reaches, size, bound)]


@kernel
def search_cells(
    query: Array,
    l2: bool,
    margin: float,
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
    exclude: Array,
    allowed: Array,
) -> tuple[Array, Array]:
    """The best `k` of `best_positions` and of what was added since, by their exact scores: items and scores."""
    positions = best_positions(
        query,
        l2,
        margin,
        slack,
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
        dead,
        exclude,
        allowed,
    )
    found, scores, _ = rescore(positions, rows, values, dead, new_rows, new_values, query, l2, k, exclude, allowed)
    return found, scores


@kernel
def _keep_reaching(positions: Array, reaches: Array, size: int, bound: Any) -> int:
    """How many of the first `size` entries reach the bound, after these have been moved to the front."""
    kept = 0
    for place in range(size):
        positions[kept], reaches[kept] = positions[place], reaches[place]
        kept += int(reaches[place] >= bound)
    return kept


@kernel
def _resized(values: Array, size: int) -> Array:
    longer = np.empty(size, values.dtype)
    longer[: values.size] = values
    return longer

"""Kernels over an inverted file: which cells a query visits, and the best of their vectors by 8-bit codes.

Arrays are those of a `Cells`, whose vectors are centred and scaled; `placed` is a query that was treated alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from multirecall.kernels import Array, kernel, prefetch
from multirecall.topk import is_among, is_marked, marks_of

from .expectation import deviation_of

CODE_MAX = 127
"""The largest code of a vector's entry."""

FARTHEST = 1e15
"""The largest distance of a query, in units of the largest entry; beyond it squares could overflow."""

QUERY_MAX = 1_023
"""The largest code of a query's entry. With it, sums of 16,384 products with codes of vectors fit int32."""

N_LEVELS = 1_024
"""The number of score levels at which vectors are counted, to bound the score of the k-th best."""

N_BUCKETS = 256
"""The number of buckets of the bucket sort of cells."""

N_AHEAD = 16
"""The number of vectors whose codes are prefetched, within a cell and at the start of the next one."""


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
def _order_descending(values: Array) -> Array:
    """Positions of values, the larger ones first, in no order within one of `N_BUCKETS` buckets."""
    high = values.max()
    width = high - values.min()
    factor = np.float32(N_BUCKETS - 1) / width if width > 0.0 else np.float32(0.0)
    buckets = np.empty(values.size, np.int32)
    ends = np.zeros(N_BUCKETS + 1, np.int64)
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
def best_positions(
    query: Array,
    l2: bool,
    margin: float,
    n_best: int,
    centre: Array,
    unit: Array,
    centroids: Array,
    centroid_scales: Array,
    spreads: Array,
    squares: Array,
    starts: Array,
    codes: Array,
    scales: Array,
    offsets: Array,
    rows: Array,
    dead: Array,
    exclude: Array,
    allowed: Array,
) -> Array:
    """Positions of about the best `n_best` eligible vectors, int32, at least so many where there are.

    If few rows are excluded, the search returns that many extra positions and leaves their removal to the caller.

    Cells are visited by what their vectors may score, `mean + margin · deviation`, as long as that reaches the
    lowest of the best `n_best` found so far. All positions for a query that is too far away to tell them apart.
    """
    if exclude.size <= n_best:
        n_best += exclude.size
        exclude = exclude[:0]
    marks = marks_of(exclude)
    placed, length = locate(query, l2, centre, unit[0])
    if length > FARTHEST:
        return np.arange(rows.size).astype(np.int32)
    mean, deviation = score_moments(placed, l2, centroids, centroid_scales, spreads, squares)
    for cell in range(mean.size):
        mean[cell] += np.float32(margin) * deviation[cell]
    asked, step = query_codes(placed)
    factor = 2 * step if l2 else step
    reached = np.empty(np.max(starts[1:] - starts[:-1]), np.float32)
    positions = np.empty(rows.size, np.int32)
    scores = np.empty(rows.size, np.float32)
    size = 0
    low, high = mean.min(), mean.max()
    per_score = np.float32(N_LEVELS) / (high - low) if high > low else np.float32(0.0)
    at_level = np.zeros(N_LEVELS, np.int64)
    level, above = 0, 0
    bound = np.float32(-np.inf)
    order = _order_descending(mean)
    code_bytes, dim = codes.reshape(-1), codes.shape[1]
    for turn in range(order.size):
        cell = order[turn]
        if mean[cell] < bound:
            continue
        following = starts[order[min(turn + 1, order.size - 1)]]
        prefetch(code_bytes, following * dim, N_AHEAD * dim)
        prefetch(scales, following, N_AHEAD * scales.itemsize)
        first = starts[cell]
        n = starts[cell + 1] - first
        peak = np.float32(-np.inf)
        for place in range(n):
            position = first + place
            if place + N_AHEAD < n:
                prefetch(code_bytes, (position + N_AHEAD) * dim, dim)
            product = np.float32(_code_product(codes[position], asked))
            score = product * (factor * scales[position])
            if l2:
                score -= offsets[position]
            reached[place] = score
            peak = max(peak, score)
        if peak < bound:
            continue
        for place in range(n):
            if reached[place] >= bound:
                position = first + place
                row = rows[position]
                is_out = dead[position] or (allowed.size and not allowed[row])
                if not (is_out or (is_marked(row, marks) and is_among(row, exclude))):
                    positions[size], scores[size] = position, reached[place]
                    size += 1
                    reaches = min(max((reached[place] - low) * per_score, np.float32(0.0)), np.float32(N_LEVELS - 1))
                    at_level[np.int64(reaches)] += 1
                    above += 1
                    while above - at_level[level] >= n_best:
                        above -= at_level[level]
                        level += 1
                        bound = low + np.float32(level) / per_score
    kept = 0
    for place in range(size):
        positions[kept] = positions[place]
        kept += int(scores[place] >= bound)
    return positions[:kept]

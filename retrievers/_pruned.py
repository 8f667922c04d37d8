"""The best columns of a sum of weighted rows, without reading what cannot change them: MaxScore, term at a time."""

from __future__ import annotations

import numpy as np

from multirecall.kernels import Array, kernel
from multirecall.topk import best_keys, candidates_of, is_eligible, key_of

FINITE = np.int32(0x7F800000)
"""See `_gather.FINITE`."""

BIN_BITS = 15
"""Bits of a score that share a counter: 256 counters for each doubling."""

BINS = 1 << 13

ROUNDING = 2.0**-23
"""Twice the largest relative error of one float32 addition."""

LOOK_UP = 16
"""Entries of a row that can be read in the time of finding one column in it."""


@kernel
def falling_bounds(rows: Array, weights: Array, peaks: Array) -> tuple[Array, Array, Array]:
    """The rows in the order in which they are summed up: by the most that each can add, falling, then by row.

    Args:
        rows: int32 (n,), distinct.
        weights: float32 (n,), ≥ 0; rows that weigh 0 are left out.
        peaks: the largest value of every row of the matrix, float32.

    Returns:
        Rows, weights, and the most that each adds, float32.
    """
    keys = np.empty(rows.size, np.int64)
    bounds = np.empty(rows.size, np.float32)
    n_kept = 0
    for position in range(rows.size):
        bounds[position] = weights[position] * peaks[rows[position]]
    bits = bounds.view(np.int32)
    for position in range(rows.size):
        keys[n_kept] = key_of(bits[position], position)
        n_kept += 0 < bits[position]
    order, falling = candidates_of(best_keys(keys[:n_kept], n_kept))
    return rows[order], weights[order], falling


@kernel
def top_pruned(
    rows: Array,
    weights: Array,
    bounds: Array,
    offsets: Array,
    columns: Array,
    values: Array,
    totals: Array,
    touched: Array,
    k: int,
    exclude: Array,
    allowed: Array,
) -> tuple[Array, Array]:
    """The `k` best eligible columns of `Σ weight · row`, to the bit what adding up every row gives.

    Turtle & Flood (1995), "Query evaluation: strategies and optimizations", section 4.2 (max score, term at a time).
    Rows come with falling `bounds`. They are read whole until the rest together cannot lift a column above the
    `k`-th best sum so far; from then on only columns that can still get there are followed up.

    Args:
        rows, weights, bounds: see `falling_bounds`; `values` of the rows > 0.
        offsets, columns, values: the matrix, columns ascending within a row.
        totals: float32 (n_columns,), zeros, and zeros again at the end.
        touched: int32, scratch memory for as many columns as the rows have entries.
        k, exclude, allowed: see `topk.top_eligible`.
    """
    n = rows.size
    rest = np.zeros(n + 1)
    for position in range(n - 1, -1, -1):
        rest[position] = rest[position + 1] + bounds[position]
    rest *= 1.0 + (n + 1) * ROUNDING
    highest = np.int32(np.array([rest[0]], np.float32).view(np.int32)[0] + 1)
    threshold = np.float32(0.0)
    counts = np.empty(BINS, np.int32)
    size = 0
    position = 0
    while position < n:
        start, stop = offsets[rows[position]], offsets[rows[position] + 1]
        if k + exclude.size <= size < 4 * (stop - start):
            threshold = _threshold(touched[:size], totals, k + exclude.size, highest, allowed, counts)
            if rest[position] < threshold:
                break
        weight = weights[position]
        for entry in range(start, stop):
            column = columns[entry]
            total = totals[column]
            touched[size] = column
            size += total == 0.0
            totals[column] = total + weight * values[entry]
        position += 1
    followed = np.empty(size, np.int32)
    n_followed = 0
    for place in range(size):
        column = touched[place]
        if totals[column] + rest[position] >= threshold and is_eligible(column, exclude, allowed):
            followed[n_followed] = column
            n_followed += 1
    while position < n:
        start, stop = offsets[rows[position]], offsets[rows[position] + 1]
        weight = weights[position]
        if n_followed * LOOK_UP < stop - start:
            for place in range(n_followed):
                column = followed[place]
                low, length = start, stop - start
                while length > 1:
                    half = length >> 1
                    low += half * (columns[low + half] <= column)
                    length -= half
                if columns[low] == column:
                    totals[column] += weight * values[low]
        else:
            for entry in range(start, stop):
                column = columns[entry]
                total = totals[column]
                if total != 0.0:
                    totals[column] = total + weight * values[entry]
        position += 1
        if n_followed > 2 * k:
            better = _threshold(followed[:n_followed], totals, k, highest, allowed, counts)
            threshold = max(threshold, better)
            n_kept = 0
            for place in range(n_followed):
                column = followed[place]
                followed[n_kept] = column
                n_kept += totals[column] + rest[position] >= threshold
            n_followed = n_kept
    bits = totals.view(np.int32)
    keys = np.empty(n_followed, np.int64)
    n_keys = 0
    for place in range(n_followed):
        value = bits[followed[place]]
        keys[n_keys] = key_of(value, followed[place])
        n_keys += value < FINITE
    for place in range(size):
        totals[touched[place]] = 0.0
    return candidates_of(best_keys(keys[:n_keys], k))


@kernel
def _threshold(some: Array, totals: Array, k: int, highest: int, allowed: Array, counts: Array) -> float:
    """A number that at least `k` of the allowed columns `some` reach, close below the `k`-th best of their sums.

    `highest` are bits above those of every sum.
    """
    bits = totals.view(np.int32)
    counts[:] = 0
    for column in some:
        if not allowed.size or allowed[column]:
            counts[min(BINS - 1, (highest - bits[column]) >> BIN_BITS)] += 1
    reached = 0
    for place in range(BINS - 1):
        reached += counts[place]
        if reached >= k:
            bound = np.empty(1, np.int32)
            bound[0] = highest - ((place + 1) << BIN_BITS) + 1
            return bound.view(np.float32)[0]
    return np.float32(0.0)

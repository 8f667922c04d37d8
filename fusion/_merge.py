"""The grouping kernel that all fusions share: flat ranked lists in, deduplicated candidates out."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from multirecall.kernels import Array, kernel
from multirecall.lists import FusedBatch
from multirecall.topk import precedes

from ._windows import Windows

FEW = 12
"""So many candidates are sorted by insertion."""


def merge(windows: Windows, contributions: NDArray[np.float64], k: int) -> FusedBatch:
    """Add up `contributions`, float64 (n,) beside `windows.items`, by item, and keep the best `k` of each user.

    Sums run over paths in path order; ties fall to the ordering rule; every path's rank is kept.
    """
    return FusedBatch(*_merge(windows.items, windows.starts, windows.stops, contributions, k))


@kernel
def _merge(
    items: Array, starts: Array, stops: Array, contributions: Array, k: int
) -> tuple[Array, Array, Array, Array]:
    n_paths, n_users = starts.shape
    capacity, out_capacity = 0, 0
    for user in range(n_users):
        entries = 0
        for path in range(n_paths):
            entries += stops[path, user] - starts[path, user]
        capacity = max(capacity, entries)
        out_capacity += min(entries, k)
    table_size = 16
    while table_size < 2 * capacity:
        table_size *= 2
    table = np.empty(table_size, np.int64)
    unique = np.empty(capacity + 1, np.int32)
    sums = np.empty(capacity + 1, np.float64)
    ranks = np.empty((capacity + 1, n_paths), np.int32)
    order, spare = np.empty(capacity + 1, np.int32), np.empty(capacity + 1, np.int32)
    keys, pending = np.empty(capacity + 1, np.float64), np.empty((capacity // FEW + 1, 2), np.int32)

    offsets = np.zeros(n_users + 1, np.int64)
    out_items = np.empty(out_capacity, np.int32)
    out_scores = np.empty(out_capacity, np.float64)
    out_ranks = np.empty((out_capacity, n_paths), np.int32)
    filled = 0
    for user in range(n_users):
        n_unique = _grouped(items, starts[:, user], stops[:, user], contributions, table, unique, sums, ranks)
        n_finite = 0
        for position in range(n_unique):
            order[n_finite] = position
            n_finite += math.isfinite(sums[position])
        kept = min(n_finite, k)
        _bring_forward(order, n_finite, kept, unique, sums, keys, spare, pending)
        for candidate in range(kept):
            position = order[candidate]
            out_items[filled] = unique[position]
            out_scores[filled] = sums[position]
            for path in range(n_paths):
                out_ranks[filled, path] = ranks[position, path]
            filled += 1
        offsets[user + 1] = filled
    return offsets, out_items[:filled], out_scores[:filled], out_ranks[:filled]


@kernel
def _grouped(
    items: Array,
    starts: Array,
    stops: Array,
    contributions: Array,
    table: Array,
    unique: Array,
    sums: Array,
    ranks: Array,
) -> int:
    """Sum one user's entries by item into `unique`, `sums` and `ranks`; how many items there are.

    `table` maps a row to its position by open addressing, both packed into one word, -1 where free. Whether an
    entry is new cannot be foretold, so nothing branches on it.
    """
    entries = 0
    for path in range(starts.size):
        entries += stops[path] - starts[path]
    mask = np.int64(15)
    while mask + 1 < 2 * entries:
        mask = 2 * mask + 1
    table[: mask + 1] = -1
    sums[:entries] = 0.0
    ranks[:entries] = -1
    n_unique = np.int64(0)
    for path in range(starts.size):
        start = starts[path]
        for entry in range(start, stops[path]):
            row = np.int64(items[entry]) & 0xFFFFFFFF
            slot = (row * 0x9E3779B1 >> 15) & mask
            held = table[slot]
            while held >= 0 and held >> 31 != row:
                slot = (slot + 1) & mask
                held = table[slot]
            position = n_unique if held < 0 else held & 0x7FFFFFFF
            n_unique += held < 0
            table[slot] = row << 31 | position
            unique[position] = items[entry]
            if ranks[position, path] < 0:
                ranks[position, path] = entry - start
                sums[position] += contributions[entry]
    return n_unique


@kernel
def _bring_forward(
    order: Array, n: int, k: int, items: Array, scores: Array, keys: Array, spare: Array, pending: Array
) -> None:
    """Sort the positions `order[:n]` by the ordering rule as far as place `k`; behind it anything goes.

    A crowd of positions is thrown into buckets of equal width between its best and its worst key: the score, or
    where all are equal the row. Buckets that begin before `k` and are crowds again follow in the same way. What
    then stands in its bucket, with a few others at most, is sorted by insertion.
    """
    reach, depth = (0, 1) if n > FEW else (n, 0)
    pending[0, 0], pending[0, 1] = 0, n
    while depth:
        depth -= 1
        start, stop = pending[depth]
        for place in range(start, stop):
            keys[place] = scores[order[place]]
        low, high = keys[start:stop].min(), keys[start:stop].max()
        if low == high:
            for place in range(start, stop):
                keys[place] = -items[order[place]]
            low, high = keys[start:stop].min(), keys[start:stop].max()
        scale = (stop - start - 1) / (high - low)
        if not 0.0 < scale < math.inf:
            reach = max(reach, stop)
            continue
        begin = start
        for end in _bucketed(order[start:stop], keys[start:stop], high, scale, spare):
            if begin >= k:
                break
            if start + end - begin > FEW:
                pending[depth] = begin, start + end
                depth += 1
            else:
                reach = max(reach, start + end)
            begin = start + end
    for place in range(1, reach):
        position = order[place]
        score, item = scores[position], items[position]
        hole = place
        while hole and precedes(score, item, scores[order[hole - 1]], items[order[hole - 1]]):
            order[hole] = order[hole - 1]
            hole -= 1
        order[hole] = position


@kernel
def _bucketed(order: Array, keys: Array, high: float, scale: float, spare: Array) -> Array:
    """Sort `order` by falling bucket of `keys`, stable; where each bucket ends."""
    ends = np.zeros(order.size + 1, np.int32)
    for place in range(order.size):
        ends[int((high - keys[place]) * scale) + 1] += 1
    for bucket in range(order.size):
        ends[bucket + 1] += ends[bucket]
    for place in range(order.size):
        bucket = int((high - keys[place]) * scale)
        spare[ends[bucket]] = order[place]
        ends[bucket] += 1
    order[:] = spare[: order.size]
    return ends[:-1]

"""The kernel that all fusions share: it merges ranked lists by item and selects the best k of each user."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multirecall.kernels import Array, kernel
from multirecall.rowtable import entry_of, position_in, slot_of, table_size
from multirecall.topk import precedes

from ._windows import Windows

FEW = 12
"""Up to this number of candidates are sorted by insertion, which is faster than buckets for few."""


class Merged(NamedTuple):
    """The arrays of a `FusedBatch`, allocated once and filled by one or more calls of `merge`.

    Attributes:
        offsets: CSR offsets, int64 (n_users + 1,), filled from the front.
        items: int32 (n,).
        scores: float64 (n,).
        ranks: int32 (n, n_paths).
    """

    offsets: NDArray[np.int64]
    items: NDArray[np.int32]
    scores: NDArray[np.float64]
    ranks: NDArray[np.int32]

    @classmethod
    def allocate(cls, n_users: int, n: int, n_paths: int) -> Merged:
        """Allocate arrays for lists with `n` entries in total."""
        return cls(
            np.zeros(n_users + 1, np.int64),
            np.empty(n, np.int32),
            np.empty(n, np.float64),
            np.empty((n, n_paths), np.int32),
        )

    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64], NDArray[np.int32]]:
        """The arrays of the `FusedBatch`, cut to their filled length; call it when all users are merged."""
        n = self.offsets[-1]
        return self.offsets, self.items[:n], self.scores[:n], self.ranks[:n]


def merge(
    windows: Windows, contributions: NDArray[np.float64], k: int, into: Merged, first: int = 0, base: float = 0.0
) -> None:
    """Sum contributions by item and append the best `k` items of each user to `into`, in place.

    Sums begin at `base` and run over the paths in path order. Ties follow the ordering rule. The rank of an item in
    every path is kept.

    Args:
        windows: the entries of all paths and users.
        contributions: the amount that each entry adds, float64 (n,), in the order of `windows.items`.
        k: the most items of a user.
        into: the arrays to fill.
        first: the position in `into` of the first user of `windows`; the users before it must be filled.
        base: what the score of every item has, whichever paths propose it.
    """
    offsets = into.offsets[first : first + windows.starts.shape[1] + 1]
    _merge(windows.items, windows.starts, windows.stops, contributions, base, k, offsets, *into[1:])


@kernel
def _merge(
    items: Array,
    starts: Array,
    stops: Array,
    contributions: Array,
    base: float,
    k: int,
    offsets: Array,
    out_items: Array,
    out_scores: Array,
    out_ranks: Array,
) -> None:
    n_paths, n_users = starts.shape
    capacity = 0
    for user in range(n_users):
        entries = 0
        for path in range(n_paths):
            entries += stops[path, user] - starts[path, user]
        capacity = max(capacity, entries)
    table = np.empty(table_size(capacity), np.int64)
    unique = np.empty(capacity + 1, np.int32)
    sums = np.empty(capacity + 1, np.float64)
    ranks = np.empty((capacity + 1, n_paths), np.int32)
    order, spare = np.empty(capacity + 1, np.int32), np.empty(capacity + 1, np.int32)
    keys = np.empty(capacity + 1, np.float64)

    filled = offsets[0]
    for user in range(n_users):
        n_unique = _group(items, starts[:, user], stops[:, user], contributions, base, table, unique, sums, ranks)
        n_finite = 0
        for position in range(n_unique):
            order[n_finite], keys[n_finite] = position, sums[position]
            n_finite += math.isfinite(sums[position])
        kept = min(n_finite, k)
        _bring_forward(order, keys, n_finite, kept, unique, spare)
        out_scores[filled : filled + kept] = keys[:kept]
        for position in order[:kept]:
            out_items[filled] = unique[position]
            for path in range(n_paths):
                out_ranks[filled, path] = ranks[position, path]
            filled += 1
        offsets[user + 1] = filled


@kernel
def _group(
    items: Array,
    starts: Array,
    stops: Array,
    contributions: Array,
    base: float,
    table: Array,
    unique: Array,
    sums: Array,
    ranks: Array,
) -> int:
    """Group the entries of one user by item: fill `unique`, `sums` and `ranks` in place.

    `table` is scratch memory for a `rowtable` with room for all entries. The code does not branch on whether an item is
    new, because the CPU could not predict the branch.

    Returns:
        The number of distinct items.
    """
    entries = 0
    for path in range(starts.size):
        entries += stops[path] - starts[path]
    table = table[: table_size(entries)]
    table[:] = -1
    sums[:entries] = base
    ranks[:entries] = -1
    n_unique = np.int64(0)
    for path in range(starts.size):
        window, adds = items[starts[path] : stops[path]], contributions[starts[path] : stops[path]]
        own = ranks[:, path]
        for rank in range(window.size):
            slot = slot_of(window[rank], table)
            held = table[slot]
            position = n_unique if held < 0 else position_in(held)
            n_unique += held < 0
            table[slot] = entry_of(window[rank], position)
            unique[position] = window[rank]
            if own[position] < 0:
                own[position] = rank
                sums[position] += adds[rank]
    return int(n_unique)


@kernel
def _bring_forward(order: Array, keys: Array, n: int, k: int, items: Array, spare: Array) -> None:
    """Sort the first `k` of the positions `order[:n]`, with scores `keys[:n]`, by the ordering rule, in place.

    A bucket sort: more than `FEW` positions are distributed over buckets of equal width between their best and worst
    key. The key is the score or, where all scores are equal, the item row. Large buckets that begin before place `k`
    are split again. Small buckets are sorted by insertion. The contents after place `k` are undefined.
    """
    buckets, spare_keys = np.empty(n, np.int32), np.empty(n, np.float64)
    pending = np.empty((n // FEW + 1, 2), np.int32)
    reach, depth = (0, 1) if n > FEW else (n, 0)
    pending[0, 0], pending[0, 1] = 0, n
    while depth:
        depth -= 1
        start, stop = pending[depth]
        low, high = _bounds(keys[start:stop])
        score = high
        by_row = low == high
        if by_row:
            for place in range(start, stop):
                keys[place] = -items[order[place]]
            low, high = _bounds(keys[start:stop])
        scale = (stop - start - 1) / (high - low)
        if not 0.0 < scale < math.inf:
            reach = max(reach, stop)
            continue
        ends = _scatter(order[start:stop], keys[start:stop], high, scale, k - start, buckets, spare, spare_keys)
        if by_row:
            keys[start:stop] = score
        begin = start
        for end in ends:
            if begin >= k:
                break
            if start + end - begin > FEW:
                pending[depth] = begin, start + end
                depth += 1
            else:
                reach = max(reach, start + end)
            begin = start + end
    for place in range(1, reach):
        position, score = order[place], keys[place]
        hole = place
        while hole and precedes(score, items[position], keys[hole - 1], items[order[hole - 1]]):
            order[hole], keys[hole] = order[hole - 1], keys[hole - 1]
            hole -= 1
        order[hole], keys[hole] = position, score


@kernel
def _bounds(keys: Array) -> tuple[float, float]:
    low = high = keys[0]
    for key in keys:
        low = key if key < low else low
        high = key if key > high else high
    return low, high


@kernel
def _scatter(
    order: Array, keys: Array, high: float, scale: float, k: int, buckets: Array, spare: Array, spare_keys: Array
) -> Array:
    """Distribute `order` and `keys` over buckets, highest keys first, in place; buckets after place `k` are dropped.

    Returns:
        The end of each bucket, int32.
    """
    n = order.size
    ends = np.zeros(n + 1, np.int32)
    for place in range(n):
        bucket = np.int32((high - keys[place]) * scale)
        buckets[place] = bucket
        ends[bucket] += 1
    filled, last = 0, 0
    while filled < k and last < n:
        count = ends[last]
        ends[last] = filled
        filled += count
        last += 1
    n_kept = 0
    for place in range(n):
        order[n_kept], keys[n_kept], buckets[n_kept] = order[place], keys[place], buckets[place]
        n_kept += buckets[place] < last
    for place in range(n_kept):
        bucket = buckets[place]
        spare[ends[bucket]], spare_keys[ends[bucket]] = order[place], keys[place]
        ends[bucket] += 1
    order[:filled], keys[:filled] = spare[:filled], spare_keys[:filled]
    return ends[:last]

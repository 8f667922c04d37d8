"""The grouping kernel that all fusions share: flat ranked lists in, deduplicated candidates out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multirecall.kernels import Array, kernel
from multirecall.lists import FusedBatch, RankedBatch
from multirecall.rowtable import new_table, slot_of
from multirecall.topk import top_k


class Windows(NamedTuple):
    """The windows of all paths and users, over joined flat arrays.

    Attributes:
        items: item rows, int32 (n,), one path behind the other.
        scores: float32 (n,).
        starts: int64 (n_paths, n_users), where the window of a path and user begins.
        stops: int64 (n_paths, n_users), where it ends.
    """

    items: NDArray[np.int32]
    scores: NDArray[np.float32]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]


def windows_of(batches: Sequence[RankedBatch], sizes: Sequence[int]) -> Windows:
    """Join one batch for each path; of each list the first `sizes[path]` entries count."""
    bounds = np.stack([batch.offsets for batch in batches])
    lengths = np.array([batch.items.size for batch in batches])
    bounds += (np.cumsum(lengths) - lengths)[:, None]
    starts = bounds[:, :-1]
    stops = starts + np.minimum(bounds[:, 1:] - starts, np.asarray(sizes)[:, None])
    return Windows(
        np.concatenate([batch.items for batch in batches]),
        np.concatenate([batch.scores for batch in batches]),
        starts,
        stops,
    )


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
    table = new_table(capacity)
    unique = np.empty(capacity, np.int32)
    sums = np.empty(capacity, np.float64)
    ranks = np.empty((capacity, n_paths), np.int32)

    offsets = np.zeros(n_users + 1, np.int64)
    out_items = np.empty(out_capacity, np.int32)
    out_scores = np.empty(out_capacity, np.float64)
    out_ranks = np.empty((out_capacity, n_paths), np.int32)
    filled = 0
    for user in range(n_users):
        table[:] = -1
        n_unique = 0
        for path in range(n_paths):
            start = starts[path, user]
            for entry in range(start, stops[path, user]):
                slot = slot_of(items[entry], table, unique)
                position = table[slot]
                if position < 0:
                    position = n_unique
                    n_unique += 1
                    table[slot] = position
                    unique[position] = items[entry]
                    sums[position] = 0.0
                    ranks[position, :] = -1
                if ranks[position, path] < 0:
                    ranks[position, path] = entry - start
                    sums[position] += contributions[entry]
        best, best_sums = top_k(unique[:n_unique], sums[:n_unique], k)
        for candidate in range(best.size):
            out_items[filled] = best[candidate]
            out_scores[filled] = best_sums[candidate]
            out_ranks[filled] = ranks[table[slot_of(best[candidate], table, unique)]]
            filled += 1
        offsets[user + 1] = filled
    return offsets, out_items[:filled], out_scores[:filled], out_ranks[:filled]

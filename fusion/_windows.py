"""Windows: the first entries of each path's list, which a fusion looks at, as flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multirecall.lists import RankedBatch, RankedList


class Windows(NamedTuple):
    """The windows of all paths and users, over flat arrays.

    Attributes:
        items: item rows, int32 (n,), path by path.
        scores: the scores of the entries, float32 (n,).
        starts: the begin of each window in the flat arrays, int64 (n_paths, n_users).
        stops: the end of each window, int64 (n_paths, n_users).
    """

    items: NDArray[np.int32]
    scores: NDArray[np.float32]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]


def windows_of(batches: Sequence[RankedBatch], sizes: Sequence[int]) -> Windows:
    """Concatenate one batch for each path; a window is the first `sizes[path]` entries of a list."""
    bounds = np.stack([batch.offsets for batch in batches])
    lengths = np.array([batch.items.size for batch in batches])
    bounds += (np.cumsum(lengths) - lengths)[:, None]
    starts = bounds[:, :-1].copy()  # laid out like those of one user, so that a kernel is compiled once for both
    stops = starts + np.minimum(bounds[:, 1:] - starts, np.asarray(sizes)[:, None])
    return Windows(
        np.concatenate([batch.items for batch in batches]),
        np.concatenate([batch.scores for batch in batches]),
        starts,
        stops,
    )


def windows_of_one(lists: Sequence[RankedList], sizes: Sequence[int]) -> Windows:
    """The windows of one user, from one list for each path; a window is its first `sizes[path]` entries."""
    starts, stops, end = [], [], 0
    for ranked, size in zip(lists, sizes, strict=True):
        n = ranked.items.size
        starts.append(end)
        stops.append(end + (n if n < size else size))
        end += n
    return Windows(
        np.concatenate([ranked.items for ranked in lists]),
        np.concatenate([ranked.scores for ranked in lists]),
        np.array(starts, np.int64).reshape(-1, 1),
        np.array(stops, np.int64).reshape(-1, 1),
    )

"""The parts of the paths' lists that count in a fusion, joined into flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multirecall.lists import RankedBatch, RankedList


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


def windows_of_one(lists: Sequence[RankedList], sizes: Sequence[int]) -> Windows:
    """The same for the lists of a single user."""
    starts, stops, end = [], [], 0
    for ranked, size in zip(lists, sizes, strict=True):
        n = ranked.items.size
        starts.append(end)
        stops.append(end + min(n, size))
        end += n
    bounds = np.array((starts, stops), np.int64)[:, :, None]
    return Windows(
        np.concatenate([ranked.items for ranked in lists]),
        np.concatenate([ranked.scores for ranked in lists]),
        bounds[0],
        bounds[1],
    )

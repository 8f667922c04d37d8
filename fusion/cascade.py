"""Cascade fusion: the paths fill the list one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from multirecall.kernels import Array, kernel
from multirecall.lists import FusedBatch, RankedBatch
from multirecall.protocols import Fusion, PluginConfig
from multirecall.validation import accept_former

from ._merge import Merged, merge
from ._windows import windows_of


class CascadeConfig(PluginConfig):
    """Settings of `cascade`."""

    on_duplicate: Annotated[Literal["replace", "skip"], accept_former({"refill": "replace"})] = "replace"
    """What a path does with items that an earlier path has placed. `replace`: it goes on down its list until it has
    placed `quota` items of its own. `skip`: it only considers its first `quota` items. Changes results."""


class Cascade(Fusion):
    """The items of the first path, then the new items of the second path, and so on, each in the path's own order.

    Each path places at most its quota. A path that has too few items does not pass its places on to other paths, so
    the list may hold fewer than `k` items; the engine's backfill then completes it. The score of the item at position
    `i` is `1 / (1 + i)`. Weights have no effect.
    """

    Config: ClassVar[type[PluginConfig]] = CascadeConfig
    config: CascadeConfig
    tried: ClassVar[tuple[Mapping[str, Any], ...]] = ({"on_duplicate": "skip"},)

    def windows(self, quotas: Sequence[int]) -> list[int]:
        """The window of each path: with `replace`, it has room for all items that earlier paths may have placed."""
        return list(quotas) if self.config.on_duplicate == "skip" else list(accumulate(quotas))

    def fuse_batch(
        self, batches: Sequence[RankedBatch], weights: Sequence[float], quotas: Sequence[int], k: int
    ) -> FusedBatch:
        """See `Fusion.fuse_batch`."""
        windows = windows_of(batches, self.windows(quotas))
        merged = Merged.allocate(len(batches[0]), windows.items.size, len(batches))
        merge(windows, np.zeros(windows.items.size), windows.items.size, merged)
        offsets, items, _, ranks = merged.arrays()
        placed_offsets, places, scores = _place(offsets, ranks, np.asarray(quotas, np.int64), k)
        return FusedBatch(placed_offsets, items[places], scores, ranks[places])


@kernel
def _place(offsets: Array, ranks: Array, quotas: Array, k: int) -> tuple[Array, Array, Array]:
    """Select the entries that the paths place, at most `k` for each user, path by path.

    Returns:
        CSR offsets of the users, int64 (n_users + 1,); the selected entries, int64; and their scores, float64.
    """
    placed_offsets = np.zeros(offsets.size, np.int64)
    places = np.empty(ranks.shape[0], np.int64)
    scores = np.empty(ranks.shape[0], np.float64)
    at_rank = np.empty(ranks.max() + 1 if ranks.size else 0, np.int64)
    filled = 0
    for user in range(offsets.size - 1):
        first = filled
        free = np.ones(offsets[user + 1] - offsets[user], np.bool_)
        for path in range(quotas.size):
            at_rank[:] = -1
            for entry in range(offsets[user], offsets[user + 1]):
                if ranks[entry, path] >= 0:
                    at_rank[ranks[entry, path]] = entry
            left = min(quotas[path], first + k - filled)
            for entry in at_rank:
                if left and entry >= 0 and free[entry - offsets[user]]:
                    free[entry - offsets[user]] = False
                    places[filled], scores[filled] = entry, 1.0 / (1 + filled - first)
                    filled += 1
                    left -= 1
        placed_offsets[user + 1] = filled
    return placed_offsets, places[:filled], scores[:filled]

"""Cascade: one path after the other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Annotated, ClassVar, Literal

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
    """What a path does about items that an earlier path has placed: `replace` goes on down its list until it
    has placed `quota` items of its own, `skip` looks at its first `quota` items only. Changes results."""


class Cascade(Fusion):
    """All that the first path places, then what the second adds, and so on, each in its own order.

    Each path places at most its quota. Shortfall rule: a path that runs out leaves its free places to nobody,
    so the list may hold fewer than `k`; the engine's fallback then follows. The score of the item at position
    `i` is `1 / (1 + i)`; weights play no part.
    """

    Config: ClassVar[type[PluginConfig]] = CascadeConfig
    config: CascadeConfig

    def windows(self, quotas: Sequence[int]) -> list[int]:
        """With `replace`, room for every item that earlier paths may have placed."""
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
    """Which grouped entries the paths place, in order, at most `k` for each user, and their scores."""
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

"""Cascade: one path after the other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from multirecall.lists import FusedBatch, FusedList, RankedBatch, offsets_of
from multirecall.protocols import Fusion, PluginConfig

from ._merge import merge
from ._windows import windows_of


class CascadeConfig(PluginConfig):
    """Settings of `cascade`."""

    on_duplicate: Literal["refill", "skip"] = "refill"
    """What a path does about items that an earlier path has placed: `refill` goes on down its list until it
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
        """With `refill`, room for every item that earlier paths may have placed."""
        return list(quotas) if self.config.on_duplicate == "skip" else list(accumulate(quotas))

    def fuse_batch(
        self, batches: Sequence[RankedBatch], weights: Sequence[float], quotas: Sequence[int], k: int
    ) -> FusedBatch:
        """See `Fusion.fuse_batch`."""
        windows = windows_of(batches, self.windows(quotas))
        grouped = merge(windows, np.zeros(windows.items.size), windows.items.size)
        fused: list[FusedList] = []
        for user in range(len(grouped)):
            group = grouped[user]
            order = _placed(group, quotas)[:k]
            fused.append(FusedList(group.items[order], 1.0 / np.arange(1.0, order.size + 1.0), group.ranks[order]))
        return FusedBatch(
            offsets_of([len(one) for one in fused]),
            np.concatenate([grouped.items[:0], *(one.items for one in fused)]),
            np.concatenate([grouped.scores[:0], *(one.scores for one in fused)]),
            np.concatenate([grouped.ranks[:0], *(one.ranks for one in fused)]),
        )


def _placed(group: FusedList, quotas: Sequence[int]) -> NDArray[np.int64]:
    """Positions in `group` of the items that the paths place, in order."""
    free = np.ones(len(group), np.bool_)
    placed = []
    for path, quota in enumerate(quotas):
        ranks = group.ranks[:, path]
        own = np.flatnonzero(free & (ranks >= 0))
        own = own[np.argsort(ranks[own])][:quota]
        free[own] = False
        placed.append(own)
    return np.concatenate(placed)

"""A fusion that another project would install, without terms that could be learned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from multirecall.lists import FusedBatch, FusedList, RankedBatch
from multirecall.protocols import Fusion


class Alternate(Fusion):
    """Takes the first item of each path, then the second of each, and so on."""

    def fuse_batch(
        self, batches: Sequence[RankedBatch], weights: Sequence[float], quotas: Sequence[int], k: int
    ) -> FusedBatch:
        """See `Fusion.fuse_batch`."""
        fused = [self._one([batch[user].items.tolist() for batch in batches], k) for user in range(len(batches[0]))]
        return FusedBatch.from_lists(fused)

    def _one(self, lists: list[list[int]], k: int) -> FusedList:
        places = [(rank, item) for ranked in lists for rank, item in enumerate(ranked)]
        best = {item: min(rank for rank, other in places if other == item) for _, item in places}
        items = sorted(best, key=lambda item: (best[item], item))[:k]
        ranks = [[ranked.index(item) if item in ranked else -1 for ranked in lists] for item in items]
        return FusedList(
            np.array(items, np.int32),
            -np.array([best[item] for item in items], np.float64),
            np.array(ranks, np.int32).reshape(len(items), len(lists)),
        )

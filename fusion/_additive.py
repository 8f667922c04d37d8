"""What fusions have in common whose score of an item is a sum over the paths that propose it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from multirecall.lists import FusedBatch, FusedList, RankedBatch, RankedList
from multirecall.protocols import Fusion

from ._merge import merge
from ._windows import Windows, windows_of, windows_of_one

FUSED_TOGETHER = 64
"""Users whose windows are joined at a time, few enough that the cache holds them."""


class AdditiveFusion(Fusion):
    """The score of an item is the sum of what each path that proposes it contributes."""

    @abstractmethod
    def contributions(self, windows: Windows, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """What each entry of the windows adds to its item's score, float64 (n,) beside `windows.items`."""

    def fuse(self, lists: Sequence[RankedList], weights: Sequence[float], quotas: Sequence[int], k: int) -> FusedList:
        """See `Fusion.fuse`."""
        _, items, scores, ranks = self._merged(windows_of_one(lists, quotas), weights, k)
        return FusedList(items, scores, ranks)

    def fuse_batch(
        self, batches: Sequence[RankedBatch], weights: Sequence[float], quotas: Sequence[int], k: int
    ) -> FusedBatch:
        """See `Fusion.fuse_batch`."""
        n_users = len(batches[0])
        fused = []
        for start in range(0, max(n_users, 1), FUSED_TOGETHER):
            part = [batch.part(start, min(start + FUSED_TOGETHER, n_users)) for batch in batches]
            fused.append(FusedBatch(*self._merged(windows_of(part, quotas), weights, k)))
        return fused[0] if len(fused) == 1 else FusedBatch.joined(fused)

    def _merged(
        self, windows: Windows, weights: Sequence[float], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64], NDArray[np.int32]]:
        return merge(windows, self.contributions(windows, np.asarray(weights, np.float64)), k)

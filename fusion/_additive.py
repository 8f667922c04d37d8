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
        return FusedBatch(*self._merged(windows_of(batches, quotas), weights, k))

    def _merged(
        self, windows: Windows, weights: Sequence[float], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64], NDArray[np.int32]]:
        return merge(windows, self.contributions(windows, np.asarray(weights, np.float64)), k)

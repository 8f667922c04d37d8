"""The base class of fusions that score an item by a sum over the paths that propose it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from multirecall.lists import FusedBatch, FusedList, RankedBatch, RankedList
from multirecall.protocols import Fusion, Term

from ._merge import Merged, merge
from ._windows import Windows, windows_of, windows_of_one

FUSED_TOGETHER = 16
"""Number of users fused at a time. Few keep the arrays in the CPU cache; many need fewer calls."""


class AdditiveFusion(Fusion):
    """The score of an item is the sum of what each path that proposes it contributes.

    The weight of a path is the coefficient of its only term; a fusion with other terms overrides what concerns them.
    """

    terms: ClassVar[tuple[Term, ...]] = (Term("weight"),)

    @abstractmethod
    def amounts(self, windows: Windows, weights: NDArray[np.float64], quotas: Sequence[int]) -> NDArray[np.float64]:
        """The amount that each entry of the windows adds to the score of its item, float64 (n,), as `windows.items`."""

    def contributions(
        self, batches: Sequence[RankedBatch], weights: Sequence[float], quotas: Sequence[int]
    ) -> list[NDArray[np.float64]]:
        """See `Fusion.contributions`."""
        amounts = self.amounts(windows_of(batches, quotas), np.asarray(weights, np.float64), quotas)
        return np.split(amounts, np.cumsum([batch.items.size for batch in batches])[:-1])

    def term_values(self, lists: RankedBatch, quota: int) -> NDArray[np.float32]:
        """See `Fusion.term_values`."""
        amounts = self.amounts(windows_of([lists], [quota]), np.ones(1), [quota])
        return amounts.astype(np.float32)[:, None]

    def with_coefficients(
        self, names: Sequence[str], coefficients: NDArray[np.float64], intercept: float
    ) -> tuple[dict[str, Any], list[float]]:
        """See `Fusion.with_coefficients`; there is no intercept."""
        return {}, coefficients[:, 0].tolist()

    def fuse(self, lists: Sequence[RankedList], weights: Sequence[float], quotas: Sequence[int], k: int) -> FusedList:
        """See `Fusion.fuse`."""
        windows = windows_of_one(lists, quotas)
        merged = Merged.allocate(1, min(windows.items.size, k), len(lists))
        amounts = self.amounts(windows, np.asarray(weights, np.float64), quotas)
        merge(windows, amounts, k, merged, base=self.intercept)
        _, items, scores, ranks = merged.arrays()
        return FusedList(items, scores, ranks)

    def fuse_batch(
        self, batches: Sequence[RankedBatch], weights: Sequence[float], quotas: Sequence[int], k: int
    ) -> FusedBatch:
        """See `Fusion.fuse_batch`."""
        n_users = len(batches[0])
        sizes = sum(np.diff(batch.offsets) for batch in batches)
        merged = Merged.allocate(n_users, int(np.minimum(sizes, k).sum()), len(batches))
        factors = np.asarray(weights, np.float64)
        for start in range(0, n_users, FUSED_TOGETHER):
            part = [batch.part(start, min(start + FUSED_TOGETHER, n_users)) for batch in batches]
            windows = windows_of(part, quotas)
            merge(windows, self.amounts(windows, factors, quotas), k, merged, start, self.intercept)
        return FusedBatch(*merged.arrays())

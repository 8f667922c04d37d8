"""Reciprocal rank fusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from multirecall.kernels import kernel
from multirecall.lists import RankedBatch
from multirecall.protocols import PluginConfig

from ._additive import AdditiveFusion
from ._windows import Windows


class RRFConfig(PluginConfig):
    """Settings of `rrf`."""

    rank_constant: float = Field(default=60.0, ge=0)
    """Added to each rank, ≥ 0; larger values flatten the differences between ranks. Changes results."""


class ReciprocalRankFusion(AdditiveFusion):
    """The score of an item is `Σ weight / (rank_constant + rank)` over the paths that propose it, rank from 1.

    Cormack, Clarke, Büttcher (SIGIR 2009), "Reciprocal Rank Fusion outperforms Condorcet and individual Rank
    Learning Methods", equation 1, with a weight for each path.
    """

    Config: ClassVar[type[PluginConfig]] = RRFConfig
    config: RRFConfig
    tried: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"rank_constant": 10.0})

    def amounts(self, windows: Windows, weights: NDArray[np.float64], quotas: Sequence[int]) -> NDArray[np.float64]:
        """See `AdditiveFusion.amounts`."""
        return _amounts(windows.items.size, windows.starts, windows.stops, weights, self.config.rank_constant)

    def term_values(self, lists: RankedBatch, quota: int) -> NDArray[np.float32]:
        """See `Fusion.term_values`; scaled so that the first item has 1, which changes no order."""
        return super().term_values(lists, quota) * np.float32(self.config.rank_constant + 1.0)


@kernel
def reciprocal_rank(weight: float, rank: float, rank_constant: float) -> float:
    """The amount that a path with `weight` adds for an item at `rank`, counted from 1."""
    return weight / (rank_constant + rank)


@kernel
def _amounts(
    n: int,
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    weights: NDArray[np.float64],
    rank_constant: float,
) -> NDArray[np.float64]:
    amounts = np.zeros(n)
    by_rank = np.empty(n)
    for path in range(starts.shape[0]):
        n_ranks = 0
        for user in range(starts.shape[1]):
            start, stop = starts[path, user], stops[path, user]
            for rank in range(n_ranks, stop - start):
                by_rank[rank] = reciprocal_rank(weights[path], rank + 1, rank_constant)
            n_ranks = max(n_ranks, stop - start)
            amounts[start:stop] = by_rank[: stop - start]
    return amounts

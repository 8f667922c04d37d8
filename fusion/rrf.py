"""Reciprocal rank fusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from multirecall.kernels import kernel
from multirecall.lists import FusedBatch, RankedBatch
from multirecall.protocols import Fusion, PluginConfig

from ._merge import merge
from ._windows import windows_of


class RRFConfig(PluginConfig):
    """Settings of `rrf`."""

    rank_constant: float = Field(default=60.0, ge=0)
    """Added to each rank, ≥ 0; larger values flatten the differences between ranks. Changes results."""


class ReciprocalRankFusion(Fusion):
    """The score of an item is `Σ weight / (rank_constant + rank)` over the paths that propose it, rank from 1.

    Cormack, Clarke, Büttcher (SIGIR 2009), "Reciprocal Rank Fusion outperforms Condorcet and individual Rank
    Learning Methods", equation 1, with a weight for each path.
    """

    Config: ClassVar[type[PluginConfig]] = RRFConfig
    config: RRFConfig

    def fuse_batch(
        self, batches: Sequence[RankedBatch], weights: Sequence[float], quotas: Sequence[int], k: int
    ) -> FusedBatch:
        """See `Fusion.fuse_batch`."""
        windows = windows_of(batches, quotas)
        contributions = _contributions(
            windows.items.size,
            windows.starts,
            windows.stops,
            np.asarray(weights, np.float64),
            self.config.rank_constant,
        )
        return merge(windows, contributions, k)


@kernel
def reciprocal_rank(weight: float, rank: float, rank_constant: float) -> float:
    """What a path with `weight` adds for an item at `rank`, counted from 1."""
    return weight / (rank_constant + rank)


@kernel
def _contributions(
    n: int,
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    weights: NDArray[np.float64],
    rank_constant: float,
) -> NDArray[np.float64]:
    contributions = np.zeros(n)
    for path in range(starts.shape[0]):
        for user in range(starts.shape[1]):
            start = starts[path, user]
            for entry in range(start, stops[path, user]):
                contributions[entry] = reciprocal_rank(weights[path], entry - start + 1, rank_constant)
    return contributions

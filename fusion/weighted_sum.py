"""Weighted sum of normalised scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from multirecall.kernels import kernel
from multirecall.lists import FusedBatch, RankedBatch
from multirecall.protocols import Fusion, PluginConfig

from ._merge import merge
from ._windows import windows_of

Normaliser = Literal["min_max", "sum", "rank", "z_score", "dbsf", "none"]
MIN_MAX, SUM, RANK, Z_SCORE, DBSF, NONE = range(6)
CODES = dict(zip(get_args(Normaliser), range(6), strict=True))


class WeightedSumConfig(PluginConfig):
    """Settings of `weighted_sum`."""

    normaliser: Normaliser = "min_max"
    """What makes the scores of different paths comparable (see `WeightedSum`). Changes results."""


class WeightedSum(Fusion):
    """The score of an item is `Σ weight · normalised score` over the paths that propose it.

    Normalisers, over the `n` entries of one path's window, with best `max`, worst `min`, mean `μ`, population
    standard deviation `σ`, and rank `r` from 1:

    - `min_max`: `(s - min) / (max - min)`; all equal: 1.
    - `sum`: `(s - min) / Σ (s - min)`; all equal: `1 / n`.
    - `rank`: `1 - (r - 1) / n`.
    - `z_score`: `(s - μ) / σ`, shifted so that the lowest is 0; `σ = 0`: 0.
    - `dbsf`: `(s - (μ - 3σ)) / 6σ`, clipped to [0, 1] (distribution-based score fusion); `σ = 0`: .5.
    - `none`: `s`.
    """

    Config: ClassVar[type[PluginConfig]] = WeightedSumConfig
    config: WeightedSumConfig

    def fuse_batch(
        self, batches: Sequence[RankedBatch], weights: Sequence[float], quotas: Sequence[int], k: int
    ) -> FusedBatch:
        """See `Fusion.fuse_batch`."""
        windows = windows_of(batches, quotas)
        contributions = _contributions(
            windows.scores,
            windows.starts,
            windows.stops,
            np.asarray(weights, np.float64),
            CODES[self.config.normaliser],
        )
        return merge(windows, contributions, k)


@kernel
def _normalise(scores: NDArray[np.float32], method: int, out: NDArray[np.float64]) -> None:
    """Normalise one window, best first, into `out`; both (n,), n ≥ 1."""
    n = scores.size
    values = scores.astype(np.float64)
    low, high = values.min(), values.max()
    if method == RANK:
        out[:] = 1.0 - np.arange(n) / n
    elif method == NONE:
        out[:] = values
    elif low == high:
        out[:] = (1.0, 1.0 / n, 1.0, 0.0, 0.5)[method]
    elif method == MIN_MAX:
        out[:] = (values - low) / (high - low)
    elif method == SUM:
        out[:] = (values - low) / (values - low).sum()
    elif method == Z_SCORE:
        out[:] = (values - low) / values.std()
    else:
        deviation = values.std()
        shares = (values - values.mean() + 3.0 * deviation) / (6.0 * deviation)
        out[:] = np.minimum(np.maximum(shares, 0.0), 1.0)


@kernel
def _contributions(
    scores: NDArray[np.float32],
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    weights: NDArray[np.float64],
    method: int,
) -> NDArray[np.float64]:
    contributions = np.zeros(scores.size)
    for path in range(starts.shape[0]):
        for user in range(starts.shape[1]):
            start, stop = starts[path, user], stops[path, user]
            if start < stop:
                _normalise(scores[start:stop], method, contributions[start:stop])
                contributions[start:stop] *= weights[path]
    return contributions

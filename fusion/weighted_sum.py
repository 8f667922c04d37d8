"""Weighted sum of normalised scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from multirecall.kernels import kernel
from multirecall.protocols import PluginConfig

from ._additive import AdditiveFusion
from ._windows import Windows

Normaliser = Literal["min_max", "sum", "rank", "z_score", "dbsf", "none"]
MIN_MAX, SUM, RANK, Z_SCORE, DBSF, NONE = range(6)
CODES = dict(zip(get_args(Normaliser), range(6), strict=True))


class WeightedSumConfig(PluginConfig):
    """Settings of `weighted_sum`."""

    normaliser: Normaliser = "min_max"
    """The normaliser, which makes the scores of different paths comparable (see `WeightedSum`). Changes results."""


class WeightedSum(AdditiveFusion):
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
    tried: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"normaliser": "z_score"})

    def amounts(self, windows: Windows, weights: NDArray[np.float64], quotas: Sequence[int]) -> NDArray[np.float64]:
        """See `AdditiveFusion.amounts`."""
        return _amounts(windows.scores, windows.starts, windows.stops, weights, CODES[self.config.normaliser])


@kernel
def _amounts(
    scores: NDArray[np.float32],
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    weights: NDArray[np.float64],
    method: int,
) -> NDArray[np.float64]:
    amounts = np.zeros(scores.size)
    for path in range(starts.shape[0]):
        for user in range(starts.shape[1]):
            start, stop = starts[path, user], stops[path, user]
            if start < stop:
                _normalise(scores[start:stop].astype(np.float64), weights[path], method, amounts[start:stop])
    return amounts


@kernel
def _normalise(scores: NDArray[np.float64], weight: float, method: int, out: NDArray[np.float64]) -> None:
    """Write `weight` times the normalised scores of one window, best first, into `out`; both (n,), n ≥ 1."""
    n = scores.size
    low, high = scores[-1], scores[0]
    if method == RANK:
        for position in range(n):
            out[position] = weight * (1.0 - position / n)
    elif method == NONE:
        for position in range(n):
            out[position] = weight * scores[position]
    elif low == high:
        out[:] = weight * (1.0, 1.0 / n, 1.0, 0.0, 0.5)[method]
    elif method == DBSF:
        deviation = scores.std()
        origin, width = scores.mean() - 3.0 * deviation, 6.0 * deviation
        for position in range(n):
            out[position] = weight * min(max((scores[position] - origin) / width, 0.0), 1.0)
    else:
        width = high - low if method == MIN_MAX else (scores - low).sum() if method == SUM else scores.std()
        for position in range(n):
            out[position] = weight * ((scores[position] - low) / width)

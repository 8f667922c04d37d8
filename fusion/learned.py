"""A sum of terms of rank and score, with coefficients for each path."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from math import inf
from typing import Annotated, Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from multirecall.errors import ConfigError
from multirecall.kernels import kernel
from multirecall.lists import RankedBatch
from multirecall.protocols import PluginConfig, Term
from multirecall.validation import NonNegative, StrictModel, nearest

from ._additive import AdditiveFusion
from ._windows import Windows, windows_of

FLAT_UP_TO = 10.0
"""The rank at which the reciprocal term has fallen to a half."""

Number = Annotated[float, Field(strict=True)]


class PathCoefficients(StrictModel):
    """The coefficients of one path."""

    presence: Number = 0.0
    """Added for every item that the path proposes; may be negative. Changes results."""

    log_rank: NonNegative = 0.0
    """Coefficient of `-log((rank + 1) / window)`, ≥ 0. Changes results."""

    min_max: NonNegative = 0.0
    """Coefficient of the score, scaled to [0, 1] over the path's window, ≥ 0. Changes results."""

    reciprocal_rank: NonNegative = 0.0
    """Coefficient of `10 / (10 + rank)`, ≥ 0. Changes results."""

    z_score: NonNegative = 0.0
    """Coefficient of the score above the lowest in the path's window, in its standard deviations, ≥ 0. Changes
    results."""


EQUAL = PathCoefficients(min_max=1.0)
"""The coefficients of every path where none are given."""


class LearnedConfig(PluginConfig):
    """Settings of `learned`."""

    intercept: Number = 0.0
    """Added to every score; makes it the log odds that the item is chosen. Changes scores, but not their order."""

    paths: dict[str, PathCoefficients] = Field(default_factory=dict)
    """The coefficients by path. A path that is not named adds nothing; without any, every path has `min_max = 1`.
    Changes results."""


class Learned(AdditiveFusion):
    """The score of an item is `intercept + Σ weight · contribution` over the paths that propose it.

    A path that proposes the item at rank `r`, from 0, with score `s` contributes

        presence + log_rank · -log((r + 1) / window) + min_max · (s - min) / (max - min)
        + reciprocal_rank · 10 / (10 + r) + z_score · (s - min) / σ

    where `window` is the path's quota, `max` and `min` are the best and the worst score in the window, and `σ` is their
    standard deviation; all equal: the term of `min_max` is 1, that of `z_score` 0. No path contributes less to an item
    that it ranks higher.
    """

    Config: ClassVar[type[PluginConfig]] = LearnedConfig
    config: LearnedConfig
    terms: ClassVar[tuple[Term, ...]] = (
        Term("presence", prior=0.0, lowest=-inf),
        Term("log_rank", prior=0.0),
        Term("min_max"),
        Term("reciprocal_rank", prior=0.0),
        Term("z_score", prior=0.25),
    )

    def __init__(self, config: Any) -> None:
        """Take an instance of `Config`; until `for_paths`, the coefficients belong to the paths in their order."""
        super().__init__(config)
        self._names: tuple[str, ...] | None = None
        self._curves: Curves | None = None

    def for_paths(self, names: Sequence[str]) -> Self:
        """See `Fusion.for_paths`.

        Raises:
            ConfigError: a name in the settings is none of the first `names`, or none of them is among the last.
        """
        named = self.config.paths
        if self._names is None and (unknown := [name for name in named if name not in names]):
            raise ConfigError(f"paths.{unknown[0]}: no path has this name; {nearest(unknown[0], names)}")
        if named and not any(name in named for name in names):
            raise ConfigError(f"paths: no coefficients for any of {', '.join(names)}; add paths.{names[0]}")
        bound = copy(self)
        bound._names, bound._curves = tuple(names), None
        return bound

    @property
    def intercept(self) -> float:
        """See `Fusion.intercept`."""
        return self.config.intercept

    def term_values(self, lists: RankedBatch, quota: int) -> NDArray[np.float32]:
        """See `Fusion.term_values`."""
        windows = windows_of([lists], [quota])
        columns = []
        for term in self.terms:
            curves = Curves.of([PathCoefficients.model_validate({term.name: 1.0})], [quota])
            columns.append(curves.amounts(windows, np.ones(1)).astype(np.float32))
        return np.stack(columns, axis=1)

    def with_coefficients(
        self, names: Sequence[str], coefficients: NDArray[np.float64], intercept: float
    ) -> tuple[dict[str, Any], list[float]]:
        """See `Fusion.with_coefficients`; every weight is 1, and a path whose coefficients are all 0 is not named."""
        terms = [term.name for term in self.terms]
        paths = {
            name: {term: value for term, value in zip(terms, row, strict=True) if value}
            for name, row in zip(names, coefficients.tolist(), strict=True)
            if any(row)
        }
        return {"intercept": intercept, "paths": paths}, [1.0] * len(names)

    def amounts(self, windows: Windows, weights: NDArray[np.float64], quotas: Sequence[int]) -> NDArray[np.float64]:
        """See `AdditiveFusion.amounts`."""
        curves = self._curves
        if curves is None or curves.quotas != quotas:
            self._curves = curves = Curves.of(self._coefficients(len(quotas)), list(quotas))
        return curves.amounts(windows, weights)

    def _coefficients(self, n_paths: int) -> list[PathCoefficients]:
        named = self.config.paths
        if not named:
            return [EQUAL] * n_paths
        names = tuple(named) if self._names is None else self._names
        silent = PathCoefficients()
        return [named.get(name, silent) for name in names[:n_paths]] + [silent] * (n_paths - len(names))


class Curves(NamedTuple):
    """What paths contribute by rank, computed once for all requests.

    Attributes:
        quotas: the quota of each path.
        by_rank: all terms but those of the score, float64 (n_paths, largest quota).
        of_score: the coefficients of the two terms of the score, `min_max` and `z_score`, float64 (n_paths, 2).
    """

    quotas: list[int]
    by_rank: NDArray[np.float64]
    of_score: NDArray[np.float64]

    def amounts(self, windows: Windows, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `AdditiveFusion.amounts`."""
        return _amounts(windows.scores, windows.starts, windows.stops, weights, self.by_rank, self.of_score)

    @classmethod
    def of(cls, coefficients: Sequence[PathCoefficients], quotas: list[int]) -> Curves:
        """The curves of paths with these coefficients."""
        ranks = np.arange(max(quotas, default=0))
        by_rank = [
            one.presence
            + one.log_rank * -np.log((ranks + 1) / quota)
            + one.reciprocal_rank * FLAT_UP_TO / (FLAT_UP_TO + ranks)
            for one, quota in zip(coefficients, quotas, strict=True)
        ]
        of_score = [[one.min_max, one.z_score] for one in coefficients]
        return cls(quotas, np.array(by_rank), np.array(of_score, np.float64).reshape(-1, 2))


@kernel
def _amounts(
    scores: NDArray[np.float32],
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    weights: NDArray[np.float64],
    by_rank: NDArray[np.float64],
    of_score: NDArray[np.float64],
) -> NDArray[np.float64]:
    amounts = np.zeros(scores.size)
    for path in range(starts.shape[0]):
        weight, curve, by_range, by_deviation = weights[path], by_rank[path], of_score[path, 0], of_score[path, 1]
        for user in range(starts.shape[1]):
            start, stop = starts[path, user], stops[path, user]
            if start == stop:
                continue
            own, out = scores[start:stop], amounts[start:stop]
            low, width = np.float64(own[-1]), np.float64(own[0]) - np.float64(own[-1])
            if width <= 0.0:
                for rank in range(stop - start):
                    out[rank] = weight * (curve[rank] + by_range)
                continue
            slope = by_range / width
            if by_deviation > 0.0:
                slope += by_deviation / _deviation(own, low)
            for rank in range(stop - start):
                out[rank] = weight * (curve[rank] + slope * (own[rank] - low))
    return amounts


@kernel
def _deviation(scores: NDArray[np.float32], low: float) -> float:
    """The standard deviation of scores (n,) that fall from the first to `low`, the last.

    Rounding cannot make it smaller than that of two extreme scores among equal ones.
    """
    total = squares = 0.0
    for score in scores:
        above = score - low
        total += above
        squares += above * above
    mean = total / scores.size
    width = scores[0] - low
    return float(np.sqrt(max(squares / scores.size - mean * mean, width * width / (2.0 * scores.size))))

"""Bootstrap confidence intervals over users (Efron & Tibshirani 1993, chapter 13: the percentile interval)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multirecall.learning.products import product

RESAMPLES = 1_000
"""Number of bootstrap resamples; more make the bounds steadier and take longer."""

LEVEL = 0.95
"""Confidence level of an interval."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over users and its confidence interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.4f} [{self.low:.4f}, {self.high:.4f}]"


def intervals(
    values: NDArray[np.float64], resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> NDArray[np.float64]:
    """The lower and upper bound of the mean of each column, float64 (2, n_columns); NaN values are left out.

    Args:
        values: one row for each user, (n_users, n_columns). All columns see the same resamples.
        resamples: the number of resamples; more make the bounds steadier.
        level: the confidence level: the share of the resampled means between the bounds.
        seed: the seed of the resampling.
    """
    rng = np.random.default_rng(seed)
    n_users = values.shape[0]
    absent = np.isnan(values)
    present = None if not absent.any() else 1.0 - absent
    filled = np.where(absent, 0.0, values)
    means = np.empty((resamples, values.shape[1]))
    for number in range(resamples):
        counts = np.bincount(rng.integers(0, n_users, n_users), minlength=n_users).astype(np.float64)
        sizes = n_users if present is None else np.maximum(product(counts, present), 1.0)
        means[number] = product(counts, filled) / sizes
    return np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)


def interval(values: NDArray[np.float64], resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0) -> Interval:
    """The mean of `values` (n_users,) with its bounds; for differences by user, it is the interval of a paired gain."""
    low, high = intervals(values[:, None], resamples, level, seed)[:, 0]
    return Interval(float(values.mean()), float(low), float(high))

"""Counts that decay exponentially with time without underflow: each is stored as of the time of its newest event."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LOWEST = -100.0
"""Base-2 logarithm of a count below which scores keep only the order of counts. Between it and the smallest normal
float32 there is room for 200 million distinct counts."""

LOWEST_BITS = np.float32(2.0**LOWEST).view(np.int32)
TINY = np.finfo(np.float32).tiny
"""The score of an item whose events all weigh 0: above items without events, below all others."""


@dataclass(frozen=True, slots=True)
class FadingCounts:
    """The decayed sum of weights `Σ w · 2^(-rate · age)` of each key.

    Attributes:
        keys: int64 (n,), ascending.
        sums: float64 (n,), the sum of each key as of its `newest`.
        newest: float64 (n,), epoch seconds of the newest event with a weight above 0; -inf where there is none.
        rate: halvings per second, ≥ 0.
    """

    keys: NDArray[np.int64]
    sums: NDArray[np.float64]
    newest: NDArray[np.float64]
    rate: float

    @classmethod
    def of(
        cls, keys: NDArray[np.integer], weights: NDArray[np.floating], times: NDArray[np.integer], rate: float
    ) -> FadingCounts:
        """Count events, given by keys, weights ≥ 0 and times in epoch seconds, (n_events,), in any order."""
        return _sum_by_key(
            keys.astype(np.int64), weights.astype(np.float64), np.where(weights > 0, times, -np.inf), rate
        )

    def merge(self, other: FadingCounts) -> FadingCounts:
        """The counts of both together; `other` has the same rate.

        Nothing is sorted: the cost is a copy of the keys and a binary search for each key of `other`.
        """
        merged, places = self._with_keys(other.keys)
        sums, newest = merged.sums, merged.newest
        latest = np.maximum(newest[places], other.newest)
        sums[places] = self._decay(sums[places], latest, newest[places]) + self._decay(other.sums, latest, other.newest)
        newest[places] = latest
        return merged

    def with_counts(self, other: FadingCounts) -> FadingCounts:
        """A copy in which the keys of `other`, which has the same rate, have its counts instead."""
        merged, places = self._with_keys(other.keys)
        merged.sums[places], merged.newest[places] = other.sums, other.newest
        return merged

    def among(self, keys: NDArray[np.int64]) -> FadingCounts:
        """The counts of those of `keys`, int64 (n,) ascending, that have one."""
        places = self.keys.searchsorted(keys)
        keys, places = keys[places < self.keys.size], places[places < self.keys.size]
        places = places[self.keys[places] == keys]
        return FadingCounts(self.keys[places], self.sums[places], self.newest[places], self.rate)

    def _with_keys(self, keys: NDArray[np.int64]) -> tuple[FadingCounts, NDArray[np.int64]]:
        """A copy that also has `keys`, int64 (n,) ascending, with counts of 0 where they are new, and their places."""
        places = self.keys.searchsorted(keys)
        known = places < self.keys.size
        known[known] = self.keys[places[known]] == keys[known]
        new = ~known
        at = places[new]
        sums, newest = np.insert(self.sums, at, 0.0), np.insert(self.newest, at, -np.inf)
        merged = FadingCounts(np.insert(self.keys, at, keys[new]), sums, newest, self.rate)
        return merged, places + np.cumsum(new) - new

    def _decay(
        self, sums: NDArray[np.float64], latest: NDArray[np.float64], newest: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Decay sums from the times `newest` to the times `latest`, which are no earlier; -inf where the sum is 0."""
        ages = np.subtract(latest, newest, out=np.zeros(sums.size), where=sums > 0)
        aged: NDArray[np.float64] = sums * np.exp2(-self.rate * ages)
        return aged

    def exponents(self, now: float) -> NDArray[np.float64]:
        """The base-2 logarithm of each count as of `now`, float64 (n,); -inf where the count is 0."""
        exponents = np.full(self.sums.size, -np.inf)
        some = self.sums > 0
        exponents[some] = np.log2(self.sums[some]) - self.rate * (now - self.newest[some])
        return exponents


def _sum_by_key(
    keys: NDArray[np.int64], sums: NDArray[np.float64], newest: NDArray[np.float64], rate: float
) -> FadingCounts:
    distinct, places = np.unique(keys, return_inverse=True)
    latest = np.full(distinct.size, -np.inf)
    np.maximum.at(latest, places, newest)
    ages = np.zeros(keys.size)
    np.subtract(latest[places], newest, out=ages, where=sums > 0)
    totals = np.bincount(places, sums * np.exp2(-rate * ages), distinct.size).astype(np.float64)
    return FadingCounts(distinct, totals, latest, rate)


def total(exponents: NDArray[np.float64]) -> float:
    """The base-2 logarithm of the sum of counts, which are given by base-2 logarithms; -inf if the sum is 0."""
    most = exponents.max(initial=-np.inf)
    return float(most + np.log2(np.exp2(exponents - most).sum())) if most > -np.inf else float(most)


def scores_of(exponents: NDArray[np.float64]) -> NDArray[np.float32]:
    """Scores of counts that are given by base-2 logarithms, float32 (n,), > 0.

    A count of at least `2**LOWEST` is its own score. Scores of smaller counts only keep their order.
    """
    scores = np.exp2(np.minimum(exponents, 127.0)).astype(np.float32)
    low = exponents < LOWEST
    if low.any():
        falling = np.unique(-exponents[low], return_inverse=True)[1] + 1
        scores[low] = (LOWEST_BITS - falling).astype(np.int32).view(np.float32)
        scores[exponents == -np.inf] = TINY
    return scores

"""Counts that fade with time and never vanish: each is kept as of its own newest event, beside that event's time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LOWEST = -100.0
"""Binary logarithm below which a score tells the order only: from here down to the least normal float32 there is room
for 200 million different counts."""

LOWEST_BITS = np.float32(2.0**LOWEST).view(np.int32)
TINY = np.finfo(np.float32).tiny
"""The score of what was chosen but weighs nothing: before what was never chosen, and behind all else."""


@dataclass(frozen=True, slots=True)
class FadingCounts:
    """Sums of weights `Σ w · 2^(-rate · age)` by key.

    Attributes:
        keys: int64 (n,), ascending.
        sums: float64 (n,), as of `newest`.
        newest: float64 (n,), epoch seconds of the newest event that weighs more than 0; -inf where none does.
        rate: halvings a second, ≥ 0.
    """

    keys: NDArray[np.int64]
    sums: NDArray[np.float64]
    newest: NDArray[np.float64]
    rate: float

    @classmethod
    def of(
        cls, keys: NDArray[np.integer], weights: NDArray[np.floating], times: NDArray[np.integer], rate: float
    ) -> FadingCounts:
        """Of events with these keys, weights ≥ 0 and times, in any order; all arrays (n_events,)."""
        return _summed(keys.astype(np.int64), weights.astype(np.float64), np.where(weights > 0, times, -np.inf), rate)

    def joined(self, other: FadingCounts) -> FadingCounts:
        """Both together; they fade alike. No sort: O(keys) copying, and a search for each key of `other`."""
        places = self.keys.searchsorted(other.keys)
        new = np.append(self.keys, -1)[places] != other.keys
        keys = np.insert(self.keys, places[new], other.keys[new])
        sums = np.insert(self.sums, places[new], 0.0)
        newest = np.insert(self.newest, places[new], -np.inf)
        places = keys.searchsorted(other.keys)
        latest = np.maximum(newest[places], other.newest)
        sums[places] = self._aged(sums[places], latest, newest[places]) + self._aged(other.sums, latest, other.newest)
        newest[places] = latest
        return FadingCounts(keys, sums, newest, self.rate)

    def _aged(
        self, sums: NDArray[np.float64], latest: NDArray[np.float64], newest: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Sums as of `newest` as of `latest`, which is no earlier; both are -inf where nothing weighs anything."""
        ages = np.subtract(latest, newest, out=np.zeros(sums.size), where=sums > 0)
        aged: NDArray[np.float64] = sums * np.exp2(-self.rate * ages)
        return aged

    def exponents(self, now: float) -> NDArray[np.float64]:
        """The binary logarithm of each count as of `now`, float64 (n,); -inf of nothing."""
        exponents = np.full(self.sums.size, -np.inf)
        some = self.sums > 0
        exponents[some] = np.log2(self.sums[some]) - self.rate * (now - self.newest[some])
        return exponents


def _summed(
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
    """The binary logarithm of the sum of counts that are given as such; -inf of nothing."""
    most = exponents.max(initial=-np.inf)
    return float(most + np.log2(np.exp2(exponents - most).sum())) if most > -np.inf else float(most)


def scores_of(exponents: NDArray[np.float64]) -> NDArray[np.float32]:
    """Counts, given as binary logarithms, as float32 > 0: themselves from 2**LOWEST on, below it in their order."""
    scores = np.exp2(np.minimum(exponents, 127.0)).astype(np.float32)
    low = exponents < LOWEST
    if low.any():
        falling = np.unique(-exponents[low], return_inverse=True)[1] + 1
        scores[low] = (LOWEST_BITS - falling).astype(np.int32).view(np.float32)
        scores[exponents == -np.inf] = TINY
    return scores

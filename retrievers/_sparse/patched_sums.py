"""Sums that take gains without being copied."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

import numpy as np
from numpy.typing import NDArray

LEAST = 64
"""The number of changed rows below which the sums are never written anew."""


@dataclass(frozen=True, slots=True, eq=False)
class PatchedSums:
    """A base, and the sums of the rows that have changed since it was made; these are few, so that a change is cheap.

    Attributes:
        base: float64 (n_base,).
        rows: int64 (m,), ascending, the rows that have changed or joined.
        sums: float64 (m,), their sums.
        size: the number of rows; one that has joined without a gain has a sum of 0.
    """

    base: NDArray[np.float64]
    rows: NDArray[np.int64]
    sums: NDArray[np.float64]
    size: int

    @classmethod
    def of(cls, sums: NDArray[np.float64]) -> PatchedSums:
        """These sums."""
        return cls(sums, np.empty(0, np.int64), np.empty(0), sums.size)

    def at(self, rows: NDArray[np.integer]) -> NDArray[np.float64]:
        """The sums of `rows`, float64 (n,)."""
        found = np.zeros(rows.size)
        known = rows < self.base.size
        found[known] = self.base[rows[known]]
        places = self.rows.searchsorted(rows)
        inside = places < self.rows.size
        changed = inside.copy()
        changed[inside] = self.rows[places[inside]] == rows[inside]
        found[changed] = self.sums[places[changed]]
        return found

    def with_gains(self, rows: NDArray[np.integer], gains: NDArray[np.float64], size: int) -> PatchedSums:
        """A copy of `size` rows in which each of `gains`, float64 (n,), is added to its row, in their order."""
        touched, places = np.unique(rows, return_inverse=True)
        sums = self.at(touched)
        np.add.at(sums, places, gains)
        kept = ~np.isin(self.rows, touched, assume_unique=True)
        every = np.concatenate([self.rows[kept], touched.astype(np.int64)])
        order = np.argsort(every)
        patched = PatchedSums(self.base, every[order], np.concatenate([self.sums[kept], sums])[order], size)
        return patched if every.size <= max(LEAST, isqrt(size)) else PatchedSums.of(patched.whole())

    def whole(self) -> NDArray[np.float64]:
        """All sums, float64 (size,)."""
        whole = np.zeros(self.size)
        whole[: self.base.size] = self.base
        whole[self.rows] = self.sums
        return whole

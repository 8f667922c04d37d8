"""Weighted bags of tokens, the input of a tower."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multirecall.csr import offsets_of, take_runs


@dataclass(frozen=True, slots=True)
class Bags:
    """A bag of weighted tokens for each of n rows, as CSR.

    Attributes:
        offsets: int64 (n + 1,).
        tokens: int32 (nnz,).
        weights: float32 (nnz,).
    """

    offsets: NDArray[np.int64]
    tokens: NDArray[np.int32]
    weights: NDArray[np.float32]

    def __len__(self) -> int:
        return self.offsets.size - 1

    @classmethod
    def concat(cls, parts: list[Bags], n: int) -> Bags:
        """One bag for each of `n` rows: the row's bags in all `parts`, one after another."""
        lengths = sum((np.diff(part.offsets) for part in parts), np.zeros(n, np.int64))
        offsets = offsets_of(lengths)
        tokens, weights = np.empty(offsets[-1], np.int32), np.empty(offsets[-1], np.float32)
        begins = offsets[:-1].copy()
        for part in parts:
            own = np.diff(part.offsets)
            places = np.arange(part.tokens.size) + np.repeat(begins - part.offsets[:-1], own)
            tokens[places], weights[places] = part.tokens, part.weights
            begins += own
        return cls(offsets, tokens, weights)

    def take(self, rows: NDArray[np.integer]) -> Bags:
        """The bags of the given rows, in that order; row -1 gives an empty bag."""
        offsets, places = take_runs(self.offsets, rows)
        return Bags(offsets, self.tokens[places], self.weights[places])

"""The index that chooses: exact for few vectors, an inverted file for many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multirecall.lists import RankedBatch, RankedList
from multirecall.progress import Progress
from multirecall.topk import ALL_ALLOWED, NO_ROWS

from .base import Filter, IndexConfig, VectorIndex
from .exact import ExactIndex
from .ivf import IvfIndex
from .vectors import Vectors

EXACT_UP_TO = 20_000
"""Vectors up to which all of them are scored, which takes about as long as their 8-bit codes save."""

CHOICES: dict[str, type[VectorIndex]] = {one.kind: one for one in (ExactIndex, IvfIndex)}


class AutoIndex(VectorIndex):
    """An index of the kind that suits the number of vectors; chosen anew whenever it is built anew.

    Its files are those of the kind that it has chosen.
    """

    kind: ClassVar[str] = "auto"
    chosen: VectorIndex

    @classmethod
    def build(cls, vectors: Vectors, settings: IndexConfig, seed: int, threads: int, progress: Progress) -> Self:
        """See `VectorIndex.build`."""
        choice = ExactIndex if vectors.live <= EXACT_UP_TO else IvfIndex
        return cls._around(choice.build(vectors, settings, seed, threads, progress), settings)

    def search(
        self,
        vector: ArrayLike,
        k: int,
        exclude: NDArray[np.int32] = NO_ROWS,
        allowed: NDArray[np.bool_] = ALL_ALLOWED,
    ) -> RankedList:
        """See `VectorIndex.search`."""
        return self.chosen.search(vector, k, exclude, allowed)

    @classmethod
    def reads(cls, kind: str) -> bool:
        """See `VectorIndex.reads`."""
        return kind in CHOICES

    @classmethod
    def _around(cls, chosen: VectorIndex, settings: IndexConfig) -> Self:
        index = cls(chosen.vectors, settings, chosen.seed, chosen.threads)
        index.chosen = chosen
        return index

    def _search_batch(self, vectors: NDArray[Any], k: int, filters: Sequence[Filter]) -> RankedBatch:
        return self.chosen._search_batch(vectors, k, filters)

    def _with(self, vectors: Vectors) -> Self:
        return self._around(self.chosen._with(vectors), self.settings)

    def _save_more(self, folder: Path) -> dict[str, Any]:
        return {**self.chosen._save_more(folder), "kind": self.chosen.kind}

    @classmethod
    def _open(cls, folder: Path, meta: dict[str, Any], vectors: Vectors, settings: IndexConfig, threads: int) -> Self:
        return cls._around(CHOICES[meta["kind"]]._open(folder, meta, vectors, settings, threads), settings)

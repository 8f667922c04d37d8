"""The index that chooses: exact for few vectors, an inverted file for many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.lists import RankedBatch, RankedList
from multirecall.progress import Progress
from multirecall.query import Filter
from multirecall.vector_index import IndexConfig

from .base import Recall, StoredIndex
from .exact import ExactIndex
from .ivf import IvfIndex
from .vectors import Vectors

EXACT_UP_TO = 20_000
"""Vectors up to which all of them are scored, which takes about as long as their 8-bit codes save."""

CHOICES: dict[str, type[StoredIndex]] = {one.kind: one for one in (ExactIndex, IvfIndex)}


class AutoConfig(IndexConfig):
    """Settings of an index of kind `auto`."""

    kind: Literal["auto"] = "auto"
    """An index of kind `exact` up to 20,000 vectors, of kind `ivf` beyond."""

    recall: Recall = 0.99
    """That of an index of kind `ivf`, where that is chosen: share of the true items that a search finds at least.
    Changes results."""

    def of(self, choice: type[StoredIndex]) -> IndexConfig:
        """The settings of the kind that is chosen: those of its keys that are set here."""
        return choice.Config(**self.model_dump(include=choice.Config.model_fields.keys() - {"kind"}))


class AutoIndex(StoredIndex):
    """An index of the kind that suits the number of vectors; chosen anew whenever it is built anew.

    Its files are those of the kind that it has chosen.
    """

    Config: ClassVar[type[AutoConfig]] = AutoConfig
    kind: ClassVar[str] = "auto"
    chosen: StoredIndex

    @classmethod
    def _of(cls, vectors: Vectors, settings: AutoConfig, seed: int, threads: int, progress: Progress) -> Self:
        choice: type[StoredIndex] = ExactIndex if vectors.live <= EXACT_UP_TO else IvfIndex
        return cls._around(choice._of(vectors, settings.of(choice), seed, threads, progress), settings)

    def with_effort(self, effort: float) -> Self:
        """See `VectorIndex.with_effort`."""
        return self if effort == self.effort else self._around(self.chosen.with_effort(effort), self.settings)

    def _search_near(
        self, query: NDArray[np.float32], k: int, exclude: NDArray[np.int32], allowed: NDArray[np.bool_]
    ) -> RankedList | None:
        return self.chosen._search_near(query, k, exclude, allowed)

    @classmethod
    def _reads(cls, kind: str) -> bool:
        return kind in CHOICES

    @classmethod
    def _around(cls, chosen: StoredIndex, settings: AutoConfig) -> Self:
        index = cls(chosen.vectors, settings, chosen.seed, chosen.threads)
        index.chosen, index.effort = chosen, chosen.effort
        return index

    def _search_batch(self, vectors: NDArray[Any], k: int, filters: Sequence[Filter]) -> RankedBatch:
        return self.chosen._search_batch(vectors, k, filters)

    def _with(self, vectors: Vectors) -> Self:
        return self._around(self.chosen._with(vectors), self.settings)

    @property
    def _part_bytes(self) -> int:
        return self.chosen._part_bytes

    def _save_more(self, folder: Path) -> dict[str, Any]:
        return {**self.chosen._save_more(folder), "kind": self.chosen.kind}

    @classmethod
    def _open(cls, folder: Path, meta: dict[str, Any], vectors: Vectors, settings: AutoConfig, threads: int) -> Self:
        choice = CHOICES[meta["kind"]]
        return cls._around(choice._open(folder, meta, vectors, settings.of(choice), threads), settings)

"""The exact index: every vector is scored."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.lists import RankedBatch
from multirecall.progress import Progress
from multirecall.query import Filter, runs_of_one_bitmap
from multirecall.vector_index import IndexConfig

from .base import StoredIndex
from .vectors import Vectors

BLOCK = 2_000_000
"""Scores that a batch holds at a time, 8 MB."""

PRODUCT_FROM = 8
"""Queries from which a matrix product pays: it copies the vectors first, as much work as several searches."""

NARROW = 4
"""Where a bitmap allows fewer than one in so many vectors, a batch scores these alone, query by query."""

LARGEST = 1e37
"""Scores up to here are far enough from the largest float32."""


class ExactConfig(IndexConfig):
    """Settings of an index of kind `exact`."""

    kind: Literal["exact"] = "exact"
    """Scores every vector."""


class ExactIndex(StoredIndex):
    """Scores every vector: the oracle of the others, and the fastest for few vectors."""

    Config: ClassVar[type[ExactConfig]] = ExactConfig
    kind: ClassVar[str] = "exact"

    @classmethod
    def _of(cls, vectors: Vectors, settings: ExactConfig, seed: int, threads: int, progress: Progress) -> Self:
        return cls(vectors, settings, seed, threads)

    def _search_batch(self, vectors: NDArray[Any], k: int, filters: Sequence[Filter]) -> RankedBatch:
        """One matrix product for a block of queries finds the candidates, which are then scored as in `search`."""
        if len(vectors) < PRODUCT_FROM:
            return super()._search_batch(vectors, k, filters)
        queries = self.vectors.queries(vectors)
        errors = self._errors(queries)
        if not np.isfinite(errors).all():
            return super()._search_batch(vectors, k, filters)
        n = self._squares.size
        step = max(1, min(len(queries), BLOCK // max(1, n)))
        near = np.empty((step, n), np.float32)
        parts = [
            self._search_block(queries[run], errors[run], k, filters[run], near[: run.stop - run.start])
            for run in runs_of_one_bitmap(filters, step)
        ]
        return RankedBatch.concat(parts) if parts else RankedBatch.empty(0)

    def _search_block(
        self,
        queries: NDArray[np.float32],
        errors: NDArray[np.float64],
        k: int,
        filters: Sequence[Filter],
        near: NDArray[np.float32],
    ) -> RankedBatch:
        """`_search_batch` for a few queries of one bitmap; one by one where that leaves few vectors to score.

        `near`, float32 (B, n + m), is scratch memory.
        """
        stored, allowed = self.vectors, filters[0][1]
        stored.check_filter(allowed)
        if allowed.size and NARROW * np.count_nonzero(allowed) < self._squares.size:
            lists = [stored.scan(query, max(k, 0), *one) for query, one in zip(queries, filters, strict=True)]
            return RankedBatch.from_lists(lists)
        self._compute_near(queries, near)
        return stored.pick(near, errors, queries, max(k, 0), [one for one, _ in filters], allowed)

    @cached_property
    def _squares(self) -> NDArray[np.float32]:
        """The squared length of each vector, those of the main part first."""
        return np.concatenate([_squares(self.vectors.values), _squares(self.vectors.new_values)])

    def _compute_near(self, queries: NDArray[np.float32], near: NDArray[np.float32]) -> None:
        """Fill `near` with the scores of all vectors, up to the error of a sum in another order."""
        n = self.vectors.rows.size
        np.matmul(queries, self.vectors.values.T, out=near[:, :n])
        np.matmul(queries, self.vectors.new_values.T, out=near[:, n:])
        if self.space == "l2":
            near *= 2
            near -= self._squares
            near -= _squares(queries)[:, None]

    def _errors(self, queries: NDArray[np.float32]) -> NDArray[np.float64]:
        """A bound of the error of `_compute_near` for each query, infinite where scores may overflow.

        A sum of `dim` products is off by at most about `dim / 2` units in the last place of `Σ |q_i · v_i|`, which
        is at most `|q| · |v|`; the score that it is compared with is off by as much.
        """
        longest = np.sqrt(np.max(self._squares, initial=0.0).astype(np.float64))
        lengths = np.sqrt(_squares(queries).astype(np.float64))
        largest = (lengths + longest) ** 2 if self.space == "l2" else lengths * longest
        errors = (self.dim + 8) * np.finfo(np.float32).eps * largest
        return np.where(largest < LARGEST, errors, np.inf)

    def _with(self, vectors: Vectors) -> Self:
        return type(self)(vectors, self.settings, self.seed, self.threads)

    def _save_more(self, folder: Path) -> dict[str, Any]:
        return {}

    @classmethod
    def _open(cls, folder: Path, meta: dict[str, Any], vectors: Vectors, settings: ExactConfig, threads: int) -> Self:
        return cls(vectors, settings, meta["seed"], threads)


def _squares(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The squared length of each vector; infinite where it overflows."""
    with np.errstate(over="ignore"):
        squares: NDArray[np.float32] = np.einsum("ij,ij->i", vectors, vectors)
        return squares

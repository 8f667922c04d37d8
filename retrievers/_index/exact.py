"""The exact index: every vector is scored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multirecall.lists import RankedBatch, RankedList
from multirecall.progress import Progress
from multirecall.topk import ALL_ALLOWED, NO_ROWS
from multirecall.vector_index import Filter, IndexConfig

from .base import StoredIndex
from .vectors import Vectors

BLOCK = 8_000_000
"""Scores that a batch holds at a time: 32 MB."""

LARGEST = 1e37
"""Scores up to here are far enough from the largest float32."""


class ExactConfig(IndexConfig):
    """Settings of an index of kind `exact`."""

    kind: Literal["exact"] = "exact"
    """Scores every vector."""


class ExactIndex(StoredIndex):
    """Scores every vector: the oracle of the others, and the faster one for few vectors and for batches."""

    Config: ClassVar[type[ExactConfig]] = ExactConfig
    kind: ClassVar[str] = "exact"

    @classmethod
    def _of(cls, vectors: Vectors, settings: ExactConfig, seed: int, threads: int, progress: Progress) -> Self:
        return cls(vectors, settings, seed, threads)

    def search(
        self,
        vector: ArrayLike,
        k: int,
        exclude: NDArray[np.int32] = NO_ROWS,
        allowed: NDArray[np.bool_] = ALL_ALLOWED,
    ) -> RankedList:
        """See `VectorIndex.search`."""
        query, _ = self.vectors.query(vector)
        self.vectors.check_filter(allowed)
        return self.vectors.scan(query, max(k, 0), exclude, allowed)

    def _search_batch(self, vectors: NDArray[Any], k: int, filters: Sequence[Filter]) -> RankedBatch:
        """One matrix product for a block of queries finds the candidates, which are then scored as in `search`."""
        stored = self.vectors
        for _, allowed in filters:
            stored.check_filter(allowed)
        queries = np.array([stored.query(vector)[0] for vector in vectors], np.float32).reshape(-1, stored.dim)
        squares = np.concatenate([_squares(stored.values), _squares(stored.new_values)])
        errors = self._errors(queries, squares)
        lists = []
        step = max(1, BLOCK // max(1, squares.size))
        for start in range(0, len(queries), step):
            block = queries[start : start + step]
            near = self._near(block, squares)
            for place, query in enumerate(block, start):
                arguments = query, max(k, 0), *filters[place]
                if errors[place] < np.inf:
                    lists.append(stored.picked(near[place - start], errors[place], *arguments))
                else:
                    lists.append(stored.scan(*arguments))
        return RankedBatch.from_lists(lists)

    def _near(self, queries: NDArray[np.float32], squares: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores of all vectors, up to the error of a sum in another order."""
        n = self.vectors.rows.size
        near = np.empty((len(queries), squares.size), np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            np.matmul(queries, self.vectors.values.T, out=near[:, :n])
            np.matmul(queries, self.vectors.new_values.T, out=near[:, n:])
            if self.space == "l2":
                near *= 2
                near -= squares
                near -= _squares(queries)[:, None]
        return near

    def _errors(self, queries: NDArray[np.float32], squares: NDArray[np.float32]) -> NDArray[np.float64]:
        """A bound of the error of `_near` for each query, infinite where scores may overflow.

        A sum of `dim` products is off by at most about `dim / 2` units in the last place of `Σ |q_i · v_i|`, which
        is at most `|q| · |v|`; the score that it is compared with is off by as much.
        """
        longest = np.sqrt(np.max(squares, initial=0.0).astype(np.float64))
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

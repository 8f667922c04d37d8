"""A vector index over items: what every kind of it does, how it takes changes, and how it is saved."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from multirecall.errors import BundleError, RequestError
from multirecall.lists import RankedBatch, RankedList
from multirecall.progress import SILENT, Progress
from multirecall.storage import write_component, write_manifest
from multirecall.topk import ALL_ALLOWED, NO_ROWS
from multirecall.validation import StrictModel

from .merge import merge_by_best
from .vectors import Space, Vectors

FORMAT = 2

CHANGED_SHARE = 0.1
"""Share of added, and of removed or replaced, vectors in the main part past which the index is rebuilt."""

CHANGED_AT_LEAST = 1_000
"""A rebuild does not pay before so many vectors were added, or removed or replaced."""

WIDENING: dict[Space, int] = {"cosine": 1, "inner_product": 4, "l2": 4}
"""How much wider a graph search is in each space: vectors of very different length mislead it."""

Filter = tuple[NDArray[np.int32], NDArray[np.bool_]]
"""Sorted rows to exclude and a bitmap of allowed rows, empty for all: the form of `Query.filter`."""

NO_FILTER: Filter = (NO_ROWS, ALL_ALLOWED)
"""Every item may be returned."""


class IndexConfig(StrictModel):
    """Settings of a vector index."""

    kind: Literal["auto", "exact", "ivf", "hnsw"] = "auto"
    """`exact` scores every vector. `ivf` searches the near cells of an inverted file; `hnsw` walks a graph, which
    takes far longer to build. Both score every vector where that is faster. `auto` is `exact` up to 20,000 vectors
    and `ivf` beyond. A graph is built with the extra `hnsw`; without it every vector is scored where one was saved.
    Changes results: `ivf` and `hnsw` may miss some."""

    recall: float = Field(default=0.99, ge=0.5, le=1)
    """`ivf`: share of the true items that a search finds at least, 0.5 … 1. It visits as many cells as that was
    measured to need on queries like those that will come; more find more and take longer. Changes results."""

    M: int = Field(default=24, ge=2, le=100)
    """`hnsw`: links of a vector in the graph; more find more, build longer and take 8 bytes each. Changes results."""

    ef_construction: int = Field(default=200, ge=10, le=2_000)
    """`hnsw`: width of the searches that build the graph; more find more and build longer. Changes results."""

    ef_search: int = Field(default=200, ge=10, le=10_000)
    """`hnsw`: width of a search, `max(ef_search, 2 k)` for `k` items in `cosine`, four times that in the other spaces,
    where long vectors beside short ones mislead the graph. Changes results."""

    def width(self, space: Space, k: int) -> int:
        """Candidates that a search for `k` items looks at: more find more and take longer."""
        return WIDENING[space] * max(self.ef_search, 2 * k)


class VectorIndex(ABC):
    """The nearest items of a vector. Immutable, so any number of threads may ask it.

    Scores are similarities, float32, higher is better (see `Space`); lists follow the ordering rule.

    Args:
        vectors: what it searches.
        settings: how.
        seed: of the graph or the cells that it, or a later state of it, is built from.
        threads: of such builds.
    """

    kind: ClassVar[str]
    """Its name in settings and files."""

    def __init__(self, vectors: Vectors, settings: IndexConfig, seed: int, threads: int) -> None:
        self.vectors = vectors
        self.settings = settings
        self.seed = seed
        self.threads = threads

    def __len__(self) -> int:
        return self.vectors.live

    @property
    def space(self) -> Space:
        """The similarity."""
        return self.vectors.space

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.vectors.dim

    @classmethod
    @abstractmethod
    def build(cls, vectors: Vectors, settings: IndexConfig, seed: int, threads: int, progress: Progress) -> Self:
        """An index over `vectors`, all of them in the main part."""

    @abstractmethod
    def search(
        self,
        vector: ArrayLike,
        k: int,
        exclude: NDArray[np.int32] = NO_ROWS,
        allowed: NDArray[np.bool_] = ALL_ALLOWED,
    ) -> RankedList:
        """The `k` most similar items, fewer where fewer are eligible.

        Args:
            vector: float32 (dim,).
            k: most items to return.
            exclude: sorted item rows to leave out, int32.
            allowed: bitmap over item rows of what may be returned, or empty for all.

        Raises:
            RequestError: the vector has another length or is not finite, or the bitmap is too short.
        """

    def search_any(
        self,
        vectors: ArrayLike,
        k: int,
        exclude: NDArray[np.int32] = NO_ROWS,
        allowed: NDArray[np.bool_] = ALL_ALLOWED,
    ) -> RankedList:
        """The `k` items that are most similar to any of `vectors` (V, dim), V ≥ 1; one vector is a plain `search`.

        An item has the best score that it has under any of them; the rest is as in `search`.

        Raises:
            RequestError: as in `search`, or there is no vector.
        """
        given = np.asarray(vectors)
        if given.ndim != 2 or not len(given):
            raise RequestError(f"vectors: have shape {given.shape}; pass one row for each vector of the user")
        if len(given) == 1:
            return self.search(given[0], k, exclude, allowed)
        return _best_of([self.search(vector, k, exclude, allowed) for vector in given], k)

    def search_batch(self, vectors: ArrayLike, k: int, filters: Sequence[Filter] | None = None) -> RankedBatch:
        """The same for `vectors` (n, dim), with a filter for each or none; list by list equal to `search`.

        Raises:
            RequestError: as in `search`, or there are more or fewer filters than vectors.
        """
        given = np.asarray(vectors)
        if given.ndim != 2:
            raise RequestError(f"vectors: have shape {given.shape}; pass one row for each query")
        each = [NO_FILTER] * len(given) if filters is None else filters
        if len(each) != len(given):
            raise RequestError(f"filters: are {len(each)} for {len(given)} vectors; pass one for each, or None")
        return self._search_batch(given, k, each)

    def search_any_batch(self, vectors: ArrayLike, k: int, filters: Sequence[Filter] | None = None) -> RankedBatch:
        """`search_any` for several users, `vectors` (n, V, dim), with a filter for each user or none.

        Raises:
            RequestError: as in `search_any`, or there are more or fewer filters than users.
        """
        given = np.asarray(vectors)
        if given.ndim != 3 or not given.shape[1]:
            raise RequestError(f"vectors: have shape {given.shape}; pass (users, vectors of a user, dim)")
        n_users, n_each, dim = given.shape
        each = None if filters is None else [one for one in filters for _ in range(n_each)]
        lists = self.search_batch(given.reshape(n_users * n_each, dim), k, each)
        if n_each == 1:
            return lists
        parts = range(0, len(lists), n_each)
        return RankedBatch.from_lists(
            [_best_of([lists[start + place] for place in range(n_each)], k) for start in parts]
        )

    def add(self, rows: NDArray[np.int32], vectors: ArrayLike) -> VectorIndex:
        """The index with these vectors as well, each in place of the one that its row had.

        Shares what did not change with this one, which stays as it is. Once `CHANGED_SHARE` is passed it is built
        anew, which takes as long as a build.

        Raises:
            DataError: a row is repeated or negative, or a vector is not finite or of another length.
        """
        return self._changed(self.vectors.with_rows(rows, vectors))

    def remove(self, rows: NDArray[np.int32]) -> VectorIndex:
        """The index without these rows; those that it does not have are passed over. Otherwise as `add`."""
        return self._changed(self.vectors.without(rows))

    def item_vectors(self) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The item rows that it has, int32 (n,) ascending, and their vectors as it keeps them, float32 (n, dim)."""
        kept = self.vectors.compacted()
        return kept.rows, kept.values

    def save(self, folder: Path) -> None:
        """Write it into `folder`, which is made, or empty: files of an index in use are never overwritten.

        Raises:
            BundleError: the folder is not empty or cannot be written.
        """
        try:
            if folder.exists() and any(folder.iterdir()):
                raise BundleError(f"{folder}: is not empty; save the index into a folder of its own")
            folder.mkdir(parents=True, exist_ok=True)
            meta = {
                "format": FORMAT,
                "kind": self.kind,
                "space": self.space,
                "dim": self.dim,
                "rows": self.vectors.rows.size,
                "live": len(self),
                "seed": self.seed,
            }
            write_component(folder, self.vectors.arrays(), {**meta, **self._save_more(folder)})
            write_manifest(folder, {})
        except OSError as fault:
            raise BundleError(f"{folder}: cannot be written ({fault}); check the disk and the permissions") from None

    def _search_batch(self, vectors: NDArray[Any], k: int, filters: Sequence[Filter]) -> RankedBatch:
        """`search_batch` with one filter for each vector."""
        pairs = zip(vectors, filters, strict=True)
        return RankedBatch.from_lists([self.search(vector, k, *one) for vector, one in pairs])

    @abstractmethod
    def _with(self, vectors: Vectors) -> Self:
        """This index over a later state of its vectors, with the same main part."""

    @abstractmethod
    def _save_more(self, folder: Path) -> dict[str, Any]:
        """Write what `_open` needs beside the vectors, and return what to note of it."""

    @classmethod
    def reads(cls, kind: str) -> bool:
        """Whether it opens files of this kind: its own, unless it is made of others."""
        return kind == cls.kind

    @classmethod
    @abstractmethod
    def _open(
        cls, folder: Path, meta: dict[str, Any], vectors: Vectors, settings: IndexConfig, threads: int
    ) -> VectorIndex:
        """The index that was saved into `folder`, whose files have been verified."""

    def _changed(self, vectors: Vectors) -> VectorIndex:
        most = max(CHANGED_AT_LEAST, CHANGED_SHARE * vectors.rows.size)
        if vectors.new_rows.size <= most and vectors.n_dead <= most:
            return self._with(vectors)
        return self.build(vectors.compacted(), self.settings, self.seed, self.threads, SILENT)


def _best_of(lists: Sequence[RankedList], k: int) -> RankedList:
    """The `k` best items of several lists, each with the best score that it has in one of them."""
    items, scores = (np.concatenate(arrays) for arrays in zip(*((one.items, one.scores) for one in lists), strict=True))
    return RankedList(*merge_by_best(items, scores, max(k, 0)))

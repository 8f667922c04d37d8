"""The inverted-file index: vectors in cells, of which a search visits the near ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.csr import offsets_of
from multirecall.lists import RankedBatch, RankedList
from multirecall.progress import Progress
from multirecall.query import Filter, runs_of_one_bitmap
from multirecall.storage import read_component, write_component
from multirecall.vector_index import IndexConfig

from .base import Recall, StoredIndex
from .cells import Cells
from .margins import measure_margins
from .vectors import Vectors

FOLDER = "cells"

SCANNED = 5_000
"""Eligible vectors, beside `SCANNED_PER_ITEM`, up to which all of them are scored."""

SCANNED_PER_ITEM = 20
"""Eligible vectors for each item asked for, in addition to `SCANNED`, up to which all of them are scored."""


class IvfConfig(IndexConfig):
    """Settings of an index of kind `ivf`."""

    kind: Literal["ivf"] = "ivf"
    """Searches the near cells of an inverted file, and scores every vector where that is faster."""

    recall: Recall = 0.99
    """The least share of the true items that a search finds. The build measures how many cells this needs on
    sampled queries. A larger value finds more items and takes longer. Changes results."""


class IvfIndex(StoredIndex):
    """An inverted file of 4-bit codes over the main part of the vectors (Jégou et al., TPAMI 2011, section 4).

    A search visits the cells that may hold one of the best items, selects by codes, and scores what it selected
    from the vectors themselves. How far a cell may reach, and how far a code may err, are measured at the build, so
    that the recall is there that the settings ask for; where no measure is good enough, every vector is scored. So is
    every eligible one where that is faster: for few vectors, narrow filters and large `k`.
    """

    Config: ClassVar[type[IvfConfig]] = IvfConfig
    kind: ClassVar[str] = "ivf"
    _cells: Cells | None

    @classmethod
    def _of(cls, vectors: Vectors, settings: IvfConfig, seed: int, threads: int, progress: Progress) -> Self:
        if vectors.rows.size == 0:
            return cls(vectors, settings, seed, threads)._on(None)
        rng = np.random.default_rng(seed)
        with progress.task("index: grouping vectors into cells", 2, steady=False) as advance:
            vectors, cells, placed = Cells.of_vectors(vectors, rng)
            advance(1)
            margins, slack = measure_margins(cells, vectors, placed, settings.recall, rng)
            advance(1)
        return cls(vectors, settings, seed, threads)._on(replace(cells, margins=margins, slack=slack))

    def _search_near(
        self, query: NDArray[np.float32], k: int, exclude: NDArray[np.int32], allowed: NDArray[np.bool_]
    ) -> RankedList | None:
        margin = self._margin(k, exclude.size, allowed)
        if self._cells is None or margin == np.inf:
            return None
        items, scores = self._cells.search_one(self.vectors, query, k, margin, exclude, allowed)
        return RankedList(items, scores) if items.size == k else None

    def _search_batch(self, vectors: NDArray[Any], k: int, filters: Sequence[Filter]) -> RankedBatch:
        """One call for the queries of one bitmap; those that need every vector are searched for one by one."""
        if self._cells is None or not filters or k < 1:
            return super()._search_batch(vectors, k, filters)
        queries = self.vectors.queries(vectors)
        lists: list[RankedList] = []
        for run in runs_of_one_bitmap(filters):
            lists += self._search_run(self._cells, queries[run], k, filters[run])
        return RankedBatch.from_lists(lists)

    def _search_run(
        self, cells: Cells, queries: NDArray[np.float32], k: int, filters: Sequence[Filter]
    ) -> list[RankedList]:
        stored, allowed = self.vectors, filters[0][1]
        stored.check_filter(allowed)
        exclude = [rows for rows, _ in filters]
        margins = np.array([self._margin(k, rows.size, allowed) for rows in exclude])
        margins[~queries.any(axis=1)] = np.inf
        left_out = offsets_of([rows.size for rows in exclude]), np.concatenate(exclude)
        items, scores, whole = cells.search(stored, queries, k, margins, *left_out, allowed)
        return [
            RankedList(items[place], scores[place]) if whole[place] else stored.scan(queries[place], k, rows, allowed)
            for place, rows in enumerate(exclude)
        ]

    def _margin(self, k: int, n_excluded: int, allowed: NDArray[np.bool_]) -> float:
        """How far cells are looked for; infinite where every vector is scored."""
        eligible = self.vectors.n_eligible(allowed)
        if self._cells is None or eligible <= SCANNED + SCANNED_PER_ITEM * k:
            return np.inf
        return self._cells.margin((k + min(k, n_excluded)) * self.vectors.rows.size // eligible) * self.effort

    def _on(self, cells: Cells | None) -> Self:
        self._cells = cells
        return self

    def _with(self, vectors: Vectors) -> Self:
        return type(self)(vectors, self.settings, self.seed, self.threads)._on(self._cells)

    @property
    def _part_bytes(self) -> int:
        return sum(array.nbytes for array in self._cells.arrays().values()) if self._cells else 0

    def _save_more(self, folder: Path) -> dict[str, Any]:
        if self._cells is not None:
            write_component(folder / FOLDER, self._cells.arrays(), {})
        return {}

    @classmethod
    def _open(cls, folder: Path, meta: dict[str, Any], vectors: Vectors, settings: IvfConfig, threads: int) -> Self:
        index = cls(vectors, settings, meta["seed"], threads)
        if vectors.rows.size == 0:
            return index._on(None)
        arrays, _ = read_component(folder / FOLDER)
        return index._on(Cells.of_arrays(arrays, vectors, str(folder)))

"""The base of retrievers that serve item vectors by neighbour lists, which new items enter without a fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Changes, Dataset
from multirecall.lists import RankedList
from multirecall.progress import Progress
from multirecall.query import Query
from multirecall.storage import read_component, write_component
from multirecall.sums import Sums

from .._recency import recent_items
from .._sparse.patched import PatchedRows
from .._text.cold_start import ColdRule, with_cold_items
from .._vector_table import VectorTable, unit_rows
from .knn import entries_for_items, nearest_neighbours
from .retriever import NeighbourRetriever


class VectorNeighbourRetriever(NeighbourRetriever):
    """Scores an item by its cosine to the items of the history, summed with recency weights.

    An item of the history counts for itself, with a cosine of 1, and for its nearest neighbours. The `fit` of a
    subclass trains vectors and calls `_serve`. Its config has `neighbours`, the length of each list, and a `half_life`
    in items.
    """

    live = frozenset({"items"})
    _neighbours: PatchedRows
    _units: VectorTable
    _cold: ColdRule

    def _serve(
        self,
        vectors: NDArray[np.float32],
        data: Dataset,
        n_similar: int,
        progress: Progress,
        task: str,
        learnt: NDArray[np.bool_] | None = None,
    ) -> None:
        """Build the neighbour lists of `vectors`; an item without a learnt vector gets the mean of similar items.

        Args:
            vectors: float32 (n_items, dim); those of items that are not learnt are ignored.
            data: the data that the vectors were trained on.
            n_similar: the number of items with similar features whose mean replaces a missing vector.
            progress: shows the search for neighbours.
            task: the name of the search in `progress`.
            learnt: bool (n_items,), whether an item has a learnt vector; None: whether it has interactions.
        """
        vectors, self._cold = with_cold_items(vectors, data, n_similar, learnt)
        self._units = VectorTable.of(unit_rows(vectors))
        lists = nearest_neighbours(vectors, self.config.neighbours, progress, task, threads=self.config.threads)
        self._neighbours = PatchedRows.of_unsorted(lists)

    def retrieve(self, query: Query, quota: int) -> RankedList:
        """See `Retriever.retrieve`."""
        items, weights = recent_items(query, None, self.config.half_life)
        sums = Sums(self._neighbours.n_columns)
        sums.add(items, weights)
        self._neighbours.add(items, weights, sums)
        return sums.top_for(query, quota)

    def with_changes(self, changes: Changes) -> Self:
        """See `Retriever.with_changes`; takes `n_items · dim` multiplications for each new or changed item."""
        if not changes.touched.size:
            return self
        rows = self._cold.without_vector(changes.touched)
        units = unit_rows(self._cold.vectors(changes.data.items, rows, self._units))
        path = type(self)(self.config)
        path._cold, path._units = self._cold, self._units.with_rows(rows, units)
        known = rows[rows < len(self._units)]
        former = self._neighbours.without(known) if known.size else self._neighbours
        found = entries_for_items(rows, path._units.whole(), former.base, self.config.neighbours)
        path._neighbours = former.with_entries(*found, changes.data.n_items, changes.data.n_items)
        return path

    def part(self, rows: NDArray[np.int32]) -> Self | None:
        """None so far: it stands whole."""
        return None

    def item_vectors(self) -> tuple[NDArray[np.int32], NDArray[np.float32]] | None:
        """See `Retriever.item_vectors`; the vectors have length 1."""
        return np.arange(len(self._units), dtype=np.int32), self._units.whole()

    def save(self, folder: Path) -> None:
        """See `Retriever.save`."""
        super().save(folder)
        write_component(folder / "units", {"units": self._units.whole()}, {})
        self._cold.save(folder / "cold")

    @classmethod
    def load(cls, config: Any, folder: Path, data: Dataset) -> Self:
        """See `Retriever.load`."""
        path = cls(config)
        path._units = VectorTable.of(read_component(folder / "units")[0]["units"])
        path._neighbours = PatchedRows.of_arrays(read_component(folder)[0], len(path._units))
        path._cold = ColdRule.load(folder / "cold")
        return path

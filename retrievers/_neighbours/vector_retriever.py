"""The base of retrievers that serve item vectors by neighbour lists, which new items enter without a fit."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Changes, Dataset
from multirecall.freed_memory import return_freed_memory
from multirecall.progress import Progress
from multirecall.storage import read_component, write_component

from .._shard import WHOLE, Shard
from .._sparse.patched import PatchedRows
from .._sparse.units import unit_rows
from .._text.cold_start import ColdRule, with_cold_items
from .._vector_table import VectorTable
from .knn import entries_for_items, lowest_of_lists, nearest_neighbours
from .retriever import NeighbourRetriever


class VectorNeighbourRetriever(NeighbourRetriever):
    """Scores an item by its cosine to the items of the history, summed with recency weights.

    An item of the history counts for itself, with a cosine of 1, and for its nearest neighbours. The `fit` of a
    subclass trains vectors and calls `_serve`. Its config has `neighbours`, the length of each list, and a `half_life`
    in items. A new item enters the list of an item if that was not full at the fit, or its lowest cosine was lower.

    A part has of each list the neighbours that are its own, and the vectors of all items, for those that join.
    """

    live = frozenset({"items"})
    _neighbours: PatchedRows
    _units: VectorTable
    _cold: ColdRule
    _lowest: NDArray[np.float32]
    """The lowest cosine of each list that was full at the fit, float32 (n_items of the fit,); 0 for the others."""
    _shard: Shard = WHOLE

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
        vectors, self._cold = with_cold_items(vectors, data, n_similar, learnt, self.config.threads)
        units = unit_rows(vectors)
        self._units = VectorTable.of(units)
        del vectors
        return_freed_memory()
        lists = nearest_neighbours(units, self.config.neighbours, progress, task, threads=self.config.threads)
        self._neighbours = PatchedRows.of_unsorted(lists)
        self._lowest = lowest_of_lists(lists.offsets, lists.values, self.config.neighbours)

    @property
    def _itself(self) -> Shard:
        return self._shard

    def with_changes(self, changes: Changes) -> Self:
        """See `Retriever.with_changes`; takes `n_items · dim` multiplications for each new or changed item."""
        if not changes.touched.size:
            return self
        rows = self._cold.without_vector(changes.touched)
        units = unit_rows(self._cold.vectors(changes.data.items, rows, self._units))
        path = copy(self)
        path._units = self._units.with_rows(rows, units)
        known = rows[rows < len(self._units)]
        former = self._neighbours.without(known) if known.size else self._neighbours
        sources, near, cosines = entries_for_items(rows, path._units.whole(), self._lowest, self.config.neighbours)
        own, n_items = self._shard.has(near), changes.data.n_items
        path._neighbours = former.with_entries(sources[own], near[own], cosines[own], n_items, n_items)
        return path

    def part(self, rows: NDArray[np.int32]) -> Self | None:
        """See `Retriever.part`."""
        path = copy(self)
        path._shard = Shard(rows, len(self._units))
        path._neighbours = self._neighbours.with_columns(rows)
        return path

    def item_vectors(self) -> tuple[NDArray[np.int32], NDArray[np.float32]] | None:
        """See `Retriever.item_vectors`; the vectors have length 1."""
        rows = self._shard.among(len(self._units))
        return rows, self._units.take(rows)

    def save(self, folder: Path) -> None:
        """See `Retriever.save`."""
        super().save(folder)
        write_component(folder / "units", {"units": self._units.whole()}, {})
        self._cold.save(folder / "cold")
        write_component(folder / "lowest", {"lowest": self._lowest}, {})
        self._shard.save(folder)

    @classmethod
    def load(cls, config: Any, folder: Path, data: Dataset) -> Self:
        """See `Retriever.load`."""
        path = cls(config)
        path._units = VectorTable.of(read_component(folder / "units")[0]["units"])
        path._neighbours = PatchedRows.of_arrays(read_component(folder)[0], len(path._units))
        path._cold = ColdRule.load(folder / "cold")
        path._shard = Shard.load(folder)
        if (folder / "lowest").exists():
            path._lowest = read_component(folder / "lowest")[0]["lowest"]
        else:  # an older release has saved it
            lists = path._neighbours.base
            path._lowest = lowest_of_lists(lists.offsets, lists.values, path.config.neighbours)
        return path

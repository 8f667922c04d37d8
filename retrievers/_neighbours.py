"""What retrievers that serve from neighbour lists have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from multirecall.data import Dataset
from multirecall.lists import RankedList
from multirecall.protocols import Retriever
from multirecall.query import Query
from multirecall.storage import read_component, write_component

from ._gather import SparseRows, Sums
from ._recency import recent


class NeighbourRetriever(Retriever):
    """Scores an item by its similarity to the items of the history, summed with recency weights.

    A subclass's `fit` sets `_neighbours` (item × item, similarities > 0); its config has a `half_life` in items.
    """

    inline = True
    filters = True
    _neighbours: SparseRows

    def retrieve(self, query: Query, quota: int) -> RankedList:
        """See `Retriever.retrieve`."""
        sums = Sums(self._neighbours.n_columns)
        self._neighbours.add(*recent(query, None, self.config.half_life), sums)
        return sums.top_for(query, quota)

    def save(self, folder: Path) -> None:
        """See `Retriever.save`."""
        write_component(folder, self._neighbours.arrays(), {})

    @classmethod
    def load(cls, config: Any, folder: Path, data: Dataset) -> Self:
        """See `Retriever.load`."""
        path = cls(config)
        path._neighbours = SparseRows.of_arrays(read_component(folder)[0], data.n_items)
        return path

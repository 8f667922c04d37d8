"""The base of retrievers that serve from neighbour lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from multirecall.blocks import run_blocks
from multirecall.data import Dataset
from multirecall.lists import RankedBatch, RankedList
from multirecall.progress import Progress
from multirecall.query import Query
from multirecall.storage import read_component, write_component
from multirecall.sums import Sums
from multirecall.validation import NonNegative

from .._recency import recent_items
from .._shard import NONE, Shard
from .._similar import SimilarByHistory
from .._sparse.dense import DenseColumns, DenseRows, rows_of_arrays
from .._sparse.patched import PatchedRows
from .._sparse.rows import SparseRows
from .best_of_histories import best_of_histories, best_of_history

BLOCK = 256
"""Source items in one task of a fit: small enough to balance threads and to show progress."""

Exponent = Annotated[NonNegative, Field(le=3)]
"""An exponent of a popularity."""

Block = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]
"""The neighbours of consecutive source items: the number for each, then the items and similarities of all."""


def run_in_blocks(
    neighbours: Callable[..., Block],
    arguments: Sequence[Any],
    n_items: int,
    threads: int,
    progress: Progress,
    task: str,
    *,
    size: int = BLOCK,
) -> SparseRows:
    """The neighbours of all source items, from `neighbours(start, stop, *arguments)` for blocks of `size` of them.

    See `multirecall.blocks`, which says where the blocks are done.
    """
    bounds = [(start, min(start + size, n_items)) for start in range(0, n_items, size)]
    blocks = []
    with progress.task(task, n_items) as advance:
        for lengths, items, similarities in run_blocks(neighbours, arguments, bounds, threads):
            blocks.append((lengths, items, similarities))
            advance(lengths.size)
    return SparseRows.of_parts(blocks, n_items)


class NeighbourRetriever(SimilarByHistory):
    """Scores an item by its similarity to the items of the history, summed with recency weights.

    The `fit` of a subclass sets `_neighbours` (item × item), and its config has a `half_life` in items. An item whose
    score is not above 0 is not proposed.

    A part has of each item's list the neighbours that are its own, so that a history still gathers from all lists.
    """

    inline = True
    filters = True
    _neighbours: SparseRows | DenseRows | DenseColumns | PatchedRows

    @property
    def _itself(self) -> Shard:
        """The items that count for themselves, with a similarity of 1, where they stand in a history."""
        return NONE

    def retrieve(self, query: Query, quota: int) -> RankedList:
        """See `Retriever.retrieve`."""
        matrix, half_life = self._neighbours, self.config.half_life
        if not isinstance(matrix, DenseRows | DenseColumns):
            return best_of_history(matrix, query, half_life, self._itself, quota)
        sums = Sums(matrix.n_columns)
        matrix.add(*recent_items(query, None, half_life), sums)
        return sums.top_for(query, quota)

    def retrieve_batch(self, queries: Sequence[Query], quota: int) -> RankedBatch:
        """See `Retriever.retrieve_batch`: one call for all users, unless the matrix is dense."""
        matrix = self._neighbours
        if not queries or isinstance(matrix, DenseRows | DenseColumns):
            return super().retrieve_batch(queries, quota)
        return best_of_histories(matrix, queries, self.config.half_life, self._itself, quota)

    def part(self, rows: NDArray[np.int32]) -> Self | None:
        """See `Retriever.part`."""
        path = copy(self)
        path._neighbours = self._neighbours.with_columns(rows)
        return path

    def save(self, folder: Path) -> None:
        """See `Retriever.save`."""
        write_component(folder, self._neighbours.arrays(), {})

    @classmethod
    def load(cls, config: Any, folder: Path, data: Dataset) -> Self:
        """See `Retriever.load`."""
        path = cls(config)
        path._neighbours = rows_of_arrays(read_component(folder)[0])
        return path

"""A part of the catalogue, on which settings of a retriever that is slow on the whole are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Dataset
from multirecall.lists import RankedBatch
from multirecall.protocols import Answer, Retriever
from multirecall.query import Query

from ._choice import answer_of


@dataclass(frozen=True, slots=True)
class Part:
    """Some items, which have the rows `0 … n - 1` in what is computed on the part.

    Attributes:
        items: their rows in the whole catalogue, int32 (n,), ascending.
        places: the row in the part of each item of the catalogue, int32 (n_items,); -1 for an item that is left out.
    """

    items: NDArray[np.int32]
    places: NDArray[np.int32]

    @classmethod
    def most_frequent(cls, data: Dataset, n: int) -> Part:
        """The `n` items with the most events; of items with equally many, those of lower rows."""
        counts = np.bincount(data.interactions.items, minlength=data.n_items)
        items = np.sort(np.argsort(-counts, kind="stable")[:n]).astype(np.int32)
        places = np.full(data.n_items, -1, np.int32)
        places[items] = np.arange(items.size, dtype=np.int32)
        return cls(items, places)

    def ask(self, query: Query) -> Query:
        """The query in rows of the part, without events of other items."""
        history = self.places[query.history]
        kept = history >= 0
        exclude = self.places[query.exclude]
        return replace(
            query,
            history=history[kept],
            weights=query.weights[kept],
            times=None if query.times is None else query.times[kept],
            exclude=exclude[exclude >= 0],
            allowed=None if query.allowed is None else query.allowed[self.items],
        )

    def answer_of(self, path: Retriever, queries: Sequence[Query], k: int) -> Answer:
        """The lists, of length `k`, of a path over the part for queries that `ask` gave."""
        answer = answer_of(path, queries, k)
        return lambda places: self.restore(answer(places))

    def restore(self, lists: RankedBatch) -> RankedBatch:
        """Lists over the part in rows of the whole catalogue."""
        return RankedBatch(lists.offsets, self.items[lists.items], lists.scores)

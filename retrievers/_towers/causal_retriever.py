"""The base of retrievers that read a history as a sequence and learn from every event of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from multirecall.data import Dataset
from multirecall.lists import RankedBatch, RankedList
from multirecall.progress import Progress
from multirecall.query import Query
from multirecall.vector_index import Space

from .._weights import require_order
from .retriever import TowerRetriever


class CausalRetriever(TowerRetriever):
    """Scores an item by the inner product of its embedding and the state of a network that has read the history.

    A user without a history gets no items.
    """

    tied = True
    causal = True
    space: ClassVar[Space] = "inner_product"

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """See `TowerRetriever.fit`.

        Raises:
            CannotFit: the log has no order, or no user has an event of weight above 0 that follows another event.
        """
        require_order(data, self.name)
        super().fit(data, rng=rng, progress=progress)

    def retrieve(self, query: Query, quota: int) -> RankedList:
        """See `Retriever.retrieve`."""
        return super().retrieve(query, quota) if query.history.size else RankedList.empty()

    def retrieve_batch(self, queries: Sequence[Query], quota: int) -> RankedBatch:
        """See `Retriever.retrieve_batch`."""
        able = np.array([number for number, query in enumerate(queries) if query.history.size], np.int64)
        found = super().retrieve_batch([queries[number] for number in able.tolist()], quota)
        return found if able.size == len(queries) else RankedBatch.empty(len(queries)).replace(able, found)

"""Items like an item, for retrievers that compare items through a history of one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from multirecall.lists import RankedBatch
from multirecall.protocols import Retriever
from multirecall.query import NO_FILTER, Filter, Query

ONE = np.ones(1, np.float32)


class SimilarByHistory(Retriever):
    """Gives a retriever that filters `similar_items`: what it proposes after the item alone."""

    def similar_items(
        self, items: NDArray[np.int32], k: int, filters: Sequence[Filter] | None = None
    ) -> RankedBatch | None:
        """See `Retriever.similar_items`."""
        queries = [
            Query(-1, items[place : place + 1], ONE, exclude=exclude, allowed=allowed if allowed.size else None)
            for place, (exclude, allowed) in enumerate(without_own(items, filters))
        ]
        return self.retrieve_batch(queries, k)


def without_own(items: NDArray[np.int32], filters: Sequence[Filter] | None) -> list[Filter]:
    """The filters of `items`, one for each, which also exclude the item itself."""
    given = [NO_FILTER] * items.size if filters is None else filters
    return [
        (np.union1d(exclude, item).astype(np.int32), allowed)
        for item, (exclude, allowed) in zip(items[:, None], given, strict=True)
    ]

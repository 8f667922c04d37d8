"""Items like an item, for retrievers that compare items by vectors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from multirecall.lists import RankedBatch
from multirecall.protocols import Retriever
from multirecall.query import Filter
from multirecall.vector_index import VectorIndex

from .._similar import without_own
from .kinds import build_index, index_settings


class SimilarVectors(Retriever):
    """Gives a retriever with an index `similar_items`: by the cosine of two vectors, whatever a user is compared by.

    A long vector has a large inner product with all others, so that by inner products every item would be like the
    same few. Where the index does not compare by cosine, every vector is scored.
    """

    _index: VectorIndex

    def similar_items(
        self, items: NDArray[np.int32], k: int, filters: Sequence[Filter] | None = None
    ) -> RankedBatch | None:
        """See `Retriever.similar_items`."""
        index = self._by_cosine
        vectors = index.vectors_of(items)
        known = np.flatnonzero(vectors.any(axis=1))
        own = without_own(items, filters)
        found = index.search_batch(vectors[known], k, [own[place] for place in known.tolist()])
        return found if known.size == items.size else RankedBatch.empty(items.size).replace(known, found)

    @cached_property
    def _by_cosine(self) -> VectorIndex:
        if self._index.space == "cosine":
            return self._index
        exact = index_settings({"kind": "exact"})
        return build_index(*self._index.item_vectors(), "cosine", exact, rng=np.random.default_rng(0))

"""Items like an item, for retrievers that compare items by vectors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from copy import copy
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.lists import RankedBatch
from multirecall.protocols import Retriever
from multirecall.query import Filter
from multirecall.vector_index import Space, VectorIndex

from .._shard import Shard
from .._similar import without_own
from .kinds import build_index, index_settings
from .scan import prepare_rows
from .shard import ShardIndex


def kept_vectors(vectors: NDArray[np.float32], space: Space) -> NDArray[np.float32]:
    """Vectors, float32 (n, dim), as an index of this space keeps them: at length 1 in `cosine`."""
    return prepare_rows(vectors, np.arange(len(vectors)), True)[0] if space == "cosine" else vectors


class SimilarVectors(Retriever):
    """Gives a retriever with an index `similar_items`: by the cosine of two vectors, whatever a user is compared by.

    A long vector has a large inner product with all others, so that by inner products every item would be like the
    same few. Where the index does not compare by cosine, every vector is scored.

    The index of a part has the vectors of its own items. Those of all items, which an item or a history is compared by,
    a part has beside it.
    """

    _index: VectorIndex
    config: Any

    def similar_items(
        self, items: NDArray[np.int32], k: int, filters: Sequence[Filter] | None = None
    ) -> RankedBatch | None:
        """See `Retriever.similar_items`."""
        index = self._by_cosine
        vectors = self._item_vectors_of(items)
        if self._index.space != "cosine":
            vectors = kept_vectors(vectors, "cosine")
        known = np.flatnonzero(vectors.any(axis=1))
        own = without_own(items, filters)
        found = index.search_batch(vectors[known], k, [own[place] for place in known.tolist()])
        return found if known.size == items.size else RankedBatch.empty(items.size).replace(known, found)

    def _item_vectors_of(self, items: NDArray[np.int32]) -> NDArray[np.float32]:
        """The vectors of any items as the index of the whole keeps them, float32 (n, dim); zeros if there is none."""
        return (
            self._all_item_vectors_of(items) if isinstance(self._index, ShardIndex) else self._index.vectors_of(items)
        )

    @abstractmethod
    def _all_item_vectors_of(self, items: NDArray[np.int32]) -> NDArray[np.float32]:
        """`_item_vectors_of` in a part, whose index has its own items only."""

    def _with_part_of_index(self, shard: Shard) -> Self:
        """A copy whose index has the items of `shard` only."""
        path = copy(self)
        path.__dict__.pop("_by_cosine", None)
        path._index = ShardIndex.of(self._index, shard, self.config.index, self.config.threads)
        return path

    @cached_property
    def _by_cosine(self) -> VectorIndex:
        if self._index.space == "cosine":
            return self._index
        exact = index_settings({"kind": "exact"})
        return build_index(*self._index.item_vectors(), "cosine", exact, rng=np.random.default_rng(0))

"""The index of one shard: the vectors of its items."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multirecall.lists import RankedBatch, RankedList
from multirecall.progress import SILENT, Progress
from multirecall.query import Filter
from multirecall.topk import ALL_ALLOWED, NO_ROWS
from multirecall.vector_index import INDEXES, IndexConfig, Space, VectorIndex

from .._shard import Shard
from .base import StoredIndex

OWN = "own"
"""The folder of the index, beside that of the shard."""


class ShardIndex(VectorIndex):
    """An index that takes the vectors of a shard's items only. It is asked as any other.

    Args:
        own: the index of these.
        shard: the items.
    """

    def __init__(self, own: VectorIndex, shard: Shard) -> None:
        self.own = own
        self.shard = shard

    @classmethod
    def of(cls, index: VectorIndex, shard: Shard, settings: IndexConfig, threads: int) -> Self:
        """The part of `index`, which was built with these settings, that has the items of `shard`."""
        if isinstance(index, StoredIndex):
            return cls(index.of_rows(shard.rows), shard)
        rows, vectors = index.item_vectors()
        kept = shard.has(rows)
        options: dict[str, Any] = {"seed": 0, "asked": None, "threads": threads, "progress": SILENT}
        return cls(type(index).build(rows[kept], vectors[kept], index.space, settings, **options), shard)

    @property
    def space(self) -> Space:
        """See `VectorIndex.space`."""
        return self.own.space

    @property
    def dim(self) -> int:
        """See `VectorIndex.dim`."""
        return self.own.dim

    def __len__(self) -> int:
        return len(self.own)

    @classmethod
    def build(
        cls,
        rows: NDArray[np.int32],
        vectors: ArrayLike,
        space: Space,
        settings: Any,
        *,
        seed: int,
        asked: ArrayLike | None,
        threads: int,
        progress: Progress,
    ) -> Self:
        """It is no kind of its own: `of` takes it from another one."""
        raise TypeError("a shard's index is the part of another one")

    def search(
        self,
        vector: ArrayLike,
        k: int,
        exclude: NDArray[np.int32] = NO_ROWS,
        allowed: NDArray[np.bool_] = ALL_ALLOWED,
    ) -> RankedList:
        """See `VectorIndex.search`."""
        return self.own.search(vector, k, exclude, allowed)

    def with_effort(self, effort: float) -> ShardIndex:
        """See `VectorIndex.with_effort`."""
        own = self.own.with_effort(effort)
        return self if own is self.own else ShardIndex(own, self.shard)

    def add(self, rows: NDArray[np.int32], vectors: ArrayLike) -> ShardIndex:
        """See `VectorIndex.add`; the vectors of other shards are passed over."""
        kept = self.shard.has(rows)
        given = np.asarray(vectors)[kept]
        return ShardIndex(self.own.add(rows[kept], given), self.shard) if kept.any() else self

    def remove(self, rows: NDArray[np.int32]) -> ShardIndex:
        """See `VectorIndex.remove`."""
        return ShardIndex(self.own.remove(rows), self.shard)

    def item_vectors(self) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """See `VectorIndex.item_vectors`."""
        return self.own.item_vectors()

    @property
    def memory_bytes(self) -> int:
        """See `VectorIndex.memory_bytes`."""
        return self.own.memory_bytes

    def vectors_of(self, rows: NDArray[np.int32]) -> NDArray[np.float32]:
        """See `VectorIndex.vectors_of`."""
        return self.own.vectors_of(rows)

    def save(self, folder: Path) -> None:
        """See `VectorIndex.save`."""
        self.own.save(folder / OWN)
        self.shard.save(folder)

    @classmethod
    def load(cls, folder: Path, settings: Any, *, threads: int, verify: bool) -> Self:
        """See `VectorIndex.load`; `settings` are those of the index that it is a part of."""
        own = INDEXES.load(settings.kind).load(folder / OWN, settings, threads=threads, verify=verify)
        return cls(own, Shard.load(folder))

    def _search_batch(self, vectors: NDArray[Any], k: int, filters: Sequence[Filter]) -> RankedBatch:
        return self.own.search_batch(vectors, k, filters)

"""The items of one shard of an engine, for retrievers that can be split (`Retriever.part`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from multirecall.kernels import Array, kernel
from multirecall.lists import RankedList
from multirecall.query import Filter
from multirecall.storage import read_component, write_component
from multirecall.topk import NO_ROWS

FOLDER = "shard"
"""The folder, below that of a retriever, which only a part has."""


@dataclass(frozen=True, slots=True)
class Shard:
    """The item rows that a part of a retriever proposes: some of those at the split, and all that joined later.

    They have places `0 … count(n_items) - 1`, in their order, so that what is stored by item can be stored by place.

    Attributes:
        rows: int32 (n,), ascending, the rows below `n_items` that are the shard's own.
        n_items: the number of items at the split.
    """

    rows: NDArray[np.int32]
    n_items: int

    def count(self, n_items: int) -> int:
        """How many of the first `n_items` rows, at least as many as at the split, are its own."""
        return self.rows.size + n_items - self.n_items

    def among(self, n_items: int) -> NDArray[np.int32]:
        """Its own of the first `n_items` rows, int32, ascending."""
        return np.concatenate([self.rows, np.arange(self.n_items, n_items, dtype=np.int32)])

    def has(self, items: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Which of `items`, int32 (n,), are its own, bool (n,)."""
        own: NDArray[np.bool_] = self.places(items) >= 0
        return own

    def places(self, items: NDArray[np.int32]) -> NDArray[np.int32]:
        """The place of each of `items`, int32 (n,), -1 for those of other shards."""
        places: NDArray[np.int32] = _places(items, self.rows, self.n_items)
        return places

    def items(self, places: NDArray[np.int32]) -> NDArray[np.int32]:
        """The item rows at `places`, int32 (n,)."""
        known = places < self.rows.size
        rows = places - np.int32(self.rows.size - self.n_items)
        rows[known] = self.rows[places[known]]
        return rows

    def localise(self, one: Filter) -> Filter:
        """A filter over item rows as one over places."""
        exclude, allowed = one
        places = self.places(exclude)
        return places[places >= 0], allowed[self.among(allowed.size)] if allowed.size else allowed

    def cut(self, ranked: RankedList) -> RankedList:
        """The entries of a list that are its own."""
        kept = self.has(ranked.items)
        return RankedList(ranked.items[kept], ranked.scores[kept])

    def save(self, folder: Path) -> None:
        """Write it below the folder of its retriever; the whole writes nothing."""
        if self.n_items:
            write_component(folder / FOLDER, {"rows": self.rows}, {"n_items": self.n_items})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote below the folder of a retriever."""
        if not (folder / FOLDER).exists():
            return cls(NO_ROWS, 0)
        arrays, meta = read_component(folder / FOLDER)
        return cls(arrays["rows"], meta["n_items"])


@kernel
def place_of(item: int, rows: Array, n_items: int) -> int:
    """The place of an item in the shard that has `rows` of `n_items`, -1 if it belongs to another one."""
    if item >= n_items:
        return item - n_items + rows.size
    place = int(np.searchsorted(rows, item))
    return place if place < rows.size and rows[place] == item else -1


@kernel
def _places(items: Array, rows: Array, n_items: int) -> Array:
    places = np.empty(items.size, np.int32)
    for position in range(items.size):
        places[position] = place_of(items[position], rows, n_items)
    return places


WHOLE = Shard(NO_ROWS, 0)
"""No split has been made, so that every row is one that joined later, and is its own place."""

NONE = Shard(NO_ROWS, 2**31 - 1)
"""A shard to which no item belongs."""

"""The base of adapters whose models are vectors of items and of users."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Changes, Dataset
from multirecall.errors import CannotFit
from multirecall.lists import RankedBatch, RankedList
from multirecall.progress import Progress
from multirecall.query import Query
from multirecall.storage import read_component, write_component
from multirecall.vector_index import Space, VectorIndex

from .._index.kinds import build_index, load_index
from .._index.similar import SimilarVectors, kept_vectors
from .._queries import N_QUERIES
from .._shard import Shard
from ._by_id import VectorsById, positions_of

_log = logging.getLogger("multirecall.retrievers")


class VectorPath(SimilarVectors):
    """Scores an item by its vector and the user's, which another system has computed.

    A subclass reads the vectors (`_read`), and says what is asked for a user without one (`_fold_in`). Its config has
    the settings of an `index`, and `threads`.
    """

    inline = True
    filters = True
    live = frozenset({"interactions", "items", "removals"})
    _items: VectorsById
    _users: VectorsById | None
    _item_positions: NDArray[np.int32]
    """Where each item row finds its vector, int32 (n_items,); -1: it has none."""
    _user_positions: NDArray[np.int32]
    """The same for each user row, int32 (n_users,)."""
    _index: VectorIndex

    @abstractmethod
    def _read(self, data: Dataset) -> tuple[VectorsById, VectorsById | None, str]:
        """The vectors of items and of users, and the name of their file; raises `DataError`."""

    @property
    @abstractmethod
    def _space(self) -> Space:
        """How an item is scored."""

    @abstractmethod
    def _fold_in(self, queries: Sequence[Query]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The vectors that the histories of users give, float32 (n, dim), and whether there is one; at least one user.

        It is asked for users who have no vector of their own. A model that has vectors of nobody may give several for
        each user, float32 (n, V, dim).
        """

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Read the files and build the index.

        Raises:
            DataError: a file is missing or breaks a rule of its format.
            CannotFit: no vector is that of an item of the catalogue.
        """
        self._items, self._users, file = self._read(data)
        self._map_rows(data)
        rows = np.flatnonzero(self._item_positions >= 0).astype(np.int32)
        if not rows.size:
            raise CannotFit(
                f"{file}: has no vector of an item of the catalogue; let its ids be those of the log, "
                "or leave the path out"
            )
        n_unknown = len(self._items.ids) - rows.size
        _log.info(
            "%s: vectors of %s of %s items; %s more ids are no items of the catalogue so far",
            *(file, f"{rows.size:,}", f"{data.n_items:,}", f"{n_unknown:,}"),
        )
        users = None if self._users is None else self._users.vectors
        self._index = build_index(
            rows,
            self._items.vectors[self._item_positions[rows]],
            self._space,
            self.config.index,
            rng=rng,
            asked=None if users is None else users[:: max(1, len(users) // N_QUERIES)],
            threads=self.config.threads,
            progress=progress,
        )

    def _map_rows(self, data: Dataset) -> None:
        self._item_positions = positions_of(data.items.ids, self._items.ids)
        self._user_positions = (
            np.full(data.n_users, -1, np.int32)
            if self._users is None
            else positions_of(data.users.ids, self._users.ids)
        )

    def retrieve(self, query: Query, quota: int) -> RankedList:
        """See `Retriever.retrieve`."""
        vectors, is_known = self._vectors_of([query])
        if not is_known[0]:
            return RankedList.empty()
        asked = vectors[0].reshape(-1, self._index.dim)
        return self._index.with_effort(query.effort).search_any(asked, quota, *query.filter)

    def retrieve_batch(self, queries: Sequence[Query], quota: int) -> RankedBatch:
        """See `Retriever.retrieve_batch`: all users are searched for together."""
        if not queries:
            return RankedBatch.empty(0)
        vectors, is_known = self._vectors_of(queries)
        known = np.flatnonzero(is_known)
        each = vectors[known].reshape(known.size, -1, self._index.dim)
        found = self._index.search_any_batch(each, quota, [queries[place].filter for place in known.tolist()])
        return found if known.size == len(queries) else RankedBatch.empty(len(queries)).replace(known, found)

    def _vectors_of(self, queries: Sequence[Query]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The vector of each user, float32 (n, dim), their own or that of their history, and whether there is one."""
        if self._users is None:
            return self._fold_in(queries)
        rows = np.array([query.user for query in queries])
        positions = np.where(rows < 0, -1, self._user_positions[rows])
        is_known = positions >= 0
        vectors = np.zeros((len(queries), self._items.vectors.shape[1]), np.float32)
        vectors[is_known] = self._users.vectors[positions[is_known]]
        others = np.flatnonzero(~is_known)
        if others.size:
            vectors[others], is_known[others] = self._fold_in([queries[place] for place in others.tolist()])
        return vectors, is_known

    def with_changes(self, changes: Changes) -> Self:
        """See `Retriever.with_changes`; the cost is that of the new ids, or of all users where one is forgotten."""
        items, users = changes.data.items.ids, changes.data.users.ids
        n_items, n_users = self._item_positions.size, self._user_positions.size
        if (len(items), len(users)) == (n_items, n_users) and not changes.forgotten.size:
            return self
        path = copy(self)
        path._take_items(positions_of(items, self._items.ids, n_items))
        if self._users is None:
            path._user_positions = np.full(len(users), -1, np.int32)
            return path
        known = changes.forgotten[changes.forgotten < n_users]
        gone = self._user_positions[known]
        if (gone >= 0).any():
            path._users = self._users.without(gone[gone >= 0])
            path._user_positions = positions_of(users, path._users.ids)
        else:
            joined = positions_of(users, self._users.ids, n_users)
            path._user_positions = np.concatenate([self._user_positions, joined])
        return path

    def _take_items(self, joined: NDArray[np.int32]) -> None:
        """Add item rows behind the present ones, at these positions, int32 (n,); in place."""
        n_known = self._item_positions.size
        new = np.flatnonzero(joined >= 0)
        if new.size:
            self.__dict__.pop("_by_cosine", None)  # what `SimilarVectors` keeps of the former index
            self._index = self._index.add((n_known + new).astype(np.int32), self._items.vectors[joined[new]])
        self._item_positions = np.concatenate([self._item_positions, joined])

    def item_vectors(self) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """See `Retriever.item_vectors`."""
        return self._index.item_vectors()

    def part(self, rows: NDArray[np.int32]) -> Self:
        """See `Retriever.part`; all that was read from the files is there in each part."""
        return self._with_part_of_index(Shard(rows, self._item_positions.size))

    def _all_item_vectors_of(self, items: NDArray[np.int32]) -> NDArray[np.float32]:
        positions = self._item_positions[items]
        vectors = np.where(positions[:, None] < 0, np.float32(0), self._items.vectors[positions])
        return kept_vectors(vectors, self._space)

    def save(self, folder: Path) -> None:
        """See `Retriever.save`."""
        self._items.save(folder / "items")
        if self._users is not None:
            self._users.save(folder / "users")
        self._index.save(folder / "index")
        write_component(folder / "rows", {}, {"n_items": self._item_positions.size})

    @classmethod
    def load(cls, config: Any, folder: Path, data: Dataset) -> Self:
        """See `Retriever.load`; the files that the fit has read are not needed."""
        path = cls(config)
        path._items = VectorsById.load(folder / "items")
        path._users = VectorsById.load(folder / "users") if (folder / "users").exists() else None
        path._index = load_index(folder / "index", config.index, threads=config.threads, verify=False)
        path._map_rows(data)
        n_known = read_component(folder / "rows")[1]["n_items"]
        joined = path._item_positions[n_known:]
        path._item_positions = path._item_positions[:n_known]
        path._take_items(joined)
        return path

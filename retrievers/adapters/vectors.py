"""Vectors: item and user vectors of any model, from files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from multirecall.data import Changes, Dataset
from multirecall.errors import CannotFit, DataError
from multirecall.lists import RankedBatch, RankedList
from multirecall.progress import Progress
from multirecall.protocols import PluginConfig, Retriever, ThreadedConfig
from multirecall.query import Query
from multirecall.storage import read_component, write_component
from multirecall.validation import Positive
from multirecall.vector_index import Space, VectorIndex

from .._index.kinds import IndexSettings, build_index, index_settings, load_index
from .._queries import N_QUERIES
from ._by_id import VectorsById, mean_vectors, positions_of
from ._tables import NPY, read_vectors

_log = logging.getLogger("multirecall.retrievers")


class VectorsConfig(ThreadedConfig):
    """Settings of `vectors`."""

    items: str
    """File with the item vectors: parquet with columns `item_id, vector`, the vector a list of numbers; or npy of shape
    (n, dim). A relative path starts at the working directory. Every fit and refit reads the file; serving does not
    need it. Changes results."""

    item_ids: str | None = None
    """File whose column `item_id` names the rows of `items`, in their order; needed for npy, and only there. Changes
    results."""

    users: str | None = None
    """File with the user vectors, as `items`, with a column `user_id`; None: no user has a vector. Changes results."""

    user_ids: str | None = None
    """File whose column `user_id` names the rows of `users`; needed for npy, and only there. Changes results."""

    space: Space = "inner_product"
    """How an item is scored: `inner_product` or `cosine` of its vector and the user's, or `l2`, the negative squared
    distance. Changes results."""

    without_vector: Literal["history", "nothing"] = "history"
    """What is asked for a user without a vector, such as a visitor: `history`, the mean vector of the items of their
    history; `nothing`, so that the path proposes nothing. Changes results."""

    half_life: Positive | None = 20.0
    """Number of newer items after which the weight of an item in that mean is halved; None: equal weights. Changes
    results."""

    index: IndexSettings = Field(default_factory=index_settings)
    """Settings of the index over the item vectors."""

    @model_validator(mode="after")
    def _npy_has_ids(self) -> Self:
        for key, file, ids_key, ids in (
            ("items", self.items, "item_ids", self.item_ids),
            ("users", self.users, "user_ids", self.user_ids),
        ):
            if file is not None and file.endswith(NPY) and ids is None:
                raise ValueError(f"{key} is npy, which holds no ids; name the file with them in {ids_key}")
            if ids is not None and not (file or "").endswith(NPY):
                raise ValueError(f"{ids_key} is given, but {key} is no npy file; leave {ids_key} out")
        return self

    @model_validator(mode="after")
    def _somebody_has_a_vector(self) -> Self:
        if self.users is None and self.without_vector == "nothing":
            raise ValueError("without_vector is 'nothing', but no user has a vector; name a file in users")
        return self


class StoredVectors(Retriever):
    """Scores an item by its vector and the user's, both of which another system has computed.

    A user without a vector is asked for with the mean vector of their history, weighted by recency.

    Live: an item or user that joins and has a vector in the files of the fit is served at once; histories count at
    once. The vector of a user who is removed is forgotten.
    """

    Config: ClassVar[type[PluginConfig]] = VectorsConfig
    inline = True
    filters = True
    live = frozenset({"interactions", "items", "removals"})
    config: VectorsConfig
    _items: VectorsById
    _users: VectorsById | None
    _item_positions: NDArray[np.int32]
    """Where each item row finds its vector, int32 (n_items,); -1: it has none."""
    _user_positions: NDArray[np.int32]
    """The same for each user row, int32 (n_users,)."""
    _index: VectorIndex

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Read the files and build the index.

        Raises:
            DataError: a file is missing or breaks a rule of its format; see `read_vectors`.
            CannotFit: no vector is that of an item of the catalogue.
        """
        config = self.config
        self._items = VectorsById.of(*read_vectors(config.items, config.item_ids, "item_id", data, "items"), "item")
        self._users = self._read_users(data)
        self._map_rows(data)
        rows = np.flatnonzero(self._item_positions >= 0).astype(np.int32)
        if not rows.size:
            raise CannotFit(
                f"{config.items}: has no vector of an item of the catalogue; let its ids be those of the log, "
                "or leave the path out"
            )
        n_unknown = len(self._items.ids) - rows.size
        _log.info(
            "%s: vectors of %s of %s items; %s more ids are no items of the catalogue so far",
            *(config.items, f"{rows.size:,}", f"{data.n_items:,}", f"{n_unknown:,}"),
        )
        users = None if self._users is None else self._users.vectors
        self._index = build_index(
            rows,
            self._items.vectors[self._item_positions[rows]],
            config.space,
            config.index,
            rng=rng,
            asked=None if users is None else users[:: max(1, len(users) // N_QUERIES)],
            threads=config.threads,
            progress=progress,
        )

    def _read_users(self, data: Dataset) -> VectorsById | None:
        config = self.config
        if config.users is None:
            return None
        ids, vectors = read_vectors(config.users, config.user_ids, "user_id", data, "users")
        if vectors.shape[1] != self._items.vectors.shape[1]:
            raise DataError(
                f"{config.users}: vectors have {vectors.shape[1]} numbers, those of {config.items} have "
                f"{self._items.vectors.shape[1]}; write both with one model"
            )
        return VectorsById.of(ids, vectors, "user")

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
        return self._index.search(vectors[0], quota, *query.filter) if is_known[0] else RankedList.empty()

    def retrieve_batch(self, queries: Sequence[Query], quota: int) -> RankedBatch:
        """See `Retriever.retrieve_batch`: all users are searched for together."""
        if not queries:
            return RankedBatch.empty(0)
        vectors, is_known = self._vectors_of(queries)
        known = np.flatnonzero(is_known)
        found = self._index.search_batch(vectors[known], quota, [queries[place].filter for place in known.tolist()])
        return found if known.size == len(queries) else RankedBatch.empty(len(queries)).replace(known, found)

    def _vectors_of(self, queries: Sequence[Query]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The vector of each user, float32 (n, dim), their own or that of their history, and whether there is one."""
        rows = np.array([query.user for query in queries])
        positions = np.where(rows < 0, -1, self._user_positions[rows])
        is_known = positions >= 0
        vectors = np.zeros((len(queries), self._items.vectors.shape[1]), np.float32)
        if self._users is not None:
            vectors[is_known] = self._users.vectors[positions[is_known]]
        others = np.flatnonzero(~is_known)
        if others.size and self.config.without_vector == "history":
            asked = [queries[place] for place in others.tolist()]
            found = mean_vectors(asked, self.config.half_life, self._item_positions, self._items.vectors)
            vectors[others], is_known[others] = found
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
            self._index = self._index.add((n_known + new).astype(np.int32), self._items.vectors[joined[new]])
        self._item_positions = np.concatenate([self._item_positions, joined])

    def item_vectors(self) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """See `Retriever.item_vectors`."""
        return self._index.item_vectors()

    def save(self, folder: Path) -> None:
        """See `Retriever.save`."""
        self._items.save(folder / "items")
        if self._users is not None:
            self._users.save(folder / "users")
        self._index.save(folder / "index")
        write_component(folder / "rows", {}, {"n_items": self._item_positions.size})

    @classmethod
    def load(cls, config: VectorsConfig, folder: Path, data: Dataset) -> Self:
        """See `Retriever.load`; the files that the fit has read are not needed."""
        path = cls(config)
        path._items = VectorsById.load(folder / "items")
        path._users = VectorsById.load(folder / "users") if config.users is not None else None
        path._index = load_index(folder / "index", config.index, threads=config.threads, verify=False)
        path._map_rows(data)
        n_known = read_component(folder / "rows")[1]["n_items"]
        joined = path._item_positions[n_known:]
        path._item_positions = path._item_positions[:n_known]
        path._take_items(joined)
        return path

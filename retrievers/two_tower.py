"""Two towers: a network over users and one over items, whose vectors meet in an index."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Changes, Dataset
from multirecall.lists import RankedList
from multirecall.progress import Progress
from multirecall.protocols import Retriever
from multirecall.query import Query
from multirecall.storage import read_component, write_component

from ._index.base import VectorIndex
from ._index.kinds import build_index, load_index
from ._sampled import sampled_queries
from ._text.cold_start import ColdRule, with_cold_items
from ._towers.config import TwoTowerConfig
from ._towers.data import TrainingData
from ._towers.mlp import Vectors
from ._towers.pooling import user_input
from ._towers.tower import Tower
from ._vector_table import VectorTable

N_SIMILAR = 10
"""Items of like features whose mean embedding an item has that no training history held."""


class TwoTower(Retriever):
    """Scores an item by the cosine of its vector to the user's, both from trained networks (Yi et al., RecSys 2019).

    The user tower reads the user's features and the newest history, so that visitors and new events count at once;
    the item tower reads id and features, so that an item without interactions has a vector as well. Both are trained
    to tell the item that a user chose next from others: with the defaults by softmax over the batch's items and
    uniformly drawn ones, corrected by the log of how likely each was drawn (see `_losses`).

    A request runs no torch: the user tower is a gather and a few small products, then comes the vector index.

    Live: new items and new features count at once; the towers, and what an id alone says, stay as fitted, so that an
    item that joined is its features, and users who joined are their features and history.
    """

    Config: ClassVar[type[TwoTowerConfig]] = TwoTowerConfig
    inline = True
    filters = True
    live = frozenset({"items"})
    config: TwoTowerConfig
    recalls: list[float]
    """Recall@100 on held-out events after each epoch of the fit; empty where none were held out."""
    _users: Tower
    _items: Tower
    _history: VectorTable
    _cold: ColdRule
    _known: NDArray[np.bool_]
    _index: VectorIndex

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Train both towers and index the items. Memory: about four times that of all embeddings, and a batch's."""
        from ._towers.training import trained

        training = TrainingData.of(data, self.config, rng)
        towers = trained(training, self.config, rng, progress)
        self._users = Tower(training.user_profile, towers.tables["users"], towers.user_net)
        self._items = Tower(training.item_profile, towers.tables["items"], towers.item_net)
        history, self._cold = with_cold_items(towers.tables["history"], data, N_SIMILAR, training.in_histories())
        self._history, self._known = VectorTable.of(history), training.chosen()
        self.recalls = towers.recalls
        rows = np.arange(data.n_items, dtype=np.int32)
        self._index = build_index(
            rows,
            towers.vectors,
            "cosine",
            self.config.index,
            rng=rng,
            asked=[self.user_vector(query) for query in sampled_queries(data)],
            threads=self.config.threads,
            progress=progress,
        )

    def with_changes(self, changes: Changes) -> Self:
        """See `Retriever.with_changes`."""
        if not changes.touched.size:
            return self
        items, rows = changes.data.items, self._cold.unlearnt(changes.touched)
        path = type(self)(self.config)
        path._users, path._items, path.recalls = self._users, self._items, self.recalls
        path._cold, path._known = self._cold, self._known
        path._history = self._history.with_rows(rows, self._cold.vectors(items, rows, self._history))
        known = np.append(self._known, False)[np.minimum(changes.touched, self._known.size)]
        ids = np.where(known, changes.touched, -1).tolist()
        values = [items.values(row) for row in changes.touched.tolist()]
        vectors = [self.item_vector(*item) for item in zip(ids, values, strict=True)]
        path._index = self._index.add(changes.touched, np.array(vectors, np.float32).reshape(-1, self._index.dim))
        return path

    def retrieve(self, query: Query, quota: int) -> RankedList:
        """See `Retriever.retrieve`."""
        return self._index.search(self.user_vector(query), quota, *query.filter)

    def user_vector(self, query: Query) -> Vectors:
        """The user's unit vector, float32 (dim,)."""
        tokens, weights = self._users.profile.tokens(query.user, query.features)
        newest = slice(-self.config.history, None)
        places, table = self._history.located(query.history[newest])
        inputs = user_input(
            tokens,
            weights,
            self._users.table,
            places,
            query.weights[newest],
            query.ordered,
            np.array(self.config.half_lives),
            table,
        )
        return self._users.net(inputs)

    def item_vector(self, row: int, values: Mapping[str, Any]) -> Vectors:
        """The unit vector of an item with these feature values, float32 (dim,); row -1: one that the fit did not have.

        The tower of ids and features alone, as the fit put it into the index.
        """
        tokens, weights = self._items.profile.tokens(row, values)
        return self._items.net(weights @ self._items.table[tokens])

    def item_vectors(self) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """See `Retriever.item_vectors`."""
        return self._index.item_vectors()

    def save(self, folder: Path) -> None:
        """See `Retriever.save`."""
        self._users.save(folder / "users")
        self._items.save(folder / "items")
        write_component(folder, {"history": self._history.whole(), "known": self._known}, {"recalls": self.recalls})
        self._cold.save(folder / "cold")
        self._index.save(folder / "index")

    @classmethod
    def load(cls, config: Any, folder: Path, data: Dataset) -> Self:
        """See `Retriever.load`."""
        path = cls(config)
        path._users = Tower.load(folder / "users", config.activation)
        path._items = Tower.load(folder / "items", config.activation)
        arrays, meta = read_component(folder)
        path._history, path._known, path.recalls = VectorTable.of(arrays["history"]), arrays["known"], meta["recalls"]
        path._cold = ColdRule.load(folder / "cold")
        path._index = load_index(folder / "index", config.index, threads=config.threads)
        return path

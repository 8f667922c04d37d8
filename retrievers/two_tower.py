"""Two towers: a network over users and one over items, whose vectors meet in an index."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from multirecall.data import Dataset
from multirecall.lists import RankedList
from multirecall.progress import Progress
from multirecall.protocols import Retriever
from multirecall.query import Query
from multirecall.storage import read_component, write_component

from ._cold import with_cold_items
from ._index import VectorIndex, build_index, load_index
from ._mlp import Vectors
from ._pooling import user_input
from ._tower import Tower
from ._two_tower_config import TwoTowerConfig
from ._two_tower_data import TrainingData

N_SIMILAR = 10
"""Items of like features whose mean embedding an item has that no training history held."""


class TwoTower(Retriever):
    """Scores an item by the cosine of its vector to the user's, both from trained networks (Yi et al., RecSys 2019).

    The user tower reads the user's features and the newest history, so that visitors and new events count at once;
    the item tower reads id and features, so that an item without interactions has a vector as well. Both are trained
    to tell the item that a user chose next from others: with the defaults by softmax over the batch's items and
    uniformly drawn ones, corrected by the log of how likely each was drawn (see `_losses`).

    A request runs no torch: the user tower is a gather and a few small products, then comes the vector index.
    """

    Config: ClassVar[type[TwoTowerConfig]] = TwoTowerConfig
    inline = True
    filters = True
    config: TwoTowerConfig
    recalls: list[float]
    """Recall@100 on held-out events after each epoch of the fit; empty where none were held out."""
    _users: Tower
    _items: Tower
    _history: Vectors
    _index: VectorIndex

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Train both towers and index the items. Memory: about four times that of all embeddings, and a batch's."""
        from ._two_tower_training import trained

        training = TrainingData.of(data, self.config, rng)
        towers = trained(training, self.config, rng, progress)
        self._users = Tower(training.user_profile, towers.tables["users"], towers.user_net)
        self._items = Tower(training.item_profile, towers.tables["items"], towers.item_net)
        self._history = with_cold_items(towers.tables["history"], data, N_SIMILAR, training.in_histories())
        self.recalls = towers.recalls
        rows = np.arange(data.n_items, dtype=np.int32)
        self._index = build_index(
            rows, towers.vectors, "cosine", self.config.index, rng=rng, threads=self.config.threads, progress=progress
        )

    def retrieve(self, query: Query, quota: int) -> RankedList:
        """See `Retriever.retrieve`."""
        return self._index.search(self.user_vector(query), quota, *query.filter)

    def user_vector(self, query: Query) -> Vectors:
        """The user's unit vector, float32 (dim,)."""
        tokens, weights = self._users.profile.tokens(query.user, query.features)
        newest = slice(-self.config.history, None)
        inputs = user_input(
            tokens,
            weights,
            self._users.table,
            query.history[newest],
            query.weights[newest],
            query.ordered,
            np.array(self.config.half_lives),
            self._history,
        )
        return self._users.net(inputs)

    def item_vector(self, row: int, values: Mapping[str, Any]) -> Vectors:
        """The unit vector of an item with these feature values, float32 (dim,); row -1: one that the fit did not have.

        The tower of ids and features alone, as the fit put it into the index.
        """
        tokens, weights = self._items.profile.tokens(row, values)
        return self._items.net(weights @ self._items.table[tokens])

    def save(self, folder: Path) -> None:
        """See `Retriever.save`."""
        self._users.save(folder / "users")
        self._items.save(folder / "items")
        write_component(folder, {"history": self._history}, {"recalls": self.recalls})
        self._index.save(folder / "index")

    @classmethod
    def load(cls, config: Any, folder: Path, data: Dataset) -> Self:
        """See `Retriever.load`."""
        path = cls(config)
        path._users = Tower.load(folder / "users", config.activation)
        path._items = Tower.load(folder / "items", config.activation)
        arrays, meta = read_component(folder)
        path._history, path.recalls = arrays["history"], meta["recalls"]
        path._index = load_index(folder / "index", config.index, threads=config.threads)
        return path

"""Two towers: a network over users and one over items, whose vectors meet in an index."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Dataset
from multirecall.lists import RankedList
from multirecall.progress import Progress
from multirecall.protocols import Retriever
from multirecall.query import Query
from multirecall.storage import read_component, write_component

from ._cold import with_cold_items
from ._fields import Profile
from ._index import VectorIndex, build_index, load_index
from ._mlp import Mlp, Vectors
from ._pooling import user_input
from ._two_tower_config import TwoTowerConfig
from ._two_tower_data import TrainingData

N_SIMILAR = 10
"""Items of like features whose mean embedding an item without interactions has in histories."""


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
    _profile: Profile
    _tokens: Vectors
    _history: Vectors
    _half_lives: NDArray[np.float64]
    _net: Mlp
    _index: VectorIndex

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Train both towers and index the items. Memory: about four times that of all embeddings, and a batch's."""
        from ._two_tower_training import trained

        training = TrainingData.of(data, self.config, rng)
        towers = trained(training, self.config, rng, progress)
        self._profile = training.user_profile
        self._tokens = towers.tables["users"]
        self._history = with_cold_items(towers.tables["history"], data, N_SIMILAR)
        self._net, self.recalls = towers.user_net, towers.recalls
        rows = np.arange(data.n_items, dtype=np.int32)
        self._index = build_index(
            rows, towers.vectors, "cosine", self.config.index, rng=rng, threads=self.config.threads, progress=progress
        )

    def retrieve(self, query: Query, quota: int) -> RankedList:
        """See `Retriever.retrieve`."""
        return self._index.search(self.user_vector(query), quota, *query.filter)

    def user_vector(self, query: Query) -> Vectors:
        """The user's unit vector, float32 (dim,)."""
        tokens, weights = self._profile.tokens(query.user, query.features)
        newest = slice(-self.config.history, None)
        inputs = user_input(
            tokens,
            weights,
            self._tokens,
            query.history[newest],
            query.weights[newest],
            query.ordered,
            np.array(self.config.half_lives),
            self._history,
        )
        return self._net(inputs)

    def save(self, folder: Path) -> None:
        """See `Retriever.save`."""
        profile = {"profile": self._profile.meta(), "recalls": self.recalls}
        write_component(folder, {"tokens": self._tokens, "history": self._history}, profile)
        write_component(folder / "categories", self._profile.arrays(), {})
        write_component(folder / "net", self._net.arrays(), {})
        self._index.save(folder / "index")

    @classmethod
    def load(cls, config: Any, folder: Path, data: Dataset) -> Self:
        """See `Retriever.load`."""
        path = cls(config)
        arrays, meta = read_component(folder)
        path._tokens, path._history, path.recalls = arrays["tokens"], arrays["history"], meta["recalls"]
        path._profile = Profile.of_meta(meta["profile"], read_component(folder / "categories")[0])
        path._net = Mlp.of_arrays(read_component(folder / "net")[0], config.activation)
        path._index = load_index(folder / "index", config.index, threads=config.threads)
        return path

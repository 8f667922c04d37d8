"""User-to-user collaborative filtering over an inverted index."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from scipy.sparse import diags_array

from multirecall.data import Dataset
from multirecall.errors import CannotFit
from multirecall.lists import RankedList
from multirecall.progress import Progress
from multirecall.protocols import PluginConfig, Retriever
from multirecall.query import Query
from multirecall.storage import read_component, write_component
from multirecall.validation import Count, Positive

from ._gather import SparseRows, Sums
from ._neighbours import Exponent, powers
from ._recency import recent


class UserCFConfig(PluginConfig):
    """Settings of `user_cf`."""

    neighbours: Count = 500
    """Most similar users whose items are counted. Changes results and speed."""

    idf_exponent: Exponent = 0.7
    """How much a shared item counts more when few users have it; 0: all alike. Changes results."""

    user_exponent: Exponent = 0.4
    """How much the number of a neighbour's items divides. Changes results."""

    similarity_exponent: Exponent = 1.0
    """Power of a neighbour's similarity; more trusts the nearest more. Changes results."""

    target_exponent: Exponent = 0.3
    """How much the popularity of the proposed item divides; more gives rarer items. Changes results."""

    entries: Count = 50_000
    """Most entries of the index that each of a request's two steps reads: the newest items' users, and the nearest
    users' items; the first is always read. Changes results on dense logs, and bounds the time of a request."""

    half_life: Positive | None = 20.0
    """Items after which an item of the history weighs half; None: all weigh alike. Changes results."""


class UserCF(Retriever):
    """Scores an item by the similarity of the users who have it to the history.

    With `x_vi` the largest weight of user `v` on item `i`, `n_v = Σ_i x_vi`, `n_i = Σ_v x_vi`, the number of users `U`
    and of those who have an item `U_i`, `idf_i = ln(1 + U / U_i)`, the history's recency weights `h_i`, and `N` the
    `neighbours` users of largest similarity:

        sim_v = Σ_i h_i · idf_i^a · x_vi / n_v^b,    score_t = Σ_{v ∈ N} sim_v^q · x_vt / n_t^c

    User-based neighbours (Breese, Heckerman & Kadie, UAI 1998, with their inverse user frequency and case
    amplification, sections 2.3.2 and 2.3.3) on implicit data. They are found at request time in an inverted index
    from items to users; a known user is a neighbour of himself.
    """

    Config: ClassVar[type[PluginConfig]] = UserCFConfig
    inline = True
    filters = True
    config: UserCFConfig
    _users_of: SparseRows
    _items_of: SparseRows

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Build the index and its transpose. Memory: 16 bytes a pair of user and item.

        Raises:
            CannotFit: no interaction has a weight above 0.
        """
        config, matrix = self.config, data.interactions.matrix
        if not matrix.data.any():
            raise CannotFit("user_cf: no interaction weighs more than 0; raise the weights, or leave the path out")
        with progress.task("user_cf: index", 1) as advance:
            holders = np.bincount(matrix.indices, minlength=data.n_items)
            rarity = np.log1p(data.n_users / np.maximum(holders, 1)) ** config.idf_exponent
            activity = powers(matrix.sum(axis=1), -config.user_exponent)
            popularity = powers(matrix.sum(axis=0), -config.target_exponent)
            by_item = (diags_array(rarity.astype(np.float32)) @ matrix.T @ diags_array(activity)).tocsr()
            self._users_of = SparseRows.of_matrix(by_item)
            self._items_of = SparseRows.of_matrix((matrix @ diags_array(popularity)).tocsr())
            advance(1)

    def retrieve(self, query: Query, quota: int) -> RankedList:
        """See `Retriever.retrieve`."""
        config = self.config
        items, weights = recent(query, None, config.half_life)
        n_read = self._users_of.affordable(items, config.entries)
        similar = Sums(self._users_of.n_columns)
        self._users_of.add(items[:n_read], weights[:n_read], similar)
        users, similarities = similar.top(config.neighbours)
        sums = Sums(self._items_of.n_columns)
        if users.size:
            n_read = self._items_of.affordable(users, config.entries)
            shares = (similarities[:n_read] / similarities[0]) ** np.float32(config.similarity_exponent)
            self._items_of.add(users[:n_read], shares, sums)
        return sums.top_for(query, quota)

    def save(self, folder: Path) -> None:
        """See `Retriever.save`."""
        write_component(folder / "users_of", self._users_of.arrays(), {})
        write_component(folder / "items_of", self._items_of.arrays(), {})

    @classmethod
    def load(cls, config: UserCFConfig, folder: Path, data: Dataset) -> Self:
        """See `Retriever.load`."""
        path = cls(config)
        path._users_of = SparseRows.of_arrays(read_component(folder / "users_of")[0], data.n_users)
        path._items_of = SparseRows.of_arrays(read_component(folder / "items_of")[0], data.n_items)
        return path

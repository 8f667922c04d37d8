"""User-to-user collaborative filtering over an inverted index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from multirecall.data import Changes, Dataset
from multirecall.lists import RankedBatch, RankedList
from multirecall.progress import Progress
from multirecall.protocols import Answer, PluginConfig, Retriever, Trials
from multirecall.query import NO_FILTER, Query
from multirecall.storage import read_component, write_component
from multirecall.validation import AUTO, Auto, Count, Positive

from ._choice import answer_of, search
from ._neighbours.retriever import Exponent
from ._recency import recent_items_of_each
from ._shard import WHOLE, Shard
from ._sparse.patched import PatchedRows
from ._sparse.patched_sums import PatchedSums
from ._sparse.rows import SparseRows
from ._sparse.spectrum import powers
from ._weights import weight_matrix

AXES = {
    "idf_exponent": (0.0, 0.35, 0.7, 1.5, 2.0),
    "user_exponent": (0.2, 0.4, 0.6, 0.8),
    "similarity_exponent": (0.5, 1.0, 1.5, 2.0, 3.0),
    "target_exponent": (0.0, 0.15, 0.3, 0.5, 0.7),
}
STARTS = ({"idf_exponent": 1.5, "user_exponent": 0.6, "similarity_exponent": 1.0, "target_exponent": 0.5},)
"""What suits most sparse logs."""

LEAST_FADE = 1e-9
"""The decay factor below which it is multiplied into the stored weights: new weights are stored divided by it, and
float32 could not hold both in time."""


class UserCFConfig(PluginConfig):
    """Settings of `user_cf`."""

    priors: ClassVar[Mapping[str, Any]] = {
        "idf_exponent": 0.7,
        "user_exponent": 0.4,
        "similarity_exponent": 1.0,
        "target_exponent": 0.3,
    }

    neighbours: Count = 500
    """Number of most similar users whose items are counted. Changes results and speed."""

    idf_exponent: Auto[Exponent] = AUTO
    """Exponent of the inverse user frequency of a shared item; 0: all items count alike. "auto": the log chooses while
    an engine is fitted, starting from 0.7. Changes results."""

    user_exponent: Auto[Exponent] = AUTO
    """Exponent of a neighbour's sum of weights, by which their similarity is divided. "auto": the log chooses while an
    engine is fitted, starting from 0.4. Changes results."""

    similarity_exponent: Auto[Exponent] = AUTO
    """Exponent of a neighbour's similarity; a larger one gives the nearest users more weight. "auto": the log chooses
    while an engine is fitted, starting from 1. Changes results."""

    target_exponent: Auto[Exponent] = AUTO
    """Exponent of the popularity of the proposed item, by which its score is divided; a larger one gives rarer items.
    "auto": the log chooses while an engine is fitted, starting from 0.3. Changes results."""

    entries: Count = 50_000
    """Most entries of the index that a request reads in each of its two steps: the users of the newest items, and the
    items of the nearest users. The first list of each step is always read. Changes results on dense logs, and bounds
    the time of a request."""

    half_life: Positive | None = 20.0
    """Number of newer items after which the weight of an item in the history is halved; None: equal weights. Changes
    results."""


class UserCF(Retriever):
    """Scores an item by the similarity between the history and the users who have the item.

    With `x_vi` the largest weight of user `v` on item `i`, `n_v = Σ_i x_vi`, `n_i = Σ_v x_vi`, the number of users `U`
    and of those who have an item `U_i`, `idf_i = ln(1 + U / U_i)`, the history's recency weights `h_i`, and `N` the
    `neighbours` users of largest similarity:

        sim_v = Σ_i h_i · idf_i^a · x_vi / n_v^b,    score_t = Σ_{v ∈ N} sim_v^q · x_vt / n_t^c

    User-based collaborative filtering (Breese, Heckerman & Kadie, UAI 1998, with their inverse user frequency and case
    amplification, sections 2.3.2 and 2.3.3) on implicit data. A request finds its neighbours in an inverted index from
    items to users; a known user is among their own neighbours.

    Live: new events, users and items, and removed events, count at once as in a refit. A removal costs as much as a
    fit, and so does an event while a log with a half-life has one far later than all others.

    A part finds the neighbours among all users, in the index of the whole, and has of their items its own.
    """

    Config: ClassVar[type[PluginConfig]] = UserCFConfig
    inline = True
    filters = True
    live = frozenset({"interactions", "items", "removals"})
    config: UserCFConfig
    _users_of: PatchedRows
    _items_of: PatchedRows
    _user_sums: PatchedSums
    _item_sums: PatchedSums
    _activity: NDArray[np.float32]
    _popularity: NDArray[np.float32]
    _fade: float
    """The decay factor on all stored weights, since in a log with a half-life all weights shrink as time goes on."""
    _n_items_of: NDArray[np.int32] | None = None
    """In a part, the number of items of each user in the whole, int32 (n_users,): what `entries` counts."""
    _shard: Shard = WHOLE

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Build the index and its transpose. Memory: 16 bytes for each pair of user and item.

        Both hold only `x`, so that an event changes one entry in each; exponents are applied to sums.

        Raises:
            CannotFit: no interaction has a weight above 0.
        """
        matrix = weight_matrix(data, "user_cf")
        with progress.task("user_cf: indexing histories", 1, steady=False) as advance:
            self._index(matrix)
            advance(1)

    def choose_settings(self, data: Dataset, trials: Trials, *, rng: np.random.Generator, progress: Progress) -> None:
        """See `Retriever.choose_settings`; one index serves all settings."""
        indexed = type(self)(self.config)
        indexed._index(weight_matrix(data, "user_cf"))

        def answer(config: UserCFConfig) -> Answer:
            path = type(self)(config)
            path._users_of, path._items_of = indexed._users_of, indexed._items_of
            path._weigh(indexed._user_sums.base, indexed._item_sums.base, 1.0)
            return answer_of(path, trials.queries, trials.k)

        search(self.config, trials, answer, AXES, STARTS)

    def with_changes(self, changes: Changes) -> Self:
        """See `Retriever.with_changes`; O(events) and, to copy a number for each, O(users + items)."""
        data = changes.data
        shape = self._user_sums.size, self._item_sums.size
        if not (changes.users.size or changes.takes_back or changes.shifted or shape != (data.n_users, data.n_items)):
            return self
        if changes.takes_back or (changes.shifted and data.log.half_life_days is not None):
            return self._refit(data)
        fade = self._fade * changes.fading
        if fade < LEAST_FADE:
            return self._with_fade_applied(fade).with_changes(replace(changes, fading=1.0))
        n_users, n_items = data.n_users, data.n_items
        users, items, weights = _pairs(changes, fade)
        before = self._users_of.at(items, users)
        grown = ~(weights <= before)
        users, items, weights, before = users[grown], items[grown], weights[grown], before[grown]
        gains = weights.astype(np.float64) - np.nan_to_num(before)
        path = copy(self)
        path._fade = fade
        own = self._shard.has(items)
        path._items_of = self._items_of.with_entries(users[own], items[own], weights[own], n_users, n_items)
        if self._n_items_of is not None:
            path._n_items_of = np.append(self._n_items_of, np.zeros(n_users - self._n_items_of.size, np.int32))
            np.add.at(path._n_items_of, users[np.isnan(before)], 1)
        path._users_of = self._users_of.with_entries(items, users, weights, n_items, n_users)
        path._user_sums, path._activity = _add_gains(
            self._user_sums, self._activity, users, gains, n_users, -self.config.user_exponent
        )
        path._item_sums, path._popularity = _add_gains(
            self._item_sums, self._popularity, items, gains, n_items, -self.config.target_exponent
        )
        return path

    def retrieve(self, query: Query, quota: int) -> RankedList:
        """See `Retriever.retrieve`."""
        return self.retrieve_batch([query], quota)[0]

    def retrieve_batch(self, queries: Sequence[Query], quota: int) -> RankedBatch:
        """See `Retriever.retrieve_batch`: each of the two steps is one call for all users."""
        if not queries:
            return RankedBatch.empty(0)
        config = self.config
        offsets, items, weights = recent_items_of_each(queries, config.half_life)
        history = RankedBatch(offsets, items, weights * self._rarity(items))
        everyone = [NO_FILTER] * len(queries)
        similar = self._users_of.top_of_each(history, config.entries, self._activity, config.neighbours, everyone)
        lengths = similar.offsets[1:] - similar.offsets[:-1]
        nearest = similar.scores[similar.offsets[:-1][lengths > 0]]
        relative = similar.scores / np.repeat(nearest, lengths[lengths > 0])
        shares = (relative ** np.float32(config.similarity_exponent)).astype(np.float32, copy=False)
        shares *= np.float32(self._fade ** (1 - config.target_exponent))
        users = RankedBatch(similar.offsets, similar.items, shares)
        filters = [query.filter for query in queries]
        return self._items_of.top_of_each(users, config.entries, self._popularity, quota, filters, self._n_items_of)

    def part(self, rows: NDArray[np.int32]) -> Self:
        """See `Retriever.part`."""
        path = copy(self)
        path._cut(Shard(rows, self._items_of.n_columns))
        return path

    def save(self, folder: Path) -> None:
        """See `Retriever.save`."""
        write_component(folder / "users_of", self._users_of.arrays(), {})
        write_component(folder / "items_of", self._items_of.arrays(), {})
        write_component(
            folder / "sums", {"users": self._user_sums.whole(), "items": self._item_sums.whole()}, {"fade": self._fade}
        )
        if self._n_items_of is not None:
            write_component(folder / "lengths", {"items_of": self._n_items_of}, {})
        self._shard.save(folder)

    @classmethod
    def load(cls, config: UserCFConfig, folder: Path, data: Dataset) -> Self:
        """See `Retriever.load`."""
        path = cls(config)
        sums, meta = read_component(folder / "sums")
        path._users_of = PatchedRows.of_arrays(read_component(folder / "users_of")[0], sums["users"].size)
        path._items_of = PatchedRows.of_arrays(read_component(folder / "items_of")[0], sums["items"].size)
        path._weigh(sums["users"], sums["items"], meta["fade"])
        path._shard = Shard.load(folder)
        if (folder / "lengths").exists():
            path._n_items_of = read_component(folder / "lengths")[0]["items_of"]
        return path

    def _refit(self, data: Dataset) -> Self:
        """A new retriever, fitted on the whole log of `data`."""
        path = type(self)(self.config)
        path._index(data.interactions.matrix)
        if self._n_items_of is not None:
            path._cut(self._shard)
        return path

    def _cut(self, shard: Shard) -> None:
        """Leave of the items of each user those of `shard`, in place."""
        self._shard, self._n_items_of = shard, self._items_of.lengths
        self._items_of = self._items_of.with_columns(shard.among(self._items_of.n_columns))

    def _index(self, matrix: csr_array) -> None:
        self._users_of = PatchedRows.of(SparseRows.of_matrix(matrix.T.tocsr()))
        self._items_of = PatchedRows.of(SparseRows.of_matrix(matrix))
        self._weigh(self._users_of.column_sums(), self._users_of.sums(), 1.0)

    def _with_fade_applied(self, factor: float) -> Self:
        """A copy in which the decay factor is multiplied into every stored weight, and is 1 itself."""
        path = copy(self)
        path._users_of, path._items_of = self._users_of.scale(factor), self._items_of.scale(factor)
        path._weigh(path._users_of.column_sums(), path._users_of.sums(), 1.0)
        return path

    def _weigh(self, user_sums: NDArray[np.float64], item_sums: NDArray[np.float64], fade: float) -> None:
        self._fade = fade
        self._user_sums, self._item_sums = PatchedSums.of(user_sums), PatchedSums.of(item_sums)
        self._activity = powers(user_sums, -self.config.user_exponent)
        self._popularity = powers(item_sums, -self.config.target_exponent)

    def _rarity(self, items: NDArray[np.int32]) -> NDArray[np.float32]:
        """`idf_i^a` of each item, float32 (n,); computed at request time, since every new user changes it."""
        holders = np.maximum(self._users_of.lengths[items], 1)
        rarity: NDArray[np.float32] = (np.log1p(self._users_of.n_columns / holders) ** self.config.idf_exponent).astype(
            np.float32
        )
        return rarity


def _pairs(changes: Changes, fade: float) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """The users, items and largest weights, divided by `fade`, of the distinct pairs among the new events."""
    places = changes.users.astype(np.int64) << 32 | changes.items
    distinct, starts = np.unique(places, return_inverse=True)
    weights = np.zeros(distinct.size, np.float32)
    np.maximum.at(weights, starts, (changes.weights / fade).astype(np.float32))
    return (distinct >> 32).astype(np.int32), (distinct & 0xFFFFFFFF).astype(np.int32), weights


def _add_gains(
    sums: PatchedSums,
    factors: NDArray[np.float32],
    rows: NDArray[np.int32],
    gains: NDArray[np.float64],
    n_rows: int,
    exponent: float,
) -> tuple[PatchedSums, NDArray[np.float32]]:
    """`sums` with `gains` added at `rows`, and a copy of their powers `factors`, both extended to `n_rows`."""
    sums = sums.with_gains(rows, gains, n_rows)
    missing = n_rows - factors.size
    factors = np.append(factors, np.zeros(missing, np.float32)) if missing else factors.copy()
    factors[rows] = powers(sums.at(rows), exponent)
    return sums, factors

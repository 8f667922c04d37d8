"""ALS: matrix factorisation for implicit feedback; a request folds its user in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array

from multirecall.blocks import threads_of_blocks
from multirecall.data import Dataset
from multirecall.lists import RankedBatch, RankedList
from multirecall.progress import SILENT, Progress
from multirecall.protocols import Answer, PluginConfig, ThreadedConfig, Trials
from multirecall.query import Query
from multirecall.storage import read_component, write_component
from multirecall.validation import AUTO, Auto, Count, NonNegative, Positive
from multirecall.vector_index import VectorIndex

from ._als import half_step, solve_rows, weighted_gram
from ._choice import answer_of, draw_within, search
from ._index.kinds import IndexSettings, build_index, index_settings, load_index
from ._index.similar import SimilarVectors, kept_vectors
from ._queries import N_QUERIES
from ._recency import recent_items_of_each
from ._shard import Shard
from ._weights import weight_matrix

AXES = {
    "unobserved": (0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
    "regularisation": (0.3, 1.0, 3.0, 10.0, 30.0),
}

WARM_EPOCHS, EPOCHS = 4, 2
"""Rounds with the priors, from which all combinations start, and rounds of each combination, to choose settings."""

MOST_EVENTS = 1_000_000
"""Pairs of user and item that settings are chosen on, those of a random part of the users."""


class ALSConfig(ThreadedConfig):
    """Settings of `als`. Tune `unobserved` and `regularisation` first, then raise `dim`."""

    priors: ClassVar[Mapping[str, Any]] = {"unobserved": 0.03, "regularisation": 3.0}

    dim: Annotated[Count, Field(le=4_096)] = 64
    """Dimensions of the vectors; a larger value fits better with enough regularisation. Changes results."""

    epochs: Count = 15
    """Rounds of the fit; each solves for all users, then for all items. Changes results."""

    unobserved: Auto[Annotated[Positive, Field(le=1e6)]] = AUTO
    """Weight of every pair of user and item as a negative, to which pairs of the log add theirs. "auto": the log
    chooses while an engine is fitted, starting from 0.03. Changes results."""

    regularisation: Auto[Annotated[Positive, Field(le=1e6)]] = AUTO
    """L2 penalty of a vector, in units of interactions: the mean over users, and over items. "auto": the log chooses
    while an engine is fitted, starting from 3. Changes results."""

    frequency_exponent: Annotated[NonNegative, Field(le=2)] = 1.0
    """Exponent of the frequency of a user or item in its penalty: 0 gives equal penalties, 1 proportional ones. Changes
    results."""

    steps: Count = 3
    """Iterations of conjugate gradient in each solution for a user or an item. Changes results a little."""

    half_life: Positive | None = 20.0
    """Number of newer items after which the weight of an item in the history is halved; None: equal weights. Changes
    results."""

    index: IndexSettings = Field(default_factory=index_settings)
    """Settings of the index over the item vectors."""


class ALS(SimilarVectors):
    """Scores an item by the inner product of its vector and the user's, which is folded in from the history.

    With `x_ui` the largest weight of user `u` on item `i`, `n_u = Σ_i x_ui` and `n_i = Σ_u x_ui`, the vectors minimise

        Σ_ui x_ui (w_u·h_i - 1)² + α Σ_ui (w_u·h_i)² + λ (Σ_u m_u ‖w_u‖² + Σ_i m_i ‖h_i‖²)
        m_u ∝ (n_u + α n_items)^ν,    m_i ∝ (n_i + α n_users)^ν,    each 1 in the mean

    (Hu, Koren & Volinsky, ICDM 2008, "Collaborative Filtering for Implicit Feedback Datasets", equation 3, in the form
    and with the frequency-scaled penalty of Rendle et al., RecSys 2022, "Revisiting the Performance of iALS on Item
    Recommendation Benchmarks"). Each half of an epoch takes a few iterations of conjugate gradient (Takács et al.,
    RecSys 2011). A request solves for the vector of its user only, so that new events and visitors need no fit.

    Live: histories. Item vectors stay as fitted, so that new items are neither proposed nor counted.
    """

    Config: ClassVar[type[PluginConfig]] = ALSConfig
    inline = True
    filters = True
    config: ALSConfig
    _vectors: NDArray[np.float32]
    _gram: NDArray[np.float32]
    _mean_scale: float
    _index: VectorIndex

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Alternate between users and items. Memory: the log twice, and the vectors.

        Raises:
            CannotFit: no interaction has a weight above 0.
        """
        config, by_user = self.config, weight_matrix(data, "als")
        by_item = by_user.T.tocsr()
        users, items = (self._draw_vectors(n, rng) for n in by_user.shape)
        mean_scale = self._alternate(by_user, by_item, users, items, config.epochs, progress)
        warm = np.flatnonzero(by_item.sum(axis=1) > 0).astype(np.int32)
        index = build_index(
            warm,
            items[warm],
            "inner_product",
            config.index,
            rng=rng,
            asked=users[:: max(1, len(users) // N_QUERIES)],
            threads=config.threads,
            progress=progress,
        )
        self._serve(items, index, mean_scale)

    def choose_settings(self, data: Dataset, trials: Trials, *, rng: np.random.Generator, progress: Progress) -> None:
        """See `Retriever.choose_settings`; a few rounds for each combination, all from the same vectors."""
        by_user = weight_matrix(data, "als")
        by_user = by_user[np.sort(draw_within(np.arange(data.n_users), np.diff(by_user.indptr), MOST_EVENTS, rng))]
        by_item = by_user.T.tocsr()
        users, items = (self._draw_vectors(n, rng) for n in by_user.shape)
        self._alternate(by_user, by_item, users, items, WARM_EPOCHS, SILENT)
        warm = np.flatnonzero(by_item.sum(axis=1) > 0).astype(np.int32)
        exact = index_settings({"kind": "exact"})

        def answer(config: ALSConfig) -> Answer:
            path = type(self)(config)
            vectors = items.copy()
            mean_scale = path._alternate(by_user, by_item, users.copy(), vectors, EPOCHS, SILENT)
            index = build_index(
                warm, vectors[warm], "inner_product", exact, rng=rng, asked=users[:1], threads=1, progress=SILENT
            )
            path._serve(vectors, index, mean_scale)
            return answer_of(path, trials.queries, trials.k)

        search(self.config, trials, answer, AXES)

    def _draw_vectors(self, n: int, rng: np.random.Generator) -> NDArray[np.float32]:
        dim = self.config.dim
        vectors: NDArray[np.float32] = (1.0 / np.sqrt(dim) * rng.standard_normal((n, dim))).astype(np.float32)
        return vectors

    def _alternate(
        self,
        by_user: csr_array,
        by_item: csr_array,
        users: NDArray[np.float32],
        items: NDArray[np.float32],
        epochs: int,
        progress: Progress,
    ) -> float:
        """Improve the vectors of users and items, in place; return the mean scale of a user's penalty."""
        config = self.config
        user_scales, item_scales = self._scales(by_user), self._scales(by_item)
        mean_scale = float(user_scales.mean())
        sides = (
            (by_user, items, self._penalties(user_scales, mean_scale), users),
            (by_item, users, self._penalties(item_scales, float(item_scales.mean())), items),
        )
        with (
            ThreadPoolExecutor(threads_of_blocks(config.threads)) as pool,
            progress.task("als: fitting vectors, rounds", epochs) as advance,
        ):
            for _ in range(epochs):
                for matrix, fixed, penalties, solved in sides:
                    half_step(matrix, fixed, penalties, config.unobserved, solved, config.steps, pool)
                advance(1)
        return mean_scale

    def retrieve(self, query: Query, quota: int) -> RankedList:
        """See `Retriever.retrieve`."""
        users, is_known = self._fold_in([query])
        if not is_known[0]:
            return RankedList.empty()
        return self._index.with_effort(query.effort).search(users[0], quota, *query.filter)

    def retrieve_batch(self, queries: Sequence[Query], quota: int) -> RankedBatch:
        """See `Retriever.retrieve_batch`: all users are folded in, and searched for, together."""
        if not queries:
            return RankedBatch.empty(0)
        users, is_known = self._fold_in(queries)
        known = np.flatnonzero(is_known)
        found = self._index.search_batch(users[known], quota, [queries[user].filter for user in known.tolist()])
        return found if known.size == len(queries) else RankedBatch.empty(len(queries)).replace(known, found)

    def _fold_in(self, queries: Sequence[Query]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The vectors of several users, float32 (n, dim), and whether each has a history that says anything."""
        offsets, items, weights = recent_items_of_each(queries, self.config.half_life)
        own = map(slice, offsets[:-1].tolist(), offsets[1:].tolist())
        totals = np.array([weights[part].sum(dtype=np.float64) for part in own])
        penalties = self._penalties(self._scale(totals, len(self._vectors)), self._mean_scale)
        dim = self._vectors.shape[1]
        users = np.zeros((len(queries), dim), np.float32)
        solve_rows(0, len(users), offsets, items, weights, self._vectors, self._gram, penalties, 2 * dim, users)
        return users, totals > 0

    def item_vectors(self) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """See `Retriever.item_vectors`."""
        return self._index.item_vectors()

    def part(self, rows: NDArray[np.int32]) -> Self:
        """See `Retriever.part`; the vectors of all items fold a user in."""
        return self._with_part_of_index(Shard(rows, len(self._vectors)))

    def _all_item_vectors_of(self, items: NDArray[np.int32]) -> NDArray[np.float32]:
        vectors = self._vectors[np.minimum(items, len(self._vectors) - 1)]
        vectors[items >= len(self._vectors)] = 0.0
        return kept_vectors(vectors, self._index.space)

    def save(self, folder: Path) -> None:
        """See `Retriever.save`."""
        write_component(folder / "vectors", {"vectors": self._vectors}, {"mean_scale": self._mean_scale})
        self._index.save(folder / "index")

    @classmethod
    def load(cls, config: ALSConfig, folder: Path, data: Dataset) -> Self:
        """See `Retriever.load`."""
        path = cls(config)
        arrays, meta = read_component(folder / "vectors")
        index = load_index(folder / "index", config.index, threads=config.threads, verify=False)
        path._serve(arrays["vectors"], index, meta["mean_scale"])
        return path

    def _serve(self, vectors: NDArray[np.float32], index: VectorIndex, mean_scale: float) -> None:
        self._vectors, self._index, self._mean_scale = vectors, index, mean_scale
        self._gram = weighted_gram(vectors, self.config.unobserved)

    def _penalties(self, scales: NDArray[np.float64], mean_scale: float) -> NDArray[np.float32]:
        return (self.config.regularisation * scales / mean_scale).astype(np.float32)

    def _scales(self, matrix: csr_array) -> NDArray[np.float64]:
        """The penalty of each row of `matrix` by its frequency, float64 (n_rows,), before normalisation."""
        return self._scale(matrix.sum(axis=1, dtype=np.float64), matrix.shape[1])

    def _scale(self, frequencies: NDArray[np.float64], n_others: int) -> NDArray[np.float64]:
        config = self.config
        scales: NDArray[np.float64] = (frequencies + config.unobserved * n_others) ** config.frequency_exponent
        return scales

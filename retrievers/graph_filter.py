"""Graph filter: a low-pass filter of the history on the item graph."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array, diags_array

from multirecall.data import Dataset
from multirecall.lists import RankedBatch, RankedList
from multirecall.progress import SILENT, Progress
from multirecall.protocols import Answer, PluginConfig, Trials
from multirecall.topk import top_eligible
from multirecall.validation import AUTO, Auto, Count, NonNegative, Positive

from ._choice import search
from ._memory import DEFAULT_BYTES, MemoryBytes, require_memory
from ._neighbours.knn import BLOCK_BYTES, best_columns
from ._neighbours.retriever import Exponent, NeighbourRetriever
from ._recency import recent_items_of_each
from ._sparse.rows import SparseRows
from ._sparse.spectrum import n_iterated, normalised, powers, right_singular_vectors
from ._weights import weight_matrix

NEIGHBOUR_BYTES = 16
"""Peak bytes for each neighbour of each item, while the lists of all blocks are concatenated."""

AXES: dict[str, tuple[float, ...]] = {
    "dim": (64, 128, 256, 512, 1024),
    "item_exponent": (0.3, 0.5, 0.7),
    "target_exponent": (0.1, 0.3, 0.5, 0.7),
    "user_exponent": (0.0, 0.3, 0.5, 0.7),
    "first_order": (0.0, 0.3, 1.0, 3.0, 10.0),
}

LEAST_SPECTRUM = 256
"""Singular vectors that are found at once to choose settings; a narrower filter takes the first ones."""

STARTS = (
    {"dim": 256, "user_exponent": 0.0, "item_exponent": 0.3, "target_exponent": 0.3},
    {"dim": 128, "user_exponent": 0.3, "item_exponent": 0.5, "target_exponent": 0.3},
)

MOST_ASKED, MOST_SCORES = 1_500, 16_000_000
"""Requests on which the log chooses, and scores of items for all of them together: 64 MB."""


class GraphFilterConfig(PluginConfig):
    """Settings of `graph_filter`."""

    priors: ClassVar[Mapping[str, Any]] = {
        "dim": 512,
        "user_exponent": 0.3,
        "item_exponent": 0.5,
        "target_exponent": 0.5,
        "first_order": 0.0,
    }

    dim: Auto[Annotated[Count, Field(le=4_096)]] = AUTO
    """Singular vectors that pass the filter; the time of the fit grows with it. "auto": the log chooses while an engine
    is fitted, starting from 512. Changes results."""

    user_exponent: Auto[Exponent] = AUTO
    """Exponent of the sum of a user's row of the matrix, by which the row is divided. "auto": the log chooses while an
    engine is fitted, starting from 0.3. Changes results."""

    item_exponent: Auto[Exponent] = AUTO
    """Exponent of an item's popularity, by which its column and its signal in the history are divided. "auto": the log
    chooses while an engine is fitted, starting from 0.5. Changes results."""

    target_exponent: Auto[Exponent] = AUTO
    """Exponent of the popularity of the proposed item, by which its score is multiplied; a smaller one gives rarer
    items. "auto": the log chooses while an engine is fitted, starting from 0.5. Changes results."""

    first_order: Auto[Annotated[NonNegative, Field(le=1e6)]] = AUTO
    """Weight of the direct neighbours in the item graph, added to the low-pass filter; 0: none. "auto": the log chooses
    while an engine is fitted, starting from 0. Changes results."""

    iterations: Count = 3
    """Power iterations, which make the singular vectors more exact. Changes results a little."""

    neighbours: Count = 500
    """Most neighbours of each item in the filter; memory is 8 bytes for each. Changes results."""

    half_life: Positive | None = 10.0
    """Number of newer items after which the weight of an item in the history is halved; None: equal weights. Changes
    results."""

    memory_bytes: MemoryBytes = DEFAULT_BYTES
    """Most bytes of the fit beside the log: `4 · (dim + 16) · (n_users + 3 · n_items)` for the spectrum; then 16 for
    each neighbour, 4 for each entry of a vector, and two blocks of scores. A log that needs more is refused."""


class GraphFilter(NeighbourRetriever):
    """Scores an item by the history after an ideal low-pass filter on the normalised item graph.

    GF-CF (Shen et al., CIKM 2021, "How Powerful is Graph Convolution for Recommendation?", equation 9), with degree
    exponents as settings. With `X` the matrix of largest event weights, `D_U` and `D_I` its row and column sums,
    `R = D_U^-g X D_I^-a`, and `V` the leading right singular vectors of `R`:

        S[s → t] = n_s^-a · (V Vᵀ + φ RᵀR)_st · n_t^b

    summed over the history. Each item keeps only its largest entries, so that a request reads short neighbour lists.

    Live: histories. The graph and its items stay as fitted.
    """

    Config: ClassVar[type[PluginConfig]] = GraphFilterConfig
    config: GraphFilterConfig

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Compute the spectrum, then each item's largest entries: `n_items² · dim` multiplications.

        Raises:
            CannotFit: no interaction has a weight above 0, or the fit needs more than `memory_bytes`.
        """
        config, matrix, n_items = self.config, weight_matrix(data, "graph_filter"), data.n_items
        require_memory(
            self._needed(data),
            config.memory_bytes,
            f"graph_filter: the fit of {data.n_users:,} users and {n_items:,} items",
            "or lower dim or neighbours",
        )
        popularity = matrix.sum(axis=0)
        graph, item_factors = self._graph(matrix, popularity)
        target_factors = powers(popularity, config.target_exponent)
        vectors = right_singular_vectors(
            graph, config.dim, config.iterations, rng, progress, "graph_filter: finding the spectrum"
        )
        by_item = graph.T.tocsr()
        block = max(1, BLOCK_BYTES // (4 * n_items))
        parts = []
        with progress.task("graph_filter: finding neighbours", n_items) as advance:
            for start in range(0, n_items, block):
                rows = slice(start, start + block)
                scores = vectors[rows] @ vectors.T
                if config.first_order:
                    scores += np.float32(config.first_order) * (by_item[rows] @ graph).toarray()
                scores *= item_factors[rows, None]
                scores *= target_factors
                parts.append(best_columns(scores, config.neighbours))
                advance(len(scores))
        self._neighbours = SparseRows.of_parts(parts, n_items)

    def choose_settings(self, data: Dataset, trials: Trials, *, rng: np.random.Generator, progress: Progress) -> None:
        """See `Retriever.choose_settings`: one spectrum serves all settings but the exponents of users and items.

        Items are scored with all other items, not only with their neighbours, for a part of the requests.
        """
        matrix = weight_matrix(data, "graph_filter")
        popularity = matrix.sum(axis=0)
        n_asked = min(len(trials.queries), MOST_ASKED, max(1, MOST_SCORES // data.n_items))
        asked = np.linspace(0, len(trials.queries), n_asked, endpoint=False).astype(np.int64)
        queries = [trials.queries[place] for place in asked]
        offsets, items, weights = recent_items_of_each(queries, self.config.half_life)
        histories = csr_array((weights, items, offsets), shape=(n_asked, data.n_items))
        every_item = np.arange(data.n_items, dtype=np.int32)
        seed = int(rng.integers(2**32))

        @lru_cache(maxsize=2)
        def signals(user_exponent: float, item_exponent: float) -> tuple[csr_array, csr_array]:
            """The graph and the signals of all histories on it."""
            changed = self._changed({"user_exponent": user_exponent, "item_exponent": item_exponent})
            graph, factors = changed._graph(matrix, popularity)
            return graph, histories @ diags_array(factors)

        @lru_cache(maxsize=2)
        def low_pass(user_exponent: float, item_exponent: float, dim: int) -> tuple[NDArray[np.float32], ...]:
            """The singular vectors, and the signals in their space."""
            graph, inputs = signals(user_exponent, item_exponent)
            vectors = right_singular_vectors(graph, dim, 1, np.random.default_rng(seed), SILENT, "")
            return vectors, inputs @ vectors

        @lru_cache(maxsize=1)
        def linear(user_exponent: float, item_exponent: float) -> NDArray[np.float32]:
            """The signals after the linear filter."""
            graph, inputs = signals(user_exponent, item_exponent)
            filtered: NDArray[np.float32] = ((inputs @ graph.T) @ graph).toarray()
            return filtered

        def answer(config: GraphFilterConfig) -> Answer:
            return lambda places: lists_at(config, places)

        def lists_at(config: GraphFilterConfig, places: NDArray[np.int64]) -> RankedBatch:
            rows = np.flatnonzero(np.isin(asked, places))
            exponents, dim = (config.user_exponent, config.item_exponent), config.dim
            vectors, projected = low_pass(*exponents, max(dim, LEAST_SPECTRUM))
            scores = projected[rows, :dim] @ vectors[:, :dim].T
            if config.first_order:
                scores += np.float32(config.first_order) * linear(*exponents)[rows]
            scores *= powers(popularity, config.target_exponent)
            lists = []
            for place, row in zip(asked[rows].tolist(), scores, strict=True):
                best, best_scores = top_eligible(every_item, row, trials.k, *trials.queries[place].filter)
                n_above = int((best_scores > 0).sum())
                lists.append(RankedList(best[:n_above], best_scores[:n_above]))
            found = np.searchsorted(places, asked[rows])
            return RankedBatch.empty(places.size).replace(found, RankedBatch.from_lists(lists))

        dims = [dim for dim in AXES["dim"] if self._changed({"dim": dim})._needed(data) <= self.config.memory_bytes]
        search(self.config, trials, answer, {**AXES, "dim": dims}, STARTS)

    def _changed(self, values: Mapping[str, Any]) -> Self:
        """A retriever that is not fitted, with other settings."""
        return type(self)(self.config.model_copy(update=values))

    def _graph(self, matrix: csr_array, popularity: NDArray[np.float32]) -> tuple[csr_array, NDArray[np.float32]]:
        """`R`, and the factors of its items, float32 (n_items,)."""
        user_exponent, item_exponent = self.config.user_exponent, self.config.item_exponent
        return normalised(matrix, user_exponent, item_exponent), powers(popularity, -item_exponent)

    def _needed(self, data: Dataset) -> int:
        """Bytes of the fit."""
        config, n_users, n_items = self.config, data.n_users, data.n_items
        n_vectors = n_iterated(config.dim, n_users, n_items)
        spectrum = 4 * n_vectors * (n_users + 3 * n_items)
        lists = n_items * (4 * n_vectors + NEIGHBOUR_BYTES * min(config.neighbours, n_items))
        return max(spectrum, lists + 2 * min(BLOCK_BYTES, 4 * n_items**2))

"""EASE: a linear model of each item by the other items, in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from multirecall.data import Dataset
from multirecall.errors import CannotFit
from multirecall.lists import RankedBatch
from multirecall.progress import SILENT, Progress
from multirecall.protocols import Answer, PluginConfig, ThreadedConfig, Trials
from multirecall.validation import AUTO, Auto, Count, Positive

from ._choice import search
from ._memory import DEFAULT_BYTES, MemoryBytes, require_memory
from ._neighbours.retriever import NeighbourRetriever
from ._neighbours.ridge import exact_weights, gram_matrix, nearest_by_cosine, sparse_weights
from ._part import Part
from ._sparse.dense import DenseRows
from ._sparse.rows import SparseRows
from ._weights import require_weight

EXACT_BYTES = 4
"""Bytes of the exact form for each pair of items: a float32."""

SPARSE_BYTES = 24
"""Peak bytes of the sparse form for each neighbour of each item, while the matrix of weights is transposed."""

REGULARISATIONS = (10.0, 30.0, 100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0, 6400.0)

MOST_ITEMS = 2_000
"""Items, the most frequent ones, on which settings are chosen: a tenth of a second of a core for each
regularisation."""

FREQUENT, MOST_ENTRIES = 4_000, 150
"""Users of an item, in the mean of the most frequent ones, up to which the log may choose the sparse form. In denser
logs that form takes longer than the exact one, by a factor of 20 on ml-1m, and proposes worse."""


class EASEConfig(ThreadedConfig):
    """Settings of `ease`."""

    priors: ClassVar[Mapping[str, Any]] = {"form": "auto", "regularisation": 100.0}

    form: Literal["auto", "exact", "sparse"] = "auto"
    """`exact`: each item is regressed on all others. `sparse`: each item is regressed on its nearest neighbours only.
    `auto`: `exact` if that fits in `memory_bytes`, else `sparse`; where `exact` fits, the log may choose `sparse` while
    an engine is fitted. Changes results."""

    regularisation: Auto[Annotated[Positive, Field(le=1e12)]] = AUTO
    """Ridge penalty, in units of interactions: 10 to 50 suit sparse logs, 100 to 1000 dense ones. "auto": the log
    chooses while an engine is fitted, starting from 100. Changes results."""

    neighbours: Annotated[Count, Field(le=1_000)] = 100
    """Items that each item is regressed on in the sparse form; the time of the fit grows with the square. Changes
    results."""

    half_life: Positive | None = 10.0
    """Number of newer items after which the weight of an item in the history is halved; None: equal weights. Changes
    results."""

    memory_bytes: MemoryBytes = DEFAULT_BYTES
    """Most bytes of the weights: 4 for each pair of items in the exact form; 24 for each neighbour of each item during
    the fit of the sparse form, and 8 afterwards. Changes results if `form` is `auto`."""

    threads: Count = 1
    """Threads of the fit of the sparse form; the exact form has one. Changes speed only."""


class EASE(NeighbourRetriever):
    """Scores an item by a linear function of the history. Its weights predict each item from the other items.

    With `X` the users × items matrix of largest event weights and the penalty `λ` (Steck, WWW 2019,
    "Embarrassingly Shallow Autoencoders for Sparse Data", equation 8):

        B = argmin ‖X - X B‖² + λ ‖B‖²  with  diag(B) = 0;    P = (XᵀX + λI)⁻¹,  B_st = -P_st / P_tt

    The sparse form solves the same regression for each target on only the `neighbours` items of largest cosine. With
    all items as neighbours it equals the exact form. The half-life gives newer items of the history more weight.

    Live: histories. The weights, and the set of items, stay as fitted.
    """

    Config: ClassVar[type[PluginConfig]] = EASEConfig
    exact_threads = True
    config: EASEConfig

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Solve for the weights: `n_items³` operations in the exact form, `n_items · neighbours³` in the sparse one.

        Raises:
            CannotFit: the weights need more than `memory_bytes`, or no interaction has a weight above 0.
        """
        require_weight(data, "ease")
        config, n_items = self.config, data.n_items
        if self._is_exact(n_items):
            self._check(EXACT_BYTES * n_items**2, n_items, "set form to 'sparse'")
            with progress.task("ease: solving for weights", 1, steady=False) as advance:
                gram = gram_matrix(data.interactions.matrix)
                self._neighbours = DenseRows(exact_weights(gram, config.regularisation))
                advance(1)
            return
        self._check(SPARSE_BYTES * n_items * min(config.neighbours, n_items), n_items, "lower neighbours")
        matrix, threads = data.interactions.matrix, config.threads
        similar = nearest_by_cosine(matrix, config.neighbours, threads, progress)
        self._neighbours = sparse_weights(matrix, similar, config.regularisation, threads, progress)

    def choose_settings(self, data: Dataset, trials: Trials, *, rng: np.random.Generator, progress: Progress) -> None:
        """See `Retriever.choose_settings`; on the most frequent items, with one Gram matrix for all regularisations."""
        require_weight(data, "ease")
        part = Part.most_frequent(data, MOST_ITEMS)
        queries = [part.ask(query) for query in trials.queries]
        matrix = data.interactions.matrix[:, part.items]
        sparse_pays = self._is_exact(data.n_items) and _is_sparse(data)
        axes = {"form": ("sparse",) if sparse_pays else (), "regularisation": REGULARISATIONS}

        @cache
        def gram() -> NDArray[np.float32]:
            return gram_matrix(matrix)

        @cache
        def similar() -> SparseRows:
            return nearest_by_cosine(matrix, self.config.neighbours, self.config.threads, SILENT)

        def answer(config: EASEConfig) -> Answer:
            path = type(self)(config)
            try:
                if path._is_exact(data.n_items):
                    path._neighbours = DenseRows(exact_weights(gram().copy(), config.regularisation))
                else:
                    path._neighbours = sparse_weights(
                        matrix, similar(), config.regularisation, config.threads, SILENT, gram()
                    )
            except CannotFit:
                return lambda places: RankedBatch.empty(places.size)
            return part.answer_of(path, queries, trials.k)

        search(self.config, trials, answer, axes)

    def _is_exact(self, n_items: int) -> bool:
        config = self.config
        return config.form == "exact" or (config.form == "auto" and EXACT_BYTES * n_items**2 <= config.memory_bytes)

    def _check(self, needed: int, n_items: int, otherwise: str) -> None:
        require_memory(needed, self.config.memory_bytes, f"ease: the fit of {n_items:,} items", f"or {otherwise}")


def _is_sparse(data: Dataset) -> bool:
    """Whether the most frequent items have few users."""
    users = np.sort(np.bincount(data.interactions.matrix.indices, minlength=data.n_items))
    return bool(users[-FREQUENT:].mean() <= MOST_ENTRIES)

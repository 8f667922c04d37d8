"""EASE: a linear model of each item by the other items, in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from multirecall.data import Dataset
from multirecall.progress import Progress
from multirecall.protocols import PluginConfig, ThreadedConfig
from multirecall.validation import AUTO, Auto, Count, Positive

from ._memory import DEFAULT_BYTES, MemoryBytes, require_memory
from ._neighbours.retriever import NeighbourRetriever
from ._neighbours.ridge import exact_weights, sparse_weights
from ._sparse.dense import DenseRows
from ._weights import require_weight

EXACT_BYTES = 4
"""Bytes of the exact form for each pair of items: a float32."""

SPARSE_BYTES = 24
"""Peak bytes of the sparse form for each neighbour of each item, while the matrix of weights is transposed."""


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
    """Threads of the fit of the sparse form; the exact form uses those of the linear algebra library. Changes speed
    only."""


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
    config: EASEConfig

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Solve for the weights: `n_items³` operations in the exact form, `n_items · neighbours³` in the sparse one.

        Raises:
            CannotFit: the weights need more than `memory_bytes`, or no interaction has a weight above 0.
        """
        require_weight(data, "ease")
        config, n_items = self.config, data.n_items
        exact_bytes = EXACT_BYTES * n_items**2
        if config.form == "exact" or (config.form == "auto" and exact_bytes <= config.memory_bytes):
            self._check(exact_bytes, n_items, "set form to 'sparse'")
            with progress.task("ease: solving for weights", 1, steady=False) as advance:
                self._neighbours = DenseRows(exact_weights(data.interactions.matrix, config.regularisation))
                advance(1)
            return
        self._check(SPARSE_BYTES * n_items * min(config.neighbours, n_items), n_items, "lower neighbours")
        self._neighbours = sparse_weights(
            data.interactions.matrix, config.regularisation, config.neighbours, config.threads, progress
        )

    def _check(self, needed: int, n_items: int, otherwise: str) -> None:
        require_memory(needed, self.config.memory_bytes, f"ease: the fit of {n_items:,} items", f"or {otherwise}")

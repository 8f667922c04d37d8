"""Item-to-item collaborative filtering by normalised co-occurrence."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from multirecall.data import Dataset
from multirecall.progress import Progress
from multirecall.protocols import PluginConfig, ThreadedConfig
from multirecall.validation import Count, NonNegative, Positive

from ._neighbours.cooccurrence import cooccurrence_neighbours
from ._neighbours.retriever import Exponent, NeighbourRetriever


class ItemCFConfig(ThreadedConfig):
    """Settings of `item_cf`."""

    neighbours: Count = 200
    """Most neighbours kept of each item; memory is 8 bytes for each. Changes results."""

    user_exponent: Exponent = 0.5
    """How much an active user's pairs count less: 0 not at all, 1 as one vote in all. Changes results."""

    source_exponent: Exponent = 0.7
    """How much the popularity of the history's item divides. Changes results."""

    target_exponent: Exponent = 0.7
    """How much the popularity of the proposed item divides; more gives rarer items. Changes results."""

    shrinkage: Annotated[NonNegative, Field(le=1e9)] = 25.0
    """Pairs of items with fewer interactions than about this count less. Changes results."""

    half_life: Positive | None = 10.0
    """Items after which an item of the history weighs half; None: all weigh alike. 2 to 5 suit the next item,
    20 and more a long horizon. Changes results."""


class ItemCF(NeighbourRetriever):
    """Scores an item by its similarity to the items of the history, summed with recency weights.

    With `x_ui` the largest event weight of user `u` on item `i`, `n_u = Σ_i x_ui` and `n_i = Σ_u x_ui²`:

        S[s → t] = C_st / (n_s^a · n_t^b + shrinkage^(a + b)),    C_st = Σ_u x_us · x_ut / n_u^g

    with the exponents g of the user, a of the source and b of the target. An item that the history repeats
    counts once; of a user with more than 10,000 items, as many make pairs, spread evenly over their rows. Without
    shrinkage, g/a/b of 0/.5/.5 give cosine (Sarwar et al., WWW 2001), other a and b that add up to 1 the asymmetric
    cosine (Aiolli, RecSys 2013), 1/1/β is RP3β (Paudel et al., TiiS 2017), and a g above 0 damps active users as
    TF-IDF and BM25 weighting do.
    """

    Config: ClassVar[type[PluginConfig]] = ItemCFConfig
    config: ItemCFConfig

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Count co-occurrences, keep each item's best neighbours. Memory: those, and O(n_items) a thread."""
        config = self.config
        self._neighbours = cooccurrence_neighbours(
            data.interactions.matrix,
            user_exponent=config.user_exponent,
            source_exponent=config.source_exponent,
            target_exponent=config.target_exponent,
            shrinkage=config.shrinkage,
            n_neighbours=config.neighbours,
            threads=config.threads,
            progress=progress,
            task="item_cf: counting co-occurrences",
        )

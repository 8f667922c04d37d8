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
    """Most neighbours of each item; memory is 8 bytes for each. Changes results."""

    user_exponent: Exponent = 0.5
    """Discount of the pairs of active users: 0 is none; at 1, the pairs of a user together count as one vote. Changes
    results."""

    source_exponent: Exponent = 0.7
    """Exponent of the popularity of the item in the history, by which a similarity is divided. Changes results."""

    target_exponent: Exponent = 0.7
    """Exponent of the popularity of the proposed item, by which a similarity is divided; a larger one gives rarer
    items. Changes results."""

    shrinkage: Annotated[NonNegative, Field(le=1e9)] = 25.0
    """Shrinkage, in interactions: similarities of items with fewer interactions than about this are discounted. Changes
    results."""

    half_life: Positive | None = 10.0
    """Number of newer items after which the weight of an item in the history is halved; None: equal weights. 2 to 5
    suit the next item, 20 and more a long horizon. Changes results."""


class ItemCF(NeighbourRetriever):
    """Scores an item by its similarity to the items of the history, summed with recency weights.

    With `x_ui` the largest event weight of user `u` on item `i`, `n_u = Σ_i x_ui` and `n_i = Σ_u x_ui²`:

        S[s → t] = C_st / (n_s^a · n_t^b + shrinkage^(a + b)),    C_st = Σ_u x_us · x_ut / n_u^g

    with the exponents g of the user, a of the source and b of the target. A repeated item of the history counts once.
    A user with more than 10,000 items forms pairs of that many of them, spread evenly over their rows. Without
    shrinkage, g/a/b = 0/.5/.5 is the cosine (Sarwar et al., WWW 2001), other a + b = 1 the asymmetric cosine (Aiolli,
    RecSys 2013), and 1/1/β is RP3β (Paudel et al., TiiS 2017). A g above 0 discounts active users, as TF-IDF and BM25
    weighting do.
    """

    Config: ClassVar[type[PluginConfig]] = ItemCFConfig
    config: ItemCFConfig

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Count co-occurrences, keep each item's best neighbours. Memory: the neighbours, and O(n_items) a thread."""
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

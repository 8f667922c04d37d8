"""Item-to-item collaborative filtering by normalised co-occurrence."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from multirecall.data import Dataset
from multirecall.progress import Progress
from multirecall.protocols import Answer, PluginConfig, ThreadedConfig, Trials
from multirecall.validation import AUTO, Auto, Count, NonNegative, Positive

from ._choice import answer_of, asked_items, draw_within, search
from ._neighbours.cooccurrence import Cooccurrences, cooccurrence_neighbours, count_pairs
from ._neighbours.retriever import Exponent, NeighbourRetriever
from ._sparse.rows import SparseRows
from ._weights import weight_matrix

AXES: dict[str, tuple[float | None, ...]] = {
    "user_exponent": (0.0, 0.5, 1.0),
    "source_exponent": (0.1, 0.3, 0.5, 0.7, 1.0),
    "target_exponent": (0.1, 0.3, 0.5, 0.7, 1.0),
    "half_life": (2.0, 5.0, 10.0, 20.0, 50.0, None),
}
STARTS = (
    {"user_exponent": 1.0, "source_exponent": 0.7, "target_exponent": 0.3},
    {"user_exponent": 0.0, "source_exponent": 0.5, "target_exponent": 0.5},
)
"""What suits check-ins, and the cosine."""

MOST_PAIRS = 40_000_000
"""Pairs of items that are counted to choose settings: half a gigabyte for three user exponents."""


class ItemCFConfig(ThreadedConfig):
    """Settings of `item_cf`."""

    priors: ClassVar[Mapping[str, Any]] = {
        "user_exponent": 0.5,
        "source_exponent": 0.7,
        "target_exponent": 0.7,
        "half_life": 10.0,
    }

    neighbours: Count = 200
    """Most neighbours of each item; memory is 8 bytes for each. Changes results."""

    user_exponent: Auto[Exponent] = AUTO
    """Discount of the pairs of active users: 0 is none; at 1, the pairs of a user together count as one vote. "auto":
    the log chooses while an engine is fitted, starting from 0.5. Changes results."""

    source_exponent: Auto[Exponent] = AUTO
    """Exponent of the popularity of the item in the history, by which a similarity is divided. "auto": the log chooses
    while an engine is fitted, starting from 0.7. Changes results."""

    target_exponent: Auto[Exponent] = AUTO
    """Exponent of the popularity of the proposed item, by which a similarity is divided; a larger one gives rarer
    items. "auto": the log chooses while an engine is fitted, starting from 0.7. Changes results."""

    shrinkage: Annotated[NonNegative, Field(le=1e9)] = 25.0
    """Shrinkage, in interactions: similarities of items with fewer interactions than about this are discounted. Changes
    results."""

    half_life: Auto[Positive | None] = AUTO
    """Number of newer items after which the weight of an item in the history is halved; None: equal weights. 2 to 5
    suit the next item, 20 and more a long horizon. "auto": the log chooses while an engine is fitted, starting from 10.
    Changes results."""


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
    exact_threads = True
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

    def choose_settings(self, data: Dataset, trials: Trials, *, rng: np.random.Generator, progress: Progress) -> None:
        """See `Retriever.choose_settings`: each user exponent is counted once, for all item exponents."""
        matrix = weight_matrix(data, "item_cf")
        sources = draw_within(asked_items(trials.queries), count_pairs(matrix), MOST_PAIRS, rng)

        counts: dict[float, Cooccurrences] = {}

        @lru_cache(maxsize=2)
        def neighbours(user: float, source: float, target: float) -> SparseRows:
            if user not in counts:
                same_pairs = next(iter(counts.values()), None)
                counts[user] = Cooccurrences.count(matrix, sources, user, same_pairs)
            return counts[user].neighbours(source, target, self.config.shrinkage, self.config.neighbours)

        def answer(config: ItemCFConfig) -> Answer:
            path = type(self)(config)
            path._neighbours = neighbours(config.user_exponent, config.source_exponent, config.target_exponent)
            return answer_of(path, trials.queries, trials.k)

        search(self.config, trials, answer, AXES, STARTS)

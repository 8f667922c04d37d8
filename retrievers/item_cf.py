"""Item-to-item collaborative filtering by normalised co-occurrence."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from multirecall.data import Dataset
from multirecall.kernels import Array, kernel
from multirecall.progress import Progress
from multirecall.protocols import PluginConfig
from multirecall.topk import top_k
from multirecall.validation import Count, NonNegative, Positive

from ._gather import SparseRows
from ._neighbours import NeighbourRetriever

BLOCK = 256
"""Source items that one task of the fit handles."""


Exponent = Annotated[NonNegative, Field(le=3)]


class ItemCFConfig(PluginConfig):
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

    threads: Count = 1
    """Threads of the fit. Speed only."""


class ItemCF(NeighbourRetriever):
    """Scores an item by its similarity to the items of the history, summed with recency weights.

    With `x_ui` the largest event weight of user `u` on item `i`, `n_u = Σ_i x_ui` and `n_i = Σ_u x_ui²`:

        S[s → t] = C_st / (n_s^a · n_t^b + shrinkage^(a + b)),    C_st = Σ_u x_us · x_ut / n_u^g

    with the exponents g of the user, a of the source and b of the target. An item that the history repeats
    counts once. Without shrinkage, g/a/b of 0/.5/.5 give cosine (Sarwar et al., WWW 2001), other a and b that
    add up to 1 the asymmetric cosine (Aiolli, RecSys 2013), 1/1/β is RP3β (Paudel et al., TiiS 2017), and a g
    above 0 damps active users as TF-IDF and BM25 weighting do.
    """

    Config: ClassVar[type[PluginConfig]] = ItemCFConfig
    config: ItemCFConfig

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Count co-occurrences, keep each item's best neighbours. Memory: those, and O(n_items) a thread."""
        by_user = data.interactions.matrix
        by_item = by_user.tocsc()
        n_items = data.n_items
        user_sums = by_user.sum(axis=1)
        item_sums = by_user.power(2).sum(axis=0)
        arguments = (
            by_user.indptr.astype(np.int64),
            by_user.indices.astype(np.int32),
            by_user.data,
            by_item.indptr.astype(np.int64),
            by_item.indices.astype(np.int32),
            by_item.data,
            _power(user_sums, -self.config.user_exponent),
            _power(item_sums, self.config.source_exponent),
            _power(item_sums, self.config.target_exponent),
            self.config.shrinkage ** (self.config.source_exponent + self.config.target_exponent),
            self.config.neighbours,
        )
        starts = range(0, n_items, BLOCK)
        blocks = []
        with (
            ThreadPoolExecutor(self.config.threads) as pool,
            progress.task("item_cf: neighbours", n_items) as advance,
        ):
            for block in pool.map(lambda start: _neighbours(start, min(start + BLOCK, n_items), *arguments), starts):
                blocks.append(block)
                advance(block[0].size)
        self._neighbours = SparseRows.of_parts(blocks, n_items)


def _power(sums: NDArray[np.float64], exponent: float) -> NDArray[np.float32]:
    """`sums ** exponent` as float32, 0 where the sum is 0."""
    powers = np.zeros(sums.size)
    np.power(sums, exponent, out=powers, where=sums > 0)
    return powers.astype(np.float32)


@kernel
def _neighbours(
    start: int,
    stop: int,
    user_offsets: Array,
    user_items: Array,
    user_values: Array,
    item_offsets: Array,
    item_users: Array,
    item_values: Array,
    user_factors: Array,
    source_powers: Array,
    target_powers: Array,
    shrinkage: float,
    n_neighbours: int,
) -> tuple[Array, Array, Array]:
    """The best neighbours of the source items `start … stop - 1`: their counts, items and similarities."""
    n_items = item_offsets.size - 1
    sums = np.zeros(n_items, np.float32)
    touched = np.empty(n_items, np.int32)
    lengths = np.zeros(stop - start, np.int64)
    capacity = 0
    for source in range(start, stop):
        reach = 0
        for entry in range(item_offsets[source], item_offsets[source + 1]):
            user = item_users[entry]
            reach += user_offsets[user + 1] - user_offsets[user]
        capacity += min(reach, n_neighbours)
    items = np.empty(capacity, np.int32)
    scores = np.empty(capacity, np.float32)
    filled = 0
    for source in range(start, stop):
        size = 0
        for entry in range(item_offsets[source], item_offsets[source + 1]):
            user = item_users[entry]
            factor = item_values[entry] * user_factors[user]
            for pair in range(user_offsets[user], user_offsets[user + 1]):
                target = user_items[pair]
                addend = factor * user_values[pair]
                if addend > 0.0:
                    if sums[target] == 0.0:
                        touched[size] = target
                        size += 1
                    sums[target] += addend
        similarities = np.empty(size, np.float32)
        for position in range(size):
            target = touched[position]
            divisor = source_powers[source] * target_powers[target] + shrinkage
            similarities[position] = np.nan if target == source else np.float32(sums[target] / divisor)
            sums[target] = 0.0
        best, best_similarities = top_k(touched[:size], similarities, n_neighbours)
        lengths[source - start] = best.size
        items[filled : filled + best.size] = best
        scores[filled : filled + best.size] = best_similarities
        filled += best.size
    return lengths, items[:filled], scores[:filled]

"""Directed transitions: the items that tend to follow the newest items of a history."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from multirecall.csr import offsets_of
from multirecall.data import Dataset
from multirecall.kernels import Array, kernel
from multirecall.progress import SILENT, Progress
from multirecall.protocols import Answer, PluginConfig, ThreadedConfig, Trials
from multirecall.topk import top_k
from multirecall.validation import AUTO, Auto, Count, NonNegative, Positive

from ._choice import answer_of, asked_items, draw_within, search
from ._neighbours.retriever import Exponent, NeighbourRetriever, run_in_blocks
from ._sparse.rows import SparseRows
from ._sparse.spectrum import powers
from ._weights import require_order, require_weight

AXES: dict[str, tuple[float | None, ...]] = {
    "gap_decay": (0.5, 0.85, 1.0),
    "half_life": (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, None),
}

MOST_EVENTS = 2_000_000
"""Events whose followers are counted to choose settings."""


class SequenceConfig(ThreadedConfig):
    """Settings of `sequence`."""

    priors: ClassVar[Mapping[str, Any]] = {"gap_decay": 0.85, "half_life": 2.0}

    window: Annotated[Count, Field(le=1_000)] = 10
    """Largest distance, in events, between an item and one that counts as following it. Changes results, and the time
    of the fit."""

    gap_decay: Auto[Annotated[Positive, Field(le=1)]] = AUTO
    """Factor on a pair for each event between its two events; 1: all pairs of the window count alike. "auto": the log
    chooses while an engine is fitted, starting from 0.85. Changes results."""

    backward: Annotated[NonNegative, Field(le=1)] = 0.1
    """Weight of a pair in the backward direction: 0 is none, 1 the same as forward. Changes results."""

    source_exponent: Exponent = 0.3
    """Exponent of the popularity of the item in the history, by which a score is divided. Changes results."""

    target_exponent: Exponent = 0.3
    """Exponent of the popularity of the proposed item, by which a score is divided; a larger one gives rarer items.
    Changes results."""

    neighbours: Count = 500
    """Most followers of each item; memory is 8 bytes for each. Changes results."""

    half_life: Auto[Positive | None] = AUTO
    """Number of newer items after which the weight of an item in the history is halved; None: equal weights. 2 suits
    the next item, more a longer horizon. "auto": the log chooses while an engine is fitted, starting from 2. Changes
    results."""


class Sequence(NeighbourRetriever):
    """Scores an item by how often it followed the items of the history, summed with recency weights.

    With `x_p` the item and `w_p` the weight of event `p` of a user, `n_i = Σ_{x_p = i} w_p`, the window `W`, the gap
    decay `d` and the backward weight `β`:

        S[s → t] = C_st / (n_s^a · n_t^b),    C_st = F_st + β · F_ts
        F_st = Σ_users Σ_{0 < q - p ≤ W} w_p · w_q · d^(q - p - 1) · [x_p = s, x_q = t]

    A first-order Markov chain (Rendle et al., WWW 2010, equation 4, unfactorised) that also looks past the next
    event, with popularity exponents in place of its normalisation. Needs the order of events.

    Live: histories. The transitions, and the set of items, stay as fitted.
    """

    Config: ClassVar[type[PluginConfig]] = SequenceConfig
    exact_threads = True
    config: SequenceConfig

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Count transitions and keep each item's best. Memory: these, the log twice, and O(n_items) a thread.

        Raises:
            CannotFit: the log has no order, or no interaction has a weight above 0.
        """
        self._neighbours = self._count(data, None, progress)

    def choose_settings(self, data: Dataset, trials: Trials, *, rng: np.random.Generator, progress: Progress) -> None:
        """See `Retriever.choose_settings`; counts for each decay the followers of the items in the histories."""
        events = np.bincount(data.interactions.items, minlength=data.n_items)
        sources = draw_within(asked_items(trials.queries), events, MOST_EVENTS, rng)

        @lru_cache(maxsize=2)
        def neighbours(gap_decay: float) -> SparseRows:
            path = type(self)(self.config.model_copy(update={"gap_decay": gap_decay}))
            return path._count(data, sources, SILENT)

        def answer(config: SequenceConfig) -> Answer:
            path = type(self)(config)
            path._neighbours = neighbours(config.gap_decay)
            return answer_of(path, trials.queries, trials.k)

        search(self.config, trials, answer, AXES)

    def _count(self, data: Dataset, sources: NDArray[np.integer] | None, progress: Progress) -> SparseRows:
        """The followers of the items `sources`, distinct rows; None: of all."""
        log = data.interactions
        require_order(data, "sequence")
        require_weight(data, "sequence")
        config = self.config
        popularity = np.bincount(log.items, log.weights, data.n_items)
        counts = np.bincount(log.items, minlength=data.n_items)
        order = np.argsort(log.items, kind="stable")
        if sources is not None:
            asked = np.zeros(data.n_items, np.bool_)
            asked[sources] = True
            order, counts = order[asked[log.items[order]]], counts * asked
        arguments = (
            log.items,
            log.users,
            log.weights,
            order,
            offsets_of(counts),
            (config.gap_decay ** np.arange(config.window)).astype(np.float32),
            config.backward,
            powers(popularity, -config.source_exponent),
            powers(popularity, -config.target_exponent),
            config.neighbours,
        )
        task = "sequence: counting transitions"
        return run_in_blocks(_followers, arguments, data.n_items, config.threads, progress, task)


@kernel
def _followers(
    start: int,
    stop: int,
    items: Array,
    users: Array,
    weights: Array,
    order: Array,
    offsets: Array,
    decays: Array,
    backward: float,
    source_factors: Array,
    target_factors: Array,
    n_neighbours: int,
) -> tuple[Array, Array, Array]:
    """The best followers of the source items `start … stop - 1`: the number for each, the items, the scores.

    Args:
        start, stop: the source items.
        items, users, weights: the events, sorted by user and in order.
        order, offsets: the events of item `i` are `order[offsets[i]:offsets[i + 1]]`.
        decays: float32 (window,), the weight of a pair by its distance, from 1.
        backward: the weight of a pair in the backward direction.
        source_factors, target_factors: float32 (n_items,), the factors on a score by its source and target.
        n_neighbours: the largest number of followers of an item.
    """
    n_items = offsets.size - 1
    sums = np.zeros(n_items, np.float32)
    touched = np.empty(n_items, np.int32)
    lengths = np.zeros(stop - start, np.int64)
    capacity = 0
    for source in range(start, stop):
        capacity += min(2 * decays.size * (offsets[source + 1] - offsets[source]), min(n_neighbours, n_items))
    found = np.empty(capacity, np.int32)
    scores = np.empty(capacity, np.float32)
    filled = 0
    for source in range(start, stop):
        size = 0
        for entry in range(offsets[source], offsets[source + 1]):
            event = order[entry]
            for step in range(-decays.size, decays.size + 1):
                other = event + step
                if step == 0 or other < 0 or other >= items.size or users[other] != users[event]:
                    continue
                addend = weights[event] * weights[other] * decays[abs(step) - 1]
                if step < 0:
                    addend *= backward
                if addend > 0.0:
                    target = items[other]
                    if sums[target] == 0.0:
                        touched[size] = target
                        size += 1
                    sums[target] += addend
        values = np.empty(size, np.float32)
        for position in range(size):
            target = touched[position]
            values[position] = sums[target] * source_factors[source] * target_factors[target]
            sums[target] = 0.0
        best, best_scores = top_k(touched[:size], values, n_neighbours)
        lengths[source - start] = best.size
        found[filled : filled + best.size] = best
        scores[filled : filled + best.size] = best_scores
        filled += best.size
    return lengths, found[:filled], scores[:filled]

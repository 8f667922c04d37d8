"""A search over the settings that a log chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.protocols import Answer, PluginConfig, Retriever, Trials
from multirecall.query import Query

ROUNDS = 2
"""Most passes over the axes. A third one finds next to nothing."""

Rng = np.random.Generator

Values = Mapping[str, Any]
"""Settings by name."""


def search(
    prior: Any,
    trials: Trials,
    answer: Callable[[Any], Answer],
    axes: Mapping[str, Sequence[Any]],
    starts: Sequence[Values] = (),
) -> None:
    """Try the priors, then each start, then the values of one axis after another around the best found so far.

    An axis or a part of a start that is not in `trials.free` is left out, and no combination is tried twice. Without
    ties the order of values does not matter; a tie keeps what was tried first.

    Args:
        prior: the config with the priors.
        trials: where combinations are tried.
        answer: what a config answers, see `Answer`.
        axes: the values of each setting, in the order of the passes; put first what is dear to change.
        starts: combinations to begin with, where the best may be far from the priors in several settings at once.
    """
    scores: dict[PluginConfig, float] = {}

    def score(config: PluginConfig) -> float:
        if config not in scores:
            scores[config] = trials.score(config, answer(config))
        return scores[config]

    def change(config: PluginConfig, values: Values) -> PluginConfig:
        return config.model_copy(update={name: value for name, value in values.items() if name in trials.free})

    best: PluginConfig = max([prior, *(change(prior, values) for values in starts)], key=score)
    for _ in range(ROUNDS):
        before = best
        for name, values in axes.items():
            best = max([best, *(change(best, {name: value}) for value in values)], key=score)
        if best == before:
            return


def answer_of(path: Retriever, queries: Sequence[Query], k: int) -> Answer:
    """The lists, of length `k`, of a path."""
    return lambda places: path.retrieve_batch([queries[place] for place in places.tolist()], k)


def draw_within(items: NDArray[np.integer], costs: NDArray[np.number], most: float, rng: Rng) -> NDArray[np.integer]:
    """As many of `items` (rows), in random order, as together cost at most `most`; `costs` (n_items,) is by row."""
    drawn = rng.permutation(items)
    return drawn[np.cumsum(costs[drawn]) <= most]


def asked_items(queries: Sequence[Query]) -> NDArray[np.int32]:
    """The distinct items of the histories, rows, int32 (n,), ascending."""
    return np.unique(np.concatenate([query.history for query in queries]))

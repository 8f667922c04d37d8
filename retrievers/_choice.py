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

FALLS_SHORT = 0.01
"""The share of the best score by which a value falls short where the walk along an axis ends. Neighbours on an axis
differ by chance by less, and the walk goes on beyond a value that is only a little worse."""

Rng = np.random.Generator

Values = Mapping[str, Any]
"""Settings by name."""


def search(
    prior: Any,
    trials: Trials,
    answer: Callable[[Any], Answer],
    axes: Mapping[str, Sequence[Any]],
    starts: Sequence[Values] = (),
    *,
    ordered: bool = True,
) -> None:
    """Try the priors, then each start, then the values of one axis after another around the best found so far.

    The values of an axis are tried from the best outwards, on each side until one falls short of the best by
    `FALLS_SHORT`; all of them, if the axis does not hold the value of the best. An axis or a part of a start that is
    not in `trials.free` is left out, and no combination is tried twice. Without ties the order of values does not
    matter; a tie keeps what was tried first.

    Args:
        prior: the config with the priors.
        trials: where combinations are tried.
        answer: what a config answers, see `Answer`.
        axes: the values of each setting, in the order of the passes; put first what is dear to change.
        starts: combinations to begin with, where the best may be far from the priors in several settings at once.
        ordered: whether the values of each axis ascend, so that what lies beyond a bad one is worse still; otherwise
            all are tried.
    """
    scores: dict[PluginConfig, float] = {}

    def score(config: PluginConfig) -> float:
        if config not in scores:
            scores[config] = trials.score(config, answer(config))
        return scores[config]

    def change(config: PluginConfig, values: Values) -> PluginConfig:
        return config.model_copy(update={name: value for name, value in values.items() if name in trials.free})

    def walk(best: PluginConfig, name: str, values: Sequence[Any]) -> PluginConfig:
        steps = [change(best, {name: value}) for value in values]
        if not ordered or best not in steps:
            return max([best, *steps], key=score)
        place = steps.index(best)
        for side in (steps[:place][::-1], steps[place + 1 :]):
            for step in side:
                if score(step) < (1.0 - FALLS_SHORT) * score(best):
                    break
                best = max(best, step, key=score)
        return best

    best: PluginConfig = max([prior, *(change(prior, values) for values in starts)], key=score)
    for _ in range(ROUNDS):
        before = best
        for name, values in axes.items():
            best = walk(best, name, values)
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

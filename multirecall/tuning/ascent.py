"""Coordinate ascent: change one weight, quota or setting at a time, in steps that become finer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from multirecall.tuning.candidate import Candidate
from multirecall.tuning.memory import Memory
from multirecall.tuning.scorer import LEAST_GAIN, Scorer
from multirecall.tuning.space import choices, settings

STEPS = (3.0, 1.6, 1.2)
"""Factors by which a weight is raised or lowered, coarse to fine; more factors find more and need more trials."""

REJOIN = (0.1, 0.3, 1.0)
"""Weights, as factors on the largest weight, at which a gated path is tried again."""

SHARES = (0.1, 0.2, 0.4, 0.7, 1.0)
"""Quotas that are tried, as shares of the widest quota of the path."""

MOST_STARTS = 2
"""Number of strategies to climb from, best first; more find more and need more trials."""

Coordinate = Callable[[Candidate, float], Iterable[Candidate]]
"""A function from a candidate and a step to its neighbours along one coordinate."""


def search_strategies(start: Candidate, names: Iterable[str], scorer: Scorer) -> None:
    """Score every strategy of `names` under every setting with the paths of `start`, then climb from the best ones.

    The result is `scorer.best`, which is at least as good as `start`.
    """
    memory = scorer.memory
    scorer.score(start)
    firsts = []
    for name in names:
        options = (replace(start, strategy=name, params=params, quotas=memory.widths) for params in settings(name))
        firsts.append(max(map(memory.limit_quotas, options), key=scorer.score))
    for first in sorted(firsts, key=scorer.score, reverse=True)[:MOST_STARTS]:
        climb(first, scorer)


def climb(start: Candidate, scorer: Scorer) -> None:
    """Climb from `start` along every weight, setting and quota; gated paths may come back. Updates `scorer`."""
    memory, paths = scorer.memory, range(len(start.weights))
    coordinates: list[Coordinate] = [
        *(partial(_change_weight, path) for path in paths),
        _change_setting,
        *(partial(_change_quota, path, memory) for path in paths),
    ]
    _climb(start, coordinates, scorer)


def climb_weights(start: Candidate, scorer: Scorer) -> None:
    """Climb from `start` along the weights of its chosen paths only. Updates `scorer`."""
    scorer.score(start)
    _climb(start, [partial(_scale_weight, path) for path in start.chosen], scorer)


def _climb(start: Candidate, coordinates: Iterable[Coordinate], scorer: Scorer) -> None:
    current = start
    scorer.n_idle = 0
    for step in STEPS:
        gains = True
        while gains and not scorer.exhausted:
            before = current
            for beside in coordinates:
                current = max([current, *beside(current, step)], key=scorer.score)
            gains = scorer.score(current) > scorer.score(before) + LEAST_GAIN


def _scale_weight(path: int, at: Candidate, step: float) -> list[Candidate]:
    return [_with_weight(at, path, at.weights[path] * factor) for factor in (1 / step, step)]


def _change_weight(path: int, at: Candidate, step: float) -> list[Candidate]:
    if not at.weights[path]:
        return [_with_weight(at, path, weight * max(at.weights)) for weight in REJOIN]
    return [*_scale_weight(path, at, step), _with_weight(at, path, 0.0)]


def _change_setting(at: Candidate, step: float) -> list[Candidate]:
    return [
        replace(at, params={**at.params, name: value})
        for name, values in choices(at.strategy).items()
        for value in values
    ]


def _change_quota(path: int, memory: Memory, at: Candidate, step: float) -> list[Candidate]:
    if not at.weights[path]:
        return []
    quotas = (max(1, round(share * memory.widths[path])) for share in SHARES)
    moved = (replace(at, quotas=(*at.quotas[:path], quota, *at.quotas[path + 1 :])) for quota in quotas)
    return [memory.limit_quotas(one) for one in moved]


def _with_weight(at: Candidate, path: int, weight: float) -> Candidate:
    weight = min(round(weight, 4), 100.0)
    return replace(at, weights=(*at.weights[:path], weight, *at.weights[path + 1 :]))

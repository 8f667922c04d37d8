"""The decision on the second slice: the tuned fusion is kept only if its gain over simpler ones is confirmed there."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from multirecall.evaluation import Interval, history_segments, interval
from multirecall.progress import unheard
from multirecall.tuning.ascent import climb_weights
from multirecall.tuning.candidate import Candidate
from multirecall.tuning.config import TuningConfig
from multirecall.tuning.journal import Journal
from multirecall.tuning.memory import Memory
from multirecall.tuning.scorer import Scorer

Verdict = Literal["tuned", "plain", "single"]
"""The fusion to write: the tuned one, equal weights over the paths that passed the gate, or the best path alone."""

FEWEST = 100
"""Least number of users of a segment in each slice for weights of its own; with fewer, the gain is mostly noise."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The three fusions compared on one slice, by the mean metric of its users.

    Attributes:
        slice: the name of the slice.
        n_users: the number of its users.
        single: the metric of the best path alone.
        plain: the metric of equal weights over the paths that passed the gate.
        tuned: the metric of the tuned fusion.
        over_plain: the gain of the tuned over the plain fusion, paired by user.
        over_single: the gain of the tuned fusion over the best path.
        plain_over_single: the gain of the plain fusion over the best path.
    """

    slice: str
    n_users: int
    single: Interval
    plain: Interval
    tuned: Interval
    over_plain: Interval
    over_single: Interval
    plain_over_single: Interval

    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SegmentTrial:
    """Weights for the users of one segment, and their gain over the common weights on both slices."""

    name: str
    max_history: int
    weights: tuple[float, ...]
    searched: Interval
    confirmed: Interval
    kept: bool


def compare(memory: Memory, single: Candidate, plain: Candidate, tuned: Candidate, config: TuningConfig) -> Comparison:
    """Compare the three fusions on the users of `memory`."""
    alone, equal, best = (memory.values(candidate) for candidate in (single, plain, tuned))

    def bounded(values: np.typing.NDArray[np.float64]) -> Interval:
        return interval(values, config.resamples, config.level, config.seed)

    return Comparison(
        memory.split.name,
        memory.split.users.size,
        bounded(alone),
        bounded(equal),
        bounded(best),
        bounded(best - equal),
        bounded(best - alone),
        bounded(equal - alone),
    )


def choose(on: Comparison) -> Verdict:
    """Choose the fusion to keep from its comparison on the second slice.

    The tuned fusion is kept if the interval of its gain over the plain fusion is above 0 and the interval over the
    best path is not below 0. Else the plain fusion is kept, unless its interval over the best path is below 0. Else
    the best path is kept.
    """
    if on.over_plain.low > 0 and on.over_single.high > 0:
        return "tuned"
    return "plain" if on.plain_over_single.high >= 0 else "single"


def tune_segments(
    at: Candidate, search: Memory, confirm: Memory, config: TuningConfig
) -> tuple[Candidate, tuple[SegmentTrial, ...]]:
    """Search weights by history length: a copy of `at` with the confirmed segments, and all trials.

    Users are in three segments by history length. The search of a segment begins at the common weights and uses its
    users of the first slice. Its weights are kept if the interval of their gain on its users of the second slice is
    above 0. The segment of the longest histories always keeps the common weights.
    """
    trials: list[SegmentTrial] = []
    for segment in history_segments(search.lengths):
        members = [np.flatnonzero(segment.members(memory.lengths)) for memory in (search, confirm)]
        if segment.high is None or min(map(len, members)) < FEWEST or len(at.chosen) < 2:
            continue
        first, second = search.take(members[0]), confirm.take(members[1])
        scorer = Scorer(first, config, Journal(None, ""), unheard)
        climb_weights(at, scorer)
        best = scorer.best or at
        searched, confirmed = (
            interval(memory.values(best) - memory.values(at), config.resamples, config.level, config.seed)
            for memory in (first, second)
        )
        trials.append(SegmentTrial(segment.name, segment.high, best.weights, searched, confirmed, confirmed.low > 0))
    return replace(at, segments=_bounds(at, trials)), tuple(trials)


def _bounds(at: Candidate, trials: list[SegmentTrial]) -> tuple[tuple[int, tuple[float, ...]], ...]:
    """The segments in the form of the config: the bound and the weights of each, up to the last one that is kept."""
    last = max((number for number, trial in enumerate(trials) if trial.kept), default=-1)
    return tuple((trial.max_history, trial.weights if trial.kept else at.weights) for trial in trials[: last + 1])

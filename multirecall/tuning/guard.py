"""What holds up on the second slice: the simplest fusion that no better one was found for there."""

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
"""Which fusion is written: the tuned one, equal weights over the paths that passed the gate, or the best path alone."""

FEWEST = 100
"""Users of a segment, in each slice, below which no weights are learned for it."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The three fusions on one slice, by the mean metric of its users.

    Attributes:
        slice: which.
        n_users: its users.
        single, plain, tuned: the best path alone, equal weights over the paths that passed the gate, the tuned fusion.
        over_plain: gain of the tuned over the plain fusion, user by user.
        over_single: gain of the tuned fusion over the best path.
        plain_over_single: gain of the plain fusion over the best path.
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
    """Weights that were learned for the users of one segment, and their gain over the fusion for all."""

    name: str
    max_history: int
    weights: tuple[float, ...]
    searched: Interval
    confirmed: Interval
    kept: bool


def compare(memory: Memory, single: Candidate, plain: Candidate, tuned: Candidate, config: TuningConfig) -> Comparison:
    """The three fusions side by side on the users of `memory`."""
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
    """Which fusion holds up.

    The tuned one where its gain over the plain one is above 0 and it is not below the best path; else the plain
    one, unless that is below the best path; else the best path.
    """
    if on.over_plain.low > 0 and on.over_single.high > 0:
        return "tuned"
    return "plain" if on.plain_over_single.high >= 0 else "single"


def tune_segments(
    at: Candidate, search: Memory, confirm: Memory, config: TuningConfig
) -> tuple[Candidate, tuple[SegmentTrial, ...]]:
    """`at` with weights of their own for those thirds of the users, by length of history, where they hold up.

    The weights of a segment are climbed from those for all on its users of the first slice, and kept where the
    interval of their gain on its users of the second is above 0. The longest histories keep the weights for all.
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
    """The segments as the engine reads them: up to the last that is kept, each bound with its weights."""
    last = max((number for number, trial in enumerate(trials) if trial.kept), default=-1)
    return tuple((trial.max_history, trial.weights if trial.kept else at.weights) for trial in trials[: last + 1])

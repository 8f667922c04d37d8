"""The guard: what was learned is kept only if it holds up on users that it was not learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from multirecall.learning.bootstrap import Interval
from multirecall.learning.choice import PLAIN, FusionChoice
from multirecall.learning.judge import Judge, gain_by_user
from multirecall.learning.trials import Trial, compare_with_paths, path_alone, try_fixed

EQUAL: tuple[str, dict[str, Any]] = ("weighted_sum", {"normaliser": "min_max"})
"""Equal weights. They serve when nothing that is learned holds up, before `PLAIN`."""

HOLDS_UP = 0.8
"""The confidence level at which a gain holds up: its interval lies above 0. A hold-out of a few hundred users cannot
tell more, and what is learned from few requests stays near equal weights by itself."""

NOTHING = "nothing that was learned held up on the other half of the users"


@dataclass(frozen=True, slots=True)
class Fallbacks:
    """What serves when nothing that is learned holds up.

    Attributes:
        paths: every path alone.
        single: the best of them.
        equal: equal weights.
        plain: reciprocal rank fusion of all paths.
    """

    paths: tuple[Trial, ...]
    single: Trial
    equal: Trial
    plain: Trial

    @classmethod
    def of(cls, judge: Judge, weights: Sequence[float], best: str | None = None) -> Fallbacks:
        """The fallbacks for the lists of `judge`.

        Args:
            judge: what judges them.
            weights: the weights of the paths before anything is learned.
            best: the name of the path that counts as the best one alone; None: that with the best score.
        """
        names = judge.lists.names
        paths = tuple(try_fixed(name, path_alone(judge.lists, number), judge) for number, name in enumerate(names))
        single = max(paths, key=lambda path: float(path.scores.mean())) if best is None else paths[names.index(best)]
        equal, plain = (FusionChoice(*fusion, tuple(weights)) for fusion in (EQUAL, PLAIN))
        return cls(
            paths,
            single,
            try_fixed("equal weights", equal, judge),
            try_fixed("reciprocal rank fusion of all paths", plain, judge),
        )


def gain_over(trial: Trial, other: Trial, judge: Judge, level: float = 0.95) -> Interval:
    """The gain in score of one fusion over another, with its paired interval over users."""
    return gain_by_user(trial.scores - other.scores, judge.lists.owners, level=level)


def choose_trial(ranked: Sequence[Trial], fallbacks: Fallbacks, judge: Judge) -> tuple[Trial, str]:
    """The fusion to keep, and why.

    The first, in the order of `_by_precedence`, that gains over the best path alone, is no worse than equal weights,
    and is below no path at any metric and length by the interval of the difference. Else the best path alone, if it
    gains over equal weights; else equal weights, unless reciprocal rank fusion of all paths gains over them.
    """
    single, equal, plain = fallbacks.single, fallbacks.equal, fallbacks.plain
    for trial in _by_precedence(ranked, judge):
        gain = gain_over(trial, single, judge, HOLDS_UP)
        if gain.low <= 0 or trial.scores.mean() < equal.scores.mean():
            continue
        if all(cell.gain.high >= 0 for cell in compare_with_paths(trial.values, fallbacks.paths, judge)):
            where = "on users that it was not learned from"
            return trial, f"{where}, it gains {gain} over the best path alone ({HOLDS_UP:.0%} interval)"
    if gain_over(single, equal, judge, HOLDS_UP).low > 0:
        return single, f"{NOTHING}, and equal weights do worse than this path"
    if gain_over(plain, equal, judge, HOLDS_UP).low > 0:
        return plain, f"{NOTHING}, and equal weights do worse"
    return equal, NOTHING


def _by_precedence(ranked: Sequence[Trial], judge: Judge) -> list[Trial]:
    """The fusion with the most terms first, but for those whose gain over it holds up; the others best first.

    A sum of few terms is nearly a special case of a sum of many, and the prior keeps the latter near equal weights. So
    a small difference in favour of few terms says little.
    """
    if not ranked:
        return []
    richest = max(ranked, key=lambda trial: 0 if trial.form is None else len(trial.form.fusion.terms))
    better = [trial for trial in ranked if trial is not richest and gain_over(trial, richest, judge, HOLDS_UP).low > 0]
    return [
        *better,
        richest,
        *(trial for trial in ranked if trial is not richest and all(trial is not one for one in better)),
    ]

"""The second slice: what was learned is kept only if it holds up there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from multirecall.learning.choice import FusionChoice
from multirecall.learning.guard import Fallbacks, choose_trial
from multirecall.learning.judge import Judge
from multirecall.learning.learn import LearnedFusion, keep_required
from multirecall.learning.lists import KnownLists
from multirecall.learning.trials import Trial, try_fixed

Verdict = Literal["tuned", "single", "plain", "rrf"]
"""The fusion to write: the learned one, the best path alone, equal weights, or reciprocal rank fusion of all paths."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What a second slice says of a fusion that was learned on the first.

    Attributes:
        verdict: which fusion is kept.
        name: what is kept, in words.
        reason: why.
        fusions: the four fusions.
    """

    verdict: Verdict
    name: str
    reason: str
    fusions: dict[Verdict, FusionChoice]


def confirm_fusion(
    learned: LearnedFusion, lists: KnownLists, weights: Sequence[float], required: Sequence[str], k: int
) -> Confirmation:
    """Judge a fusion on the users of a second slice, by the guard of a fit.

    Args:
        learned: what was learned on the first slice, with its best path.
        lists: the lists of the second slice.
        weights: the weights of the paths before anything is learned.
        required: the names of paths that are never dropped.
        k: the number of candidates that the engine returns.
    """
    judge = Judge.of(lists, k)
    fallbacks = Fallbacks.of(judge, weights, learned.best_path)
    found = try_fixed(learned.name, learned.choice, judge)
    kept, reason = choose_trial([found], fallbacks, judge)
    trials: dict[Verdict, Trial] = {
        "tuned": found,
        "single": fallbacks.single,
        "plain": fallbacks.equal,
        "rrf": fallbacks.plain,
    }
    fusions = {
        verdict: keep_required(trial.fixed, lists.names, required)
        for verdict, trial in trials.items()
        if trial.fixed is not None
    }
    verdict = next(name for name, trial in trials.items() if trial is kept)
    return Confirmation(verdict, kept.name, reason, fusions)

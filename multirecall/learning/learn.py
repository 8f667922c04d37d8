"""Learning the fusion of an engine from lists whose answers are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from multirecall.learning.bootstrap import Interval
from multirecall.learning.choice import FusionChoice, SegmentChoice
from multirecall.learning.form import Form
from multirecall.learning.gate import GateStep, gate_paths
from multirecall.learning.guard import Fallbacks, choose_trial, gain_over
from multirecall.learning.judge import Judge, gain_by_user
from multirecall.learning.lists import KnownLists
from multirecall.learning.products import product
from multirecall.learning.segments import history_segments
from multirecall.learning.trials import (
    Cell,
    Halves,
    Trial,
    compare_with_paths,
    describe_form,
    try_fixed,
    try_form,
)
from multirecall.registry import FUSIONS, fusion_class

FEWEST_OF_SEGMENT = 100
"""Least number of requests of a segment in either half for a fusion of its own; with fewer, a gain is mostly noise."""

FAINTEST = 1e-6
"""The weight of a required path that the fusion would rather do without."""


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """How one fusion did, on users that it was not learned from.

    Attributes:
        name: what was tried, in words.
        score: its mean score; 1 is as good as the best path at every metric and length.
        over_path: its gain over the best path alone.
    """

    name: str
    score: float
    over_path: Interval


@dataclass(frozen=True, slots=True)
class SegmentOutcome:
    """The gain of a fusion of their own for users with at most `max_history` events, and whether it is kept."""

    name: str
    max_history: int
    gain: Interval
    kept: bool


@dataclass(frozen=True, slots=True)
class LearnedFusion:
    """The fusion that is kept, and why.

    Attributes:
        choice: the fusion.
        name: the fusion in words.
        reason: why it is kept.
        best_path: the name of the best path alone.
        trials: every fusion that was tried, best first.
        cells: the fusion that is kept beside the best path, at each metric and list length.
        steps: the paths that the gate looked at.
        segments: the fusions by history length that were tried.
        tuned: the best fusion of every plug-in with its coefficients learned, by what was tried.
    """

    choice: FusionChoice
    name: str
    reason: str
    best_path: str
    trials: tuple[TrialOutcome, ...]
    cells: tuple[Cell, ...]
    steps: tuple[GateStep, ...]
    segments: tuple[SegmentOutcome, ...]
    tuned: Mapping[str, FusionChoice]


def learn_fusion(
    lists: KnownLists,
    k: int,
    *,
    weights: Sequence[float],
    required: Sequence[str] = (),
    strategies: Sequence[str] = (),
    seed: int = 0,
) -> LearnedFusion:
    """Learn which paths stay, the strategy and its coefficients.

    Every fusion is learned on one half of the users and judged on the other, both ways, at several list lengths
    together; `choose_trial` says which is kept. Its coefficients are then learned from all users.

    Args:
        lists: the lists of at least two paths, and the targets.
        k: the number of candidates that the engine returns.
        weights: the weights of the paths before anything is learned, the prior.
        required: the names of paths that are never dropped.
        strategies: the fusions to try; (): all that are installed.
        seed: of the halves and of the sampled candidates.
    """
    judge, halves = Judge.of(lists, k), lists.halves(seed)
    fallbacks = Fallbacks.of(judge, weights)
    tried, steps = _try_forms(lists, judge, halves, tuple(weights), set(required), strategies, seed)
    finals = {trial.name: _final(trial, halves) for trial in tried}
    kept, reason = choose_trial(_best_first(tried), fallbacks, judge)
    segments: tuple[SegmentOutcome, ...] = ()
    if kept.form is None:
        assert kept.fixed is not None
        choice, values = kept.fixed, kept.values
    else:
        choice, segments, values = _with_segments(kept, *finals[kept.name], judge, halves)
    return LearnedFusion(
        keep_required(choice, lists.names, required),
        kept.name,
        reason,
        fallbacks.single.name,
        tuple(
            TrialOutcome(trial.name, float(trial.scores.mean()), gain_over(trial, fallbacks.single, judge))
            for trial in _best_first([*tried, fallbacks.equal, fallbacks.plain, fallbacks.single])
        ),
        compare_with_paths(values, fallbacks.paths, judge),
        tuple(steps),
        segments,
        {name: final[0] for name, final in finals.items()},
    )


def _best_first(trials: Sequence[Trial]) -> list[Trial]:
    return sorted(trials, key=lambda trial: -float(trial.scores.mean()))


def _try_forms(
    lists: KnownLists,
    judge: Judge,
    halves: Halves,
    weights: tuple[float, ...],
    required: set[str],
    strategies: Sequence[str],
    seed: int,
) -> tuple[list[Trial], list[GateStep]]:
    names = strategies or [one.name for one in FUSIONS.listings() if one.fault is None]
    tried: list[Trial] = []
    steps: list[GateStep] = []
    for strategy in names:
        plugin = fusion_class(strategy)
        for params in plugin.tried:
            name = describe_form(strategy, dict(params))
            if not plugin.terms:
                tried.append(try_fixed(name, FusionChoice(strategy, params, weights), judge))
                continue
            form, kept = Form.of(strategy, params, lists, weights, seed), np.ones(len(lists.names), np.bool_)
            if len(plugin.terms) > 1:
                gating = gate_paths(form, halves, lists.owners, required)
                kept, steps = gating.kept, list(gating.steps)
            tried.append(try_form(name, form, kept, judge, halves))
    return tried, steps


def _with_segments(
    trial: Trial, choice: FusionChoice, coefficients: NDArray[np.float64], judge: Judge, halves: Halves
) -> tuple[FusionChoice, tuple[SegmentOutcome, ...], NDArray[np.float64]]:
    """The fusion with the segments that hold up, and its values on users that nothing was learned from."""
    form = trial.form
    assert form is not None
    lists, kept = judge.lists, np.any(coefficients != 0, axis=1)
    outcomes: list[SegmentOutcome] = []
    choices: list[SegmentChoice] = []
    values = trial.values.copy()
    for segment in history_segments(lists.lengths):
        inside = segment.members(lists.lengths)
        parts = [half[inside[half]] for half in halves]
        if segment.high is None or min(map(len, parts)) < FEWEST_OF_SEGMENT:
            continue
        found = [form.learn(part, kept, own, own) for part, own in zip(parts, trial.found, strict=True)]
        own_values = values.copy()
        for own, other in zip(found, parts[::-1], strict=True):
            fused = form.choice(own).fuse(lists.take(other), judge.ks[-1])
            own_values[:, other] = judge.values(fused, other)
        gain = gain_by_user(judge.score(own_values - trial.values)[inside], lists.owners[inside])
        outcomes.append(SegmentOutcome(segment.name, segment.high, gain, gain.low > 0))
        params, weights = choice.params, choice.weights
        if gain.low > 0:
            values = own_values
            both = np.flatnonzero(inside)
            learned = form.learn(both, kept, coefficients, coefficients)
            own_choice = _calibrated(form, learned, found, parts)
            params, weights = own_choice.params, _no_less_than_asked(own_choice.weights, choice)
        choices.append(SegmentChoice(segment.high, params, weights))
    last = max((number for number, one in enumerate(outcomes) if one.kept), default=-1)
    return replace(choice, segments=tuple(choices[: last + 1])), tuple(outcomes), values


def _final(trial: Trial, halves: Halves) -> tuple[FusionChoice, NDArray[np.float64]]:
    """The fusion learned from all requests and calibrated, and its coefficients before that."""
    if trial.form is None:
        assert trial.fixed is not None
        return trial.fixed, np.empty((0, 0))
    kept = np.any([found.any(axis=1) for found in trial.found], axis=0)
    coefficients = trial.form.learn(None, kept, start=trial.found[0])
    return _calibrated(trial.form, coefficients, trial.found, halves), coefficients


def _calibrated(
    form: Form,
    coefficients: NDArray[np.float64],
    found: Sequence[NDArray[np.float64]],
    parts: Sequence[NDArray[np.int64]],
) -> FusionChoice:
    """The fusion with these coefficients, calibrated on the scores that `found` gives either part of the other."""
    requests = np.concatenate(parts[::-1])
    scores = np.concatenate(
        [
            product(form.design.take(other).terms, own.ravel().astype(np.float32))
            for own, other in zip(found, parts[::-1], strict=True)
        ]
    )
    return form.choice(*form.calibrate(coefficients, scores.astype(np.float64), requests))


def _no_less_than_asked(weights: tuple[float, ...], common: FusionChoice) -> tuple[float, ...]:
    """The weights of a segment, in which every path that is asked has one."""
    return tuple(max(weight, FAINTEST) if path in common.asked else 0.0 for path, weight in enumerate(weights))


def keep_required(choice: FusionChoice, names: Sequence[str], required: Sequence[str]) -> FusionChoice:
    """The fusion with a faint weight for each required path that it would not ask."""
    weights = tuple(
        FAINTEST if not weight and name in required else weight
        for name, weight in zip(names, choice.weights, strict=True)
    )
    return replace(choice, weights=weights)

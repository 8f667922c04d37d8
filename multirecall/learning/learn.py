"""Learning the fusion of an engine from lists whose answers are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.learning.bootstrap import Interval
from multirecall.learning.choice import FusionChoice, SegmentChoice
from multirecall.learning.form import Form
from multirecall.learning.gate import GateStep, gate_paths
from multirecall.learning.judge import Judge, gain_by_user
from multirecall.learning.lists import KnownLists
from multirecall.learning.segments import history_segments
from multirecall.learning.trials import (
    Cell,
    Halves,
    Trial,
    compare_with_paths,
    describe_form,
    path_alone,
    try_fixed,
    try_form,
)
from multirecall.registry import FUSIONS, fusion_class

EQUAL = ("weighted_sum", {"normaliser": "min_max"})
PLAIN: tuple[str, dict[str, Any]] = ("rrf", {})
"""Equal weights, and what comes after them: what serves when nothing that is learned holds up."""

HOLDS_UP = 0.8
"""The confidence level at which a gain holds up: its interval lies above 0. A hold-out of a few hundred users cannot
tell more, and what is learned from few requests stays near equal weights by itself."""

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
    together. The best one is kept if it gains over the best path alone, and loses to equal weights and to no path at
    any metric and length, by the intervals of the differences. Otherwise the best path alone is kept if it gains over
    equal weights; else equal weights, unless reciprocal rank fusion of all paths gains over them.

    Args:
        lists: the lists of at least two paths, and the targets.
        k: the number of candidates that the engine returns.
        weights: the weights of the paths before anything is learned, the prior.
        required: the names of paths that are never dropped.
        strategies: the fusions to try; (): all that are installed.
        seed: of the halves and of the sampled candidates.
    """
    judge, halves = Judge.of(lists, k), lists.halves(seed)
    everything = tuple(weights)
    paths = [try_fixed(name, path_alone(lists, number), judge) for number, name in enumerate(lists.names)]
    single = max(range(len(paths)), key=lambda path: float(paths[path].scores.mean()))
    equal = try_fixed("equal weights", FusionChoice(*EQUAL, everything), judge)
    plain = try_fixed("reciprocal rank fusion of all paths", FusionChoice(*PLAIN, everything), judge)
    tried, steps = _try_forms(lists, judge, halves, everything, set(required), strategies, seed)

    def gain(trial: Trial, over: Trial, level: float = 0.95) -> Interval:
        return gain_by_user(trial.scores - over.scores, lists.owners, level=level)

    ranked = sorted(tried, key=lambda trial: -float(trial.scores.mean()))
    kept, reason = _choose(ranked, paths[single], equal, plain, gain, paths, judge)
    segments: tuple[SegmentOutcome, ...] = ()
    if kept.form is not None:
        choice, segments, values = _finish(kept, judge, halves)
    else:
        assert kept.fixed is not None
        choice, values = kept.fixed, kept.values
    return LearnedFusion(
        _with_required(choice, lists.names, required),
        kept.name,
        reason,
        lists.names[single],
        tuple(
            TrialOutcome(trial.name, float(trial.scores.mean()), gain(trial, paths[single]))
            for trial in sorted([*tried, equal, plain, paths[single]], key=lambda trial: -float(trial.scores.mean()))
        ),
        compare_with_paths(values, paths, judge),
        tuple(steps),
        segments,
        {trial.name: _final(trial, halves)[0] for trial in tried},
    )


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


def _choose(
    ranked: Sequence[Trial],
    single: Trial,
    equal: Trial,
    plain: Trial,
    gain: Any,
    paths: Sequence[Trial],
    judge: Judge,
) -> tuple[Trial, str]:
    for trial in ranked:
        loses = [cell for cell in compare_with_paths(trial.values, paths, judge) if cell.gain.high < 0]
        if gain(trial, single, HOLDS_UP).low > 0 and gain(trial, equal, HOLDS_UP).high > 0 and not loses:
            return (
                trial,
                f"it gains {gain(trial, single)} over the best path alone, on users that it was not learned from",
            )
    if gain(single, equal, HOLDS_UP).low > 0:
        return (
            single,
            "no fusion that was learned held up on the other users, and equal weights do worse than this path",
        )
    if gain(plain, equal, HOLDS_UP).low > 0:
        return plain, "no fusion that was learned held up on the other users, and equal weights do worse"
    return equal, "no fusion that was learned held up on the other users"


def _finish(
    trial: Trial, judge: Judge, halves: Halves
) -> tuple[FusionChoice, tuple[SegmentOutcome, ...], NDArray[np.float64]]:
    """The fusion learned from all requests, with the segments that hold up, and its values on users it did not see."""
    form = trial.form
    assert form is not None
    choice, coefficients = _final(trial, halves)
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
        scores, own_values = trial.scores.copy(), values.copy()
        for own, other in zip(found, parts[::-1], strict=True):
            fused = form.choice(own).fuse(lists.take(other), judge.ks[-1])
            scores[other], own_values[:, other] = judge.score(fused, other), judge.values(fused, other)
        gain = gain_by_user((scores - trial.scores)[inside], lists.owners[inside])
        outcomes.append(SegmentOutcome(segment.name, segment.high, gain, gain.low > 0))
        params, weights = choice.params, choice.weights
        if gain.low > 0:
            values = own_values
            both = np.flatnonzero(inside)
            learned = form.learn(both, kept, coefficients, coefficients)
            own_choice = _calibrated(form, learned, found, parts)
            params, weights = own_choice.params, own_choice.weights
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
            form.design.take(other).terms @ own.ravel().astype(np.float32)
            for own, other in zip(found, parts[::-1], strict=True)
        ]
    )
    return form.choice(*form.calibrate(coefficients, scores.astype(np.float64), requests))


def _with_required(choice: FusionChoice, names: Sequence[str], required: Sequence[str]) -> FusionChoice:
    weights = tuple(
        FAINTEST if not weight and name in required else weight
        for name, weight in zip(names, choice.weights, strict=True)
    )
    return replace(choice, weights=weights)

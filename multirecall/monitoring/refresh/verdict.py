"""Comparing new settings with old ones, and with what serves, on the newest window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from multirecall.config import EngineConfig
from multirecall.data import Change
from multirecall.engine import Engine
from multirecall.errors import DataError
from multirecall.evaluation import Split, interval, split_at
from multirecall.monitoring.refresh.arms import ask_arm
from multirecall.monitoring.refresh.clock import Clock
from multirecall.monitoring.refresh.report import METRICS, ArmFigures, ArmName, Comparison, Decision
from multirecall.monitoring.refresh.settings import Guard
from multirecall.monitoring.refresh.window import before_window, choose_window, load_as_saved, require_times
from multirecall.progress import Progress

NOTHING_COMPARED = "the fit was asked for without a comparison"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the comparison has found; the attributes are those of `RefitReport`."""

    decision: Decision
    reason: str
    window: str | None = None
    n_users: int = 0
    arms: tuple[ArmFigures, ...] = ()
    comparisons: tuple[Comparison, ...] = ()


@dataclass(frozen=True, slots=True)
class Subject:
    """What is to be judged.

    Attributes:
        engine: holds all events.
        folder: its bundle.
        version: the name of the version that serves.
        changes: the live changes that this version does not hold, in order.
        settings: the settings that are compared, the new ones last. Nothing in them is left to the log that an earlier
            fit has learned and that is kept.
    """

    engine: Engine
    folder: Path
    version: str
    changes: Sequence[Change]
    settings: Mapping[ArmName, EngineConfig]


def judge(subject: Subject, guard: Guard, clock: Clock, progress: Progress) -> Verdict:
    """Fit all settings on what happened before the newest window, and compare what they find of it.

    Raises:
        DataError: the log has no timestamps, or the window has no event before it.
        CannotFit: the data cannot feed a path.
    """
    require_times(subject.engine.data)
    with clock.step("reading the served version"):
        served = load_as_saved(subject.engine, subject.folder, subject.version)
    with served:
        fitted_until = served.data.now
        assert fitted_until is not None
        data = subject.engine.data.compact()
        start = choose_window(data, fitted_until, guard.window_days)
        if start is None:
            return Verdict("undecided", f"no event is newer than those of version {subject.version}")
        fresh = fitted_until < start
        if not fresh and len(subject.settings) == 1:
            return Verdict(
                "undecided",
                f"version {subject.version} was fitted on part of the window and no other settings are given, so that "
                "there is nothing to compare; choose a shorter window",
            )
        try:
            split = split_at(data, start, seen=guard.seen)
        except DataError as fault:
            return Verdict("undecided", str(fault))
        if split.users.size < guard.fewest_users:
            return Verdict(
                "undecided",
                f"the window has {split.users.size:,} users with targets, fewer than {guard.fewest_users:,}",
                split.describe(),
                split.users.size,
            )
        found: dict[ArmName, NDArray[np.float64]] = {}
        fit_s: dict[ArmName, float] = {}
        if fresh:
            with clock.step("asking the served version"):
                served.take_changes(before_window(subject.changes, start))
                found["serving"] = ask_arm(served, split, guard.k, progress)
    for name, config in subject.settings.items():
        step = f"fitting the {name} settings before the window"
        with Engine(config) as arm:
            with clock.step(step, fit=True):
                arm.fit(split.train, progress=progress)
            fit_s[name] = clock.seconds[step]
            with clock.step(f"asking the {name} settings"):
                found[name] = ask_arm(arm, split, guard.k, progress)
    return _decide(found, fit_s, split, guard, subject.engine.config.seed)


def _decide(
    found: Mapping[ArmName, NDArray[np.float64]],
    fit_s: Mapping[ArmName, float],
    split: Split,
    guard: Guard,
    seed: int,
) -> Verdict:
    mean_of = partial(interval, level=guard.level, seed=seed)
    arms = tuple(
        ArmFigures(name, mean_of(recall), mean_of(ndcg), fit_s.get(name)) for name, (recall, ndcg) in found.items()
    )
    comparisons = tuple(
        Comparison(name, metric, mean_of(ours - theirs))
        for name, values in found.items()
        if name != "new"
        for metric, ours, theirs in zip(METRICS, found["new"], values, strict=True)
    )
    worse = [str(one) for one in comparisons if one.worse]
    decision: Decision = "kept" if worse else "published"
    reason = f"the new fit is worse: {'; '.join(worse)}" if worse else "the new fit is not worse than the others"
    return Verdict(decision, reason, split.describe(), split.users.size, arms, comparisons)

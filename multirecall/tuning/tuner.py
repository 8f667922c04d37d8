"""The tuner: learns the fusion of an engine's paths on events that no path was fitted on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from multirecall.config import EngineConfig
from multirecall.data import Dataset
from multirecall.engine import Engine
from multirecall.engine.fitting import settle_settings
from multirecall.errors import RequestError
from multirecall.evaluation import Split, SplitKind, latencies
from multirecall.learning.choice import FusionChoice
from multirecall.learning.hold_out import Goal
from multirecall.learning.learn import learn_fusion
from multirecall.learning.report import FusionReport
from multirecall.progress import SILENT, Progress
from multirecall.registry import fusion_class
from multirecall.tuning.asking import ask_paths, without_fusion
from multirecall.tuning.budget import paths_within
from multirecall.tuning.comparison import Comparison, compare
from multirecall.tuning.config import TuningConfig
from multirecall.tuning.confirming import Verdict, confirm_fusion
from multirecall.tuning.slices import natural_kind, slices

GOALS: dict[SplitKind, Goal] = {"time": "while", "user-time": "next", "last": "next"}
"""What settings are chosen for, by the split that holds out the slices."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """The result of a tuning: the config to use, and the figures behind it.

    Attributes:
        config: the starting config with the fusion that is kept, values for its "auto" settings, and the paths that
            are dropped switched off.
        report: what was learned on the search slice, with the fusion that is kept.
        verdict: which of the fusions is kept.
        kept: the fusion that is kept.
        single: the best path alone.
        plain: equal weights.
        found: the learned fusion.
        names: the names of the paths within the budget; weights of the fusions are in this order.
        ms: the median latency of each path in single requests, in milliseconds.
        searched: the comparison on the search slice, from whose users the fusion was learned.
        confirmed: the comparison on the second slice.
        settings: the settings of the tuning.
    """

    config: EngineConfig
    report: FusionReport
    verdict: Verdict
    kept: FusionChoice
    single: FusionChoice
    plain: FusionChoice
    found: FusionChoice
    names: tuple[str, ...]
    ms: dict[str, float]
    searched: Comparison
    confirmed: Comparison
    settings: TuningConfig

    def to_dict(self) -> dict[str, Any]:
        """The outcome as JSON values."""
        values = asdict(self)
        return values | {
            "config": self.config.model_dump(exclude_unset=True),
            "settings": self.settings.model_dump(),
        }


def tune(
    data: Dataset,
    config: EngineConfig | None = None,
    settings: TuningConfig | None = None,
    *,
    progress: Progress = SILENT,
) -> Tuned:
    """Learn the fusion of the paths of `config` as a fit under `strategy = "auto"` does, but on many more users.

    Each path is fitted, and its lists are retrieved once for each user of two slices (see `slices`). Paths, strategy,
    coefficients and segments are learned on the first slice. On the second one, what was learned must hold up against
    the best path alone and equal weights; otherwise one of these is kept.

    Args:
        data: the log and tables; both slices are taken from it.
        config: the paths; its fusion and segments are replaced. None: the default paths.
        settings: the settings of the tuner; None: the defaults.
        progress: receives the progress.

    Raises:
        DataError: the log cannot be split, or a slice has too few users.
        RequestError: no path is within the budget, or a path can be fitted for one slice only.
        PluginError: a strategy is unknown.
        PathError: a path fails.
    """
    config, settings = config or EngineConfig(), settings or TuningConfig()
    for name in settings.strategies:
        fusion_class(name)
    held_out = slices(data, settings)
    start = without_fusion(config)
    goal = config.fusion.goal or GOALS.get(settings.split or natural_kind(data))
    report = settle_settings(start, held_out.search.train, goal, progress)
    start = report.apply_to(start)
    engine = Engine(start).fit(held_out.search.train, progress=progress)
    search = ask_paths(engine, held_out.search, progress)
    ms = latencies(engine, held_out.search, settings.k)
    if held_out.confirm.train is not held_out.search.train:
        engine = Engine(start).fit(held_out.confirm.train, progress=progress)
    confirm = ask_paths(engine, held_out.confirm, progress)
    _check_paths(search.names, confirm.names)
    ms = {name: ms[name] for name in search.names}
    required = [path.name for path in start.paths if path.required]
    own = {path.name: path.weight for path in start.paths}
    within = paths_within(settings.budget_ms, search, ms, [own[name] for name in search.names], required, start.k)
    search, confirm = search.of_paths(within), confirm.of_paths(within)
    weights = [own[name] for name in search.names]
    with progress.task("tune: learning the fusion", 1, steady=False) as advance:
        learned = learn_fusion(
            search, start.k, weights=weights, required=required, strategies=settings.strategies, seed=settings.seed
        )
        advance(1)
    if not settings.segments:
        learned = replace(learned, choice=replace(learned.choice, segments=()), segments=())
    outcome = confirm_fusion(learned, confirm, weights, required, start.k)
    kept = replace(learned, choice=outcome.fusions[outcome.verdict], name=outcome.name, reason=outcome.reason)
    report = report.with_fusion(kept, search.names)
    report = replace(report, n_users=len(search), n_requests=len(search), dropped=_dropped(report, start, ms, settings))
    fusions = [outcome.fusions[one] for one in ("single", "plain", "tuned")]
    return Tuned(
        config=report.settle(start),
        report=report,
        verdict=outcome.verdict,
        kept=kept.choice,
        single=outcome.fusions["single"],
        plain=outcome.fusions["plain"],
        found=outcome.fusions["tuned"],
        names=search.names,
        ms=ms,
        searched=compare(held_out.search.name, search, fusions, settings),
        confirmed=compare(held_out.confirm.name, confirm, fusions, settings),
        settings=settings,
    )


def compare_on(tuned: Tuned, start: EngineConfig, split: Split, *, progress: Progress = SILENT) -> Comparison:
    """Compare the best path, equal weights and the fusion that is kept on a test split.

    `tuned` must come from `start` and the training part of `split` alone. Its paths are fitted on `split.train`.

    Raises:
        RequestError: other paths can be fitted on the training part than were tuned.
    """
    others = {path.name: "" for path in start.paths if path.name not in tuned.names}
    report = FusionReport("", settings=tuned.report.settings, dropped=others)
    engine = Engine(report.settle(without_fusion(start))).fit(split.train, progress=progress)
    lists = ask_paths(engine, split, progress)
    _check_paths(tuned.names, lists.names)
    return compare(split.name, lists, (tuned.single, tuned.plain, tuned.kept), tuned.settings)


def _check_paths(names: tuple[str, ...], others: tuple[str, ...]) -> None:
    """Refuse slices with different paths, as where a path cannot be fitted on the larger catalogue of one slice.

    Raises:
        RequestError: the paths differ.
    """
    odd = sorted({*names} ^ {*others})
    if odd:
        raise RequestError(
            f"tune: path {odd[0]!r} can be fitted on one part of the log, but not on another; name the paths in a "
            "config, without it"
        )


def _dropped(
    report: FusionReport, start: EngineConfig, ms: Mapping[str, float], settings: TuningConfig
) -> dict[str, str]:
    """Why each enabled path of `start` is not asked, by path."""
    absent = {
        path.name: f"the budget of {settings.budget_ms:g} ms" if path.name in ms else "the log cannot feed it"
        for path in start.paths
        if path.enabled and path.name not in report.weights and path.name not in report.dropped
    }
    return absent | report.dropped

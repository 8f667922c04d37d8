"""Fitting an engine: hold events out, fit every path once on the rest, learn from the events, and take them in live."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any, Literal

import numpy as np

from multirecall.config import EngineConfig, PathConfig
from multirecall.cores import Threads
from multirecall.data import Dataset
from multirecall.engine.learned import Learned
from multirecall.engine.live import apply_told
from multirecall.engine.path import Path
from multirecall.engine.path_fits import fit_seeds, fit_state
from multirecall.engine.request import Filters, read_query
from multirecall.engine.segments import UNLEARNED
from multirecall.engine.state import (
    Blueprint,
    EngineState,
    Part,
    allowed_of,
    removed_rows,
    with_learned,
)
from multirecall.engine.together import fit_threads, run_together
from multirecall.errors import CannotFit, ConfigError, MissingExtra, RequestError
from multirecall.learning.hold_out import Goal, HeldOut, hold_out
from multirecall.learning.learn import LearnedFusion, learn_fusion
from multirecall.learning.lists import KnownLists
from multirecall.learning.report import FusionReport, Seconds
from multirecall.learning.settings import SettingsOutcome, choose_settings
from multirecall.learning.spent import Spent
from multirecall.lists import RankedBatch
from multirecall.progress import Progress
from multirecall.query import Query, Where
from multirecall.topk import NO_ROWS
from multirecall.validation import AUTO

_log = logging.getLogger("multirecall.engine")

Refusion = Literal["learn", "keep"]
"""What a refit does about the fusion and the settings that the log chooses: learn them anew, or keep them."""

CHUNK = 500
"""Number of requests in one batch; more need more memory."""

NOTHING_OPEN = "there is only one path, or the config has segments, so no fusion is learned"
TOO_SMALL = "the log is too small to learn a fusion from it, so equal weights serve, or those of the config"


def fit_engine(blueprint: Blueprint, data: Dataset, progress: Progress, before: Learned | None = None) -> EngineState:
    """Fit every path, and learn what the config leaves open.

    What is held out is in the state's data at once, but only paths that take live changes know it. So no event is held
    out twice: a refit holds out other users or, after a period, nothing.

    Args:
        blueprint: the config with its plug-ins.
        data: the dataset.
        progress: receives the progress.
        before: what the fit before has learned, in a refit.

    Raises:
        CannotFit: see `Engine.fit`.
    """
    config = blueprint.config
    if config.fusion.strategy != AUTO and not _free_paths(blueprint):
        return fit_state(blueprint, data, progress)
    if before is not None and before.due:
        return _fit_as_before(blueprint, data, progress, before)
    start = perf_counter()
    spent = Spent() if before is None else before.spent
    goal = config.fusion.goal or (None if before is None else before.report.goal)
    held_out = hold_out(data, goal, config.seed, spent) if _learns_fusion(config) else None
    if held_out is None and before is not None:
        return _fit_as_before(blueprint, data, progress, before)
    holding_s = perf_counter() - start
    report = settle_settings(config, data, goal, progress)
    settings_s = perf_counter() - start - holding_s
    effective = Blueprint.of(report.apply_to(config))
    if held_out is None:
        if _learns_fusion(config):
            _log.warning(TOO_SMALL)
        return with_learned(fit_state(effective, data, progress), config, Learned(report, spent))
    start = perf_counter()
    state = fit_state(effective, held_out.rest, progress)
    fit_s, start = perf_counter() - start, perf_counter()
    if len(state.paths) > 1:
        report = report.with_fusion(_learn(state, config, held_out, _queries(held_out, data), progress), state.names)
    state = apply_told(state, held_out.back)
    report = replace(
        report,
        goal=held_out.goal,
        n_users=np.unique(held_out.owners).size,
        n_requests=len(held_out),
        seconds=Seconds(fit_s, settings_s, holding_s + perf_counter() - start),
    )
    _log.info("%s", report)
    return with_learned(state, config, Learned(report, held_out.spent, held_out.goal == "while"))


def assist_fit(config: EngineConfig, data: Dataset, progress: Progress) -> None:
    """Take part in the first fit that another process makes of the same config and data; nothing of it is kept.

    Only the paths that several processes fit together are fitted, on the events that the other one does not hold out.

    Args:
        config: the config.
        data: the dataset.
        progress: receives the progress.
    """
    blueprint = Blueprint.of(config)
    held_out = hold_out(data, config.fusion.goal, config.seed, Spent()) if _learns_fusion(config) else None
    report = _settle(_collective(blueprint), data, config.fusion.goal, progress)
    seeds = fit_seeds(config)
    for _, path, part in _collective(Blueprint.of(report.apply_to(config))).paths:
        rng = np.random.default_rng(seeds[path.name])
        try:
            part.plugin(part.settings).fit(data if held_out is None else held_out.rest, rng=rng, progress=progress)
        except (CannotFit, MissingExtra) as fault:
            _log.debug("path %r: %s", path.name, fault)


def _collective(blueprint: Blueprint) -> Blueprint:
    return replace(blueprint, paths=tuple(one for one in blueprint.paths if one[2].plugin.collective))


def settle_settings(config: EngineConfig, data: Dataset, goal: Goal | None, progress: Progress) -> FusionReport:
    """Choose the settings that are "auto" as a fit on `data` does, without fitting the paths; no fusion is learned.

    The requests are held out of the trials alone, so that more of them can be than of a fit.

    Args:
        config: the paths.
        data: the dataset.
        goal: what to hold out; None: as `hold_out`.
        progress: receives the progress.
    """
    return _settle(Blueprint.of(config), data, goal, progress)


def _settle(blueprint: Blueprint, data: Dataset, goal: Goal | None, progress: Progress) -> FusionReport:
    settings, choices = _prior_settings(blueprint), {}
    held_out = hold_out(data, goal, blueprint.config.seed, for_trials=True) if settings else None
    if held_out is not None:
        choices = _choose_settings(blueprint, held_out, _queries(held_out, data), progress)
    chosen = {name: choice.values for name, choice in choices.items()}
    return replace(_unlearned(blueprint, data), settings=settings | chosen, choices=choices)


def require_same_data(config: EngineConfig, data: Dataset, remedy: str) -> None:
    """Refuse a config whose `[data]` is not how `data` were read; raises `ConfigError`, which ends in `remedy`."""
    if config.data not in (data.config, type(config.data)()):
        raise ConfigError(f"fit: the config's [data] section is not how this dataset was read; {remedy}")


def prior_of(
    learned: Learned | None, refusion: Refusion | None, blueprint: Blueprint, paths: Collection[str]
) -> Learned | None:
    """What a refit goes by, of what the fit before has learned.

    Args:
        learned: what the fit before has learned.
        refusion: what to do about it; None: learn anew from other users where that is possible, see `fit_engine`.
        blueprint: the config of the refit.
        paths: the names of the paths of the config before.

    Raises:
        RequestError: as `kept_report`.
    """
    if refusion is None:
        return learned
    if refusion == "learn":
        return None
    report = kept_report(None if learned is None else learned.report, blueprint, paths)
    return None if report is None or learned is None else Learned(report, learned.spent, due=True)


def kept_report(report: FusionReport | None, blueprint: Blueprint, paths: Collection[str]) -> FusionReport | None:
    """What holds on of a report under a config that may be another one; None where that leaves nothing open.

    Settings that the config names stay as it names them.

    Args:
        report: what the fit before has learned.
        blueprint: the config.
        paths: the names of the paths of the config before.

    Raises:
        RequestError: there is no report, or the fusion was learned for other paths.
    """
    learns, prior = _learns_fusion(blueprint.config), _prior_settings(blueprint)
    if not learns and not prior:
        return None
    if report is None or (learns and not report.strategy):
        raise RequestError("no fusion was learned before, so that none can be kept; let the refit learn one")
    others = sorted({*paths} ^ {*blueprint.names})
    if learns and others:
        raise RequestError(
            f"the fusion was learned for other paths ({', '.join(others)} in only one of the configs), so that it "
            "cannot be kept; let the refit learn one"
        )
    settings = {
        path: {name: report.settings.get(path, {}).get(name, value) for name, value in own.items()}
        for path, own in prior.items()
    }
    kept = replace(report, settings=settings)
    return kept if learns else replace(kept, strategy="", params={}, weights={}, segments=(), dropped={})


def _learns_fusion(config: EngineConfig) -> bool:
    return config.fusion.strategy == AUTO and not config.segments and sum(path.enabled for path in config.paths) > 1


def _free_paths(blueprint: Blueprint) -> list[str]:
    return [path.name for _, path, part in blueprint.paths if part.settings.free]


def _fit_as_before(blueprint: Blueprint, data: Dataset, progress: Progress, before: Learned) -> EngineState:
    """Fit on everything, with what an earlier fit has learned."""
    report = replace(before.report, refits=before.report.refits + 1)
    state = fit_state(Blueprint.of(report.apply_to(blueprint.config)), data, progress)
    return with_learned(state, blueprint.config, Learned(report, before.spent.among(data.users.ids)))


def _unlearned(blueprint: Blueprint, data: Dataset) -> FusionReport:
    """The report of a fit that learned no fusion; where the config names none, it says which one serves instead."""
    if blueprint.config.fusion.strategy != AUTO:
        return FusionReport("the config names the fusion, so none is learned")
    learns = _learns_fusion(blueprint.config)
    why = TOO_SMALL if learns else NOTHING_OPEN
    settings = blueprint.fusions[-1].config.model_dump(mode="json")
    return FusionReport(why, strategy=UNLEARNED.strategy, params=settings)


def _prior_settings(blueprint: Blueprint) -> dict[str, dict[str, Any]]:
    """The values of the settings that are "auto" where no log chooses them, by path."""
    settings = {}
    for _, path, part in blueprint.paths:
        if part.settings.free:
            values = part.settings.resolve().model_dump(mode="json")
            settings[path.name] = {name: values[name] for name in sorted(part.settings.free)}
    return settings


def _choose_settings(
    blueprint: Blueprint, held_out: HeldOut, queries: list[Query], progress: Progress
) -> dict[str, SettingsOutcome]:
    """Choose the settings that are "auto"; a path that cannot be fitted says so when it is."""

    def choose(number: int, path: PathConfig, part: Part, progress: Progress) -> SettingsOutcome | None:
        rng = np.random.default_rng([blueprint.config.seed, number])
        try:
            return choose_settings(part.plugin, part.settings, held_out, queries, rng, progress)
        except (CannotFit, MissingExtra) as fault:
            _log.debug("path %r: no settings are chosen: %s", path.name, fault)
            return None

    free = [one for one in blueprint.paths if one[2].settings.free]
    with fit_threads(blueprint.config.threads) as n_threads:
        outcomes = run_together([partial(choose, *one) for one in free], n_threads, progress)
    return {path.name: found for (_, path, _), found in zip(free, outcomes, strict=True) if found is not None}


def _queries(held_out: HeldOut, data: Dataset) -> list[Query]:
    """The requests of a hold-out, over the rows of its `rest`, each with the history that it had at the time."""
    filters = Filters(NO_ROWS, allowed_of(data), Where(), removed_rows(data), seen=False)
    log, ids = held_out.log, data.users.ids.ids(held_out.owners).tolist()
    queries = []
    for user, asker, events in zip(ids, held_out.askers.tolist(), held_out.histories, strict=True):
        query = read_query(held_out.rest, user, filters, {})
        items = log.items[events]
        queries.append(
            replace(
                query,
                user=asker,
                history=items,
                weights=log.weights[events],
                times=None if log.times is None else log.times[events],
                exclude=np.unique(items),
            )
        )
    return queries


def _learn(
    state: EngineState, config: EngineConfig, held_out: HeldOut, queries: list[Query], progress: Progress
) -> LearnedFusion:
    """Learn the fusion; a path that is not deployed here cannot be judged, and so is not dropped either."""
    batches, absent = _ask(state.paths, queries, config.threads, progress)
    lists = KnownLists(
        state.names,
        batches,
        tuple(state.quotas),
        held_out.offsets,
        held_out.targets,
        held_out.owners,
        np.array([query.history.size for query in queries], np.int64),
    )
    own = {path.name: path.weight for path in config.paths}
    with progress.task("learning the fusion", 1, steady=False) as advance:
        learned = learn_fusion(
            lists,
            config.k,
            weights=[own[name] for name in state.names],
            required=[path.name for path in state.paths if path.required or path.name in absent],
            seed=config.seed,
        )
        advance(1)
    return learned


def _ask(
    paths: Sequence[Path], queries: list[Query], threads: Threads, progress: Progress
) -> tuple[tuple[RankedBatch, ...], frozenset[str]]:
    """The lists of every path for all requests, cut at its quota, and the names of paths that are not deployed here.

    A path that fails or is not deployed has no lists.
    """
    absent = set()
    with progress.task("asking every path for what was held out", len(paths)) as advance:

        def ask(path: Path, _: Progress) -> RankedBatch:
            parts = []
            for start in range(0, len(queries), CHUNK):
                part = queries[start : start + CHUNK]
                outcome = path.answer_batch(part, min(path.quota, path.n_items))
                if outcome.ranked is None:
                    _log.warning(
                        "path %r %s while the fusion was learned: %s", path.name, outcome.state, outcome.detail
                    )
                if not outcome.deployed:
                    absent.add(path.name)
                parts.append(outcome.ranked or RankedBatch.empty(len(part)))
            advance(1)
            return RankedBatch.concat(parts)

        with fit_threads(threads) as n_threads:
            batches = run_together([partial(ask, path) for path in paths], n_threads, progress)
    return tuple(batches), frozenset(absent)

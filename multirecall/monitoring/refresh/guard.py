"""The guarded refit: take new events in, compare a fit with what serves, and publish it unless it is worse."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from multirecall.config import EngineConfig, config_hash
from multirecall.engine import Engine
from multirecall.engine.fitting import Refusion, kept_report, require_same_data
from multirecall.engine.health import StoreHealth
from multirecall.engine.state import Blueprint
from multirecall.errors import RequestError
from multirecall.monitoring.refresh.clock import Clock
from multirecall.monitoring.refresh.events import take_in
from multirecall.monitoring.refresh.report import ArmName, RefitReport
from multirecall.monitoring.refresh.settings import Guard
from multirecall.monitoring.refresh.verdict import NOTHING_COMPARED, Subject, Verdict, judge
from multirecall.monitoring.refresh.window import changes_since, load_as_saved
from multirecall.progress import SILENT, Progress


def guarded_refit(
    engine: Engine,
    events: Any = None,
    *,
    items: Any = None,
    config: EngineConfig | None = None,
    fusion: Refusion = "learn",
    guard: Guard | None = None,
    unguarded: bool = False,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> RefitReport:
    """Take new events in, fit anew, and publish the fit as the next version unless it is worse than what serves.

    The new settings are fitted on all events before the newest window, and asked for the users of the window. They are
    compared, paired by user, with the old settings fitted on the same events, and with the served version as it would
    have served then, if it was not fitted on the window. They are worse where the whole interval of a difference lies
    below 0. Requests and live changes go on meanwhile; they are in the version that is published.

    Args:
        engine: an engine of a bundle, whose writer it is or becomes.
        events: exports of events: a file, a glob pattern, a frame, or a list of these. What the engine has already
            does not count twice. They are live changes first, and stay whatever is decided.
        items: item tables, likewise. Known items are updated; removed ones stay removed.
        config: the new settings; default: the old ones, so that what is guarded is the refit itself.
        fusion: whether the fits learn anew what the config leaves to the log, or keep what was learned.
        guard: how to compare.
        unguarded: whether to publish without comparing, which saves the fits before the window.
        dry_run: whether to compare and decide, but write nothing: neither the events nor a version.
        progress: receives the progress.

    Raises:
        BundleHeld: another process writes the bundle.
        RequestError: the engine has no bundle, follows one, or a fusion cannot be kept.
        ConfigError: a setting is wrong, or `[data]` differs from how the data were read.
        DataError: an export is faulty, or the log has no timestamps.
        CannotFit: the data cannot feed a path. The old version goes on serving.
    """
    guard, clock, store = guard or Guard(), Clock(), _store_of(engine)
    folder, version = Path(store.folder), store.version
    new = engine.config if config is None else config
    settings = _settings(engine, new, fusion)
    if not dry_run:
        engine.hold()
    since = changes_since(folder, version, engine.last_change)
    with ExitStack() as open_engines:
        subject = engine
        if dry_run:
            subject = open_engines.enter_context(load_as_saved(engine, folder, version))
            subject.take_changes(since)
        with clock.step("taking events in"):
            intake, taken = take_in(subject, events, items)
        if unguarded and not dry_run:
            verdict = Verdict("published", NOTHING_COMPARED)
        else:
            verdict = judge(Subject(subject, folder, version, [*since, *taken], settings), guard, clock, progress)
    if verdict.decision == "published" and not dry_run:
        with clock.step("fitting on everything", fit=True):
            engine.refresh(None if len(settings) == 1 else new, fusion=fusion).result()
        with clock.step("saving"):
            engine.save(folder)
    now = _store_of(engine)
    return RefitReport(
        decision=verdict.decision,
        reason=verdict.reason,
        dry_run=dry_run,
        intake=intake,
        window=verdict.window,
        n_users=verdict.n_users,
        k=guard.k,
        arms=verdict.arms,
        comparisons=verdict.comparisons,
        before=version,
        after=now.version,
        rollback=now.version != version and version in [one.name for one in Engine.versions(folder)],
        to_forget=now.to_forget,
        fits=clock.fits,
        seconds=clock.seconds,
    )


def _store_of(engine: Engine) -> StoreHealth:
    store = engine.health().store
    if store is None:
        raise RequestError("refit: this engine has no bundle to publish in; save it first, or call refresh()")
    return store


def _settings(engine: Engine, new: EngineConfig, fusion: Refusion) -> dict[ArmName, EngineConfig]:
    """The settings that are compared; one alone where the new ones are the old ones."""
    require_same_data(new, engine.data, "leave the section out, or fit a new bundle on the files")
    paths = Blueprint.of(engine.config).names

    def settle(config: EngineConfig) -> EngineConfig:
        if fusion == "learn":
            return config
        report = kept_report(engine.fusion_report(), Blueprint.of(config), paths)
        return config if report is None else report.settle(config)

    if config_hash(Blueprint.of(new).resolved) == config_hash(Blueprint.of(engine.config).resolved):
        return {"new": settle(engine.config)}
    return {"old": settle(engine.config), "new": settle(new)}

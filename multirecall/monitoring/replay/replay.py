"""Replaying a request log: the logged requests fused as they were, or under another config."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from multirecall.config import EngineConfig
from multirecall.data import Dataset
from multirecall.errors import RequestError
from multirecall.lists import FusedBatch
from multirecall.monitoring.replay.attribution import Attribution
from multirecall.monitoring.replay.changes import Changes
from multirecall.monitoring.replay.estimates import Counterfactual
from multirecall.monitoring.replay.found import Found, rewarded
from multirecall.monitoring.replay.fusing import AsItWas, Otherwise, equal
from multirecall.monitoring.replay.groups import Group, groups_of
from multirecall.monitoring.replay.report import ReplayReport, Sameness
from multirecall.monitoring.replay.similarity import PERSISTENCE
from multirecall.monitoring.request_log.layout import parts_of
from multirecall.monitoring.request_log.parts import BLOCK, read_part
from multirecall.monitoring.request_log.table_reader import TableReader
from multirecall.monitoring.request_log.user_names import UserNames
from multirecall.progress import SILENT, Progress

KS = (20, 100)
"""List lengths that a report has unless others are given."""

HORIZON_DAYS = 1.0
"""The longest time from a request to an event that counts for it."""

EXAMPLES = 5
"""Ids of requests that differ, which a report names."""


def replay(
    folder: Path,
    config: EngineConfig | None = None,
    events: Dataset | None = None,
    *,
    ks: Sequence[int] = KS,
    horizon_days: float = HORIZON_DAYS,
    persistence: float = PERSISTENCE,
    salts: Sequence[UserNames] = (),
    plugins: Sequence[type] = (),
    progress: Progress = SILENT,
) -> ReplayReport:
    """Fuse the requests of a log again, a block in memory at a time.

    Args:
        folder: of the request log.
        config: the config whose fusion, weights, quotas and segments are tried; None: that which answered.
        events: what users did later; with it, the report says what lists found, and what the other config is worth.
        ks: list lengths.
        horizon_days: the longest time from a request to an event that counts for it.
        persistence: the `p` of rank-biased overlap, in (0, 1).
        salts: under which users of the log are hashed.
        plugins: fusion classes that a logged config names.
        progress: reports parts of the log.

    Raises:
        DataError: the folder is no request log, or a part or table cannot be read.
        ConfigError: the fusion of the config is "auto" or refuses its settings, or a salt is missing.
        RequestError: the log lacks a path of the config, or an argument is out of range.
        PluginError: a fusion is unknown or broken, or a class that is not among the plug-ins.
    """
    if not 0 < persistence < 1:
        raise RequestError(f"persistence must be above 0 and below 1, got {persistence!r}")
    if not horizon_days > 0:
        raise RequestError(f"horizon_days must be above 0, got {horizon_days!r}")
    files = list(parts_of(folder))
    names = (UserNames(), *salts)
    attribution = None if events is None else Attribution(files, events, horizon_days, names)
    run = _Replay(TableReader(folder), AsItWas(plugins), config, attribution, sorted(set(ks)), persistence)
    with progress.task("parts of the log", len(files)) as advance:
        for number, file in enumerate(files):
            frame = read_part(file)
            if frame is not None:
                run.add_part(number, frame)
            advance(1)
    return run.report()


class _Replay:
    """What a replay adds up, part by part."""

    def __init__(
        self,
        tables: TableReader,
        as_it_was: AsItWas,
        config: EngineConfig | None,
        attribution: Attribution | None,
        ks: Sequence[int],
        persistence: float,
    ) -> None:
        self._tables, self._as_it_was, self._attribution = tables, as_it_was, attribution
        self._otherwise = None if config is None else Otherwise(config)
        self._report = ReplayReport()
        self._counterfactual: Counterfactual | None = None
        if self._otherwise is None:
            self._report.sameness = Sameness()
        else:
            self._report.changes = Changes(tuple(ks), persistence)
            self._report.unknown = self._otherwise.unknown
            if attribution is not None:
                self._counterfactual = Counterfactual(self._otherwise.names)
        if attribution is not None:
            self._report.found = Found(ks)
            self._report.events = attribution.n_events, attribution.n_attributed

    def add_part(self, number: int, frame: pl.DataFrame) -> None:
        """Replay the requests of a part."""
        for block in frame.with_row_index("row").iter_slices(BLOCK):
            for group in groups_of(block, self._tables):
                self._report.requests += len(group)
                new = self._compare(group)
                if self._attribution is not None:
                    self._judge(number, group, new)

    def report(self) -> ReplayReport:
        """What was found."""
        if self._counterfactual is not None:
            self._report.estimates = self._counterfactual.estimates()
        return self._report

    def _compare(self, group: Group) -> FusedBatch | None:
        """The answers under the other config; None under the logged one, whose answers are compared here."""
        if self._otherwise is not None and self._report.changes is not None:
            new = self._otherwise.fuse(group)
            self._report.changes.add(group, new, self._tables)
            return new
        same = self._report.sameness
        assert same is not None
        fused = self._as_it_was.fuse(group)
        if fused is None:
            same.untold += len(group)
            return None
        is_equal = equal(group, fused)
        same.equal += int(is_equal.sum())
        same.differ += int((~is_equal).sum())
        left = EXAMPLES - len(same.examples)
        same.examples += group.frame["id"].gather(np.flatnonzero(~is_equal)[:left]).to_list()
        return None

    def _judge(self, number: int, group: Group, new: FusedBatch | None) -> None:
        """Compare lists with what users did after the requests of a group."""
        assert self._attribution is not None
        assert self._report.found is not None
        targets = self._attribution.targets(number, group, self._tables)
        self._report.found.add(group, targets, new)
        if self._counterfactual is not None and new is not None:
            drawn = group.config.exploration is not None and group.config.teams is None
            everything = self._as_it_was.everything(group) if drawn else None
            self._counterfactual.add(group, everything, new, rewarded(targets, len(group), group.answer))

"""The request log: an observer that keeps a sample of an engine's answers in parquet files."""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import groupby
from time import monotonic
from typing import Self

import numpy as np

from multirecall.chance import share_of
from multirecall.errors import ConfigError
from multirecall.monitoring.request_log.layout import new_part, remove_old
from multirecall.monitoring.request_log.parts import write_part
from multirecall.monitoring.request_log.rows import Row, rows_of
from multirecall.monitoring.request_log.settings import LogSettings
from multirecall.monitoring.request_log.tables import Needed, TableWriter, ensure
from multirecall.monitoring.request_log.user_names import UserNames
from multirecall.online import Call, Observation, Request

_log = logging.getLogger("multirecall.monitoring")

SETTLED_S = 0.1
"""Seconds without an answer after which none is on its way any more to a log that closes."""

MIB = float(1 << 20)


@dataclass(frozen=True, slots=True)
class LogHealth:
    """How a request log fares in this process.

    Attributes:
        seen: requests of users that it was shown: of those in the sample, and of the others of their batches.
        written: rows that stand in files.
        waiting: rows that wait to be written.
        dropped: rows that there was no room for.
        lost: rows that could not be written.
        fault: why rows were lost last, or None.
    """

    seen: int
    written: int
    waiting: int
    dropped: int
    lost: int
    fault: str | None


@dataclass(slots=True)
class _Waiting:
    """Rows that wait, and the tables that they need."""

    rows: list[Row] = field(default_factory=list)
    needed: Needed = field(default_factory=dict)
    size: int = 0
    since: float = 0.0


class RequestLog:
    """Keeps a sample of an engine's answers; an observer for `Engine.observe`.

    A thread of its own writes files. A row that comes while too many wait is dropped and counted; nobody waits for the
    disk. Close the log when the engine no longer answers: what waits is then written.

    Args:
        settings: what is kept, and where.

    Raises:
        ConfigError: the folder cannot be written, or the salt is missing.
    """

    def __init__(self, settings: LogSettings) -> None:
        self._settings = settings
        self._names = UserNames.of_environment(settings.salt_env) if settings.hash_users else UserNames()
        try:
            settings.folder.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise ConfigError(
                f"log.folder: {settings.folder} cannot be made ({fault.strerror}); name another"
            ) from None
        if not os.access(settings.folder, os.W_OK | os.X_OK):
            raise ConfigError(f"log.folder: no right to write {settings.folder}; name another")
        self._begin()
        _remove_old(settings, datetime.now(UTC).date())

    def _begin(self) -> None:
        """Start without a thread and without rows. A forked child must do so too: the rows are its parent's."""
        self._process = os.getpid()
        self._changed = threading.Condition()
        self._waiting, self._writing = _Waiting(), _Waiting()
        self._tables = TableWriter(self._settings.folder)
        self._thread: threading.Thread | None = None
        self._closing = False
        self._seen = self._written = self._dropped = self._lost = 0
        self._fault: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def health(self) -> LogHealth:
        """How the log fares."""
        with self._changed:
            waiting = len(self._waiting.rows) + len(self._writing.rows)
            return LogHealth(self._seen, self._written, waiting, self._dropped, self._lost, self._fault)

    def wants(self, call: Call, request: Request) -> bool:
        """Whether a user of a request is in the sample; see `SelectiveObserver`."""
        return any(map(self._samples, request.ids))

    def _samples(self, request_id: str) -> bool:
        share = self._settings.share
        return share == 1 or share_of(request_id, "log") < share

    def observe(self, observation: Observation) -> None:
        """Keep an answer if it is in the sample; see `Observer`."""
        if os.getpid() != self._process:
            self._begin()
        ids = observation.request.ids
        self._seen += len(ids)
        users = np.array([place for place, one in enumerate(ids) if self._samples(one)], np.int64)
        if not users.size:
            return
        needed: Needed = {}
        rows = rows_of(observation, users, self._names, self._tables, needed)
        self._add(rows, needed)

    def close(self) -> None:
        """Write what waits, that among it which is still on its way from the engine, and end."""
        pause = threading.Event()
        before = -1
        while self._seen != before:
            before = self._seen
            pause.wait(SETTLED_S)
        with self._changed:
            self._closing = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _add(self, rows: list[Row], needed: Needed) -> None:
        size = sum(row.size for row in rows)
        with self._changed:
            waiting = self._waiting
            if self._closing or waiting.size + self._writing.size + size > self._settings.waiting_mib * MIB:
                self._dropped += len(rows)
                return
            if not waiting.rows:
                waiting.since = monotonic()
                self._changed.notify()
            waiting.rows += rows
            waiting.needed |= needed
            waiting.size += size
            if waiting.size >= self._settings.part_mib * MIB:
                self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_on, name="multirecall-request-log", daemon=True)
                self._thread.start()

    def _write_on(self) -> None:
        """The loop of the thread that writes."""
        today = datetime.now(UTC).date()
        while True:
            with self._changed:
                while (pause := self._pause()) > 0:
                    self._changed.wait(None if pause == float("inf") else pause)
                block, self._waiting = self._waiting, _Waiting()
                self._writing, is_last = block, self._closing
            if block.rows:
                self._write(block)
            if is_last:
                return
            if (now := datetime.now(UTC).date()) != today:
                today = now
                _remove_old(self._settings, today)

    def _pause(self) -> float:
        """Seconds until what waits must be written."""
        waiting = self._waiting
        if self._closing or waiting.size >= self._settings.part_mib * MIB:
            return 0.0
        return waiting.since + self._settings.part_s - monotonic() if waiting.rows else float("inf")

    def _write(self, block: _Waiting) -> None:
        written, fault = 0, None
        try:
            ensure(block.needed)
            for day, rows in groupby(sorted(block.rows, key=_day), key=_day):
                part = list(rows)
                write_part(new_part(self._settings.folder, day), part)
                written += len(part)
        except Exception as error:  # noqa: BLE001 - a disk that is full must not end the log for good
            fault = f"{type(error).__name__}: {error}"
        with self._changed:
            self._writing = _Waiting()
            self._written += written
            self._lost += len(block.rows) - written
            is_first, self._fault = fault is not None and self._fault is None, fault or self._fault
        if is_first:
            _log.warning("the request log cannot be written, rows are lost: %s", fault)


def _day(row: Row) -> date:
    return datetime.fromtimestamp(row.values["time"] / 1e6, UTC).date()


def _remove_old(settings: LogSettings, today: date) -> None:
    if settings.retention_days is not None:
        n = remove_old(settings.folder, settings.retention_days, today)
        if n:
            _log.info("the request log: %d days removed", n)

"""The figures of a service for Prometheus, fed by the answers of an engine, by its health, and by finished requests.

With several worker processes, set `PROMETHEUS_MULTIPROC_DIR` to an empty folder before the first import: counters and
histograms are then summed over all workers, and each gauge below says how it is merged.
"""

from __future__ import annotations

import asyncio
import math
import os
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from time import monotonic

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from multirecall.engine import Engine
from multirecall.errors import NotFitted
from multirecall.monitoring.drift import DriftWatch
from multirecall.monitoring.request_log import RequestLog
from multirecall.online import Observation
from multirecall.serving.drift_gauges import DriftGauges

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of `Metrics.text`."""

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that names the folder of the figures of all workers, where there are several."""

BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
"""Upper bounds of the latency histograms, in seconds."""

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
"""Methods that are labels of their own, so that nobody can make labels without end."""

REFRESH_S = 1.0
"""Seconds between two looks at the health of the engine, while answers come."""

BREAKER = {"closed": 0.0, "half_open": 0.5, "open": 1.0}
"""The gauges of breakers, by their state."""


class Metrics:
    """The figures of one engine in one process, and of its request log; an observer for `Engine.observe`."""

    def __init__(self, engine: Engine, log: RequestLog | None = None, drift: DriftWatch | None = None) -> None:
        self._engine, self._log = engine, log
        self._registry = registry = CollectorRegistry()
        self._lock = threading.Lock()
        self._next_look = -math.inf

        def counter(name: str, says: str, *labels: str) -> Counter:
            return Counter(f"multirecall_{name}", says, labels, registry=registry)

        def histogram(name: str, says: str, *labels: str) -> Histogram:
            return Histogram(f"multirecall_{name}", says, labels, buckets=BUCKETS, registry=registry)

        def gauge(name: str, says: str, mode: str, *labels: str) -> Gauge:
            return Gauge(f"multirecall_{name}", says, labels, registry=registry, multiprocess_mode=mode)  # type: ignore[arg-type]

        # A figure with labels is the function that finds the one of given labels, which are few, in a cache.
        self._requests = cache(counter("requests", "Requests over HTTP.", "route", "method", "status").labels)
        self._request_s = cache(histogram("request_seconds", "Time until a request is answered.", "route").labels)
        self._answers = cache(counter("answers", "Answers of the engine.", "call").labels)
        self._answer_s = cache(histogram("answer_seconds", "Time of a call of the engine.", "call").labels)
        self._hits = counter("cache_hits", "Answers that came from the result cache.")
        self._candidates = counter("candidates", "Candidates that were returned.")
        self._backfilled = counter("backfilled_candidates", "Candidates that no path proposed.")
        self._shortfall = counter("shortfall_candidates", "Candidates that the catalogue could not deliver.")
        self._store = cache(
            counter("store_answers", "Requests that asked the source of history, by how it answered.", "state").labels
        )
        self._states = cache(
            counter("path_answers", "Calls of a path by how they ended, without cache hits.", "path", "state").labels
        )
        self._path_s = cache(histogram("path_seconds", "Time until a path answered or was left behind.", "path").labels)
        self._share = cache(counter("path_candidates", "Returned candidates that a path proposed.", "path").labels)
        self._empty = cache(counter("path_empty", "Calls of a path that were ok and found nothing.", "path").labels)
        self._breaker = cache(gauge(
            "path_breaker", "0: the path is called, 0.5: one call tries, 1: it is skipped. The worst worker's.",
            "livemax", "path",
        ).labels)  # fmt: skip
        self._unsaved = gauge(
            "journal_unsaved_changes", "Changes that a load would replay. The largest of all workers.", "livemax"
        )
        self._newest = gauge("journal_newest", "The last journaled change that any worker serves.", "livemax")
        self._oldest = gauge("journal_oldest", "The last journaled change that every worker serves.", "livemin")
        self._now = gauge(
            "data_newest_event_timestamp_seconds",
            "Time of the newest event; NaN without times. That of the worker that is furthest behind.",
            "livemin",
        )
        self._missed = gauge("missed_observations", "Answers that these figures lack, over all workers.", "livesum")
        self._width = gauge("width_level", "The level of adaptive width; 0: full. The narrowest worker's.", "livemax")
        self._logged = cache(gauge(
            "request_log_rows", "Rows of the request log by what became of them, over all workers.", "livesum", "state",
        ).labels)  # fmt: skip
        self._drift = None if drift is None else DriftGauges(drift, gauge)
        self._look()

    def observe(self, observation: Observation) -> None:
        """Count one answer of the engine."""
        answer, call = observation.answer, observation.call
        self._answers(call).inc()
        self._answer_s(call).observe(observation.ms / 1e3)
        self._hits.inc(observation.cached)
        self._candidates.inc(len(answer.ranks))
        self._backfilled.inc(int(np.sum(answer.n_backfilled)))
        self._shortfall.inc(int(np.sum(answer.shortfall)))
        if answer.store is not None:
            self._store(answer.store).inc()
        for path, proposed in zip(answer.paths, (answer.ranks >= 0).sum(0).tolist(), strict=True):
            self._share(path).inc(proposed)
        if not observation.cached:
            for path, status in answer.status.items():
                self._states(path, status.state).inc()
                if status.state in ("ok", "late", "failed"):
                    self._path_s(path).observe(status.ms / 1e3)
                self._empty(path).inc(status.state == "ok" and not status.count)
        if monotonic() >= self._next_look:
            self._look()

    def note_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one request over HTTP; `route` is the template of its address, "" where there is none."""
        route = route or "none"
        self._requests(route, method if method in METHODS else "other", str(status)).inc()
        self._request_s(route).observe(seconds)

    def text(self) -> bytes:
        """All figures in the text format of Prometheus, `MEDIA_TYPE`; those of all workers where there are several."""
        self._look()
        if FOLDER not in os.environ:
            return generate_latest(self._registry)
        _forget_dead_workers(Path(os.environ[FOLDER]))
        merged = CollectorRegistry()
        MultiProcessCollector(merged)  # type: ignore[no-untyped-call]
        return generate_latest(merged)

    async def keep_current(self) -> None:
        """Read the health of the engine again and again, so that a scrape of another worker finds what holds here."""
        while FOLDER in os.environ:
            await asyncio.sleep(REFRESH_S)
            await asyncio.to_thread(self._look)

    def _look(self) -> None:
        """Read the health of the engine."""
        with self._lock:
            self._next_look = monotonic() + REFRESH_S
            try:
                health, now = self._engine.health(), self._engine.data.now
            except NotFitted:
                return
            for name, path in health.paths.items():
                self._breaker(name).set(BREAKER[path.breaker])
            self._now.set(math.nan if now is None else now)
            self._missed.set(health.missed)
            self._width.set(health.width)
            rows = None if self._log is None else self._log.health
            for state in ("written", "waiting", "dropped", "lost"):
                self._logged(state).set(0 if rows is None else getattr(rows, state))
            if self._drift is not None:
                self._drift.look()
            if health.store is not None:
                self._unsaved.set(health.store.unsaved)
                self._newest.set(health.store.journal_seq)
                self._oldest.set(health.store.journal_seq)


def _forget_dead_workers(folder: Path) -> None:
    """Remove the gauges of processes that have ended; what they counted stays in the sums."""
    for number in {file.stem.rpartition("_")[2] for file in folder.glob("gauge_live*.db")}:
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            with suppress(FileNotFoundError):  # another worker is scraped at the same time
                mark_process_dead(int(number), str(folder))  # type: ignore[no-untyped-call]
        except (ValueError, PermissionError):
            continue

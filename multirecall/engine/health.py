"""The health of an engine: plain figures that a monitoring system may scrape often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from multirecall.data import Dataset
from multirecall.engine.breaker import BreakerState, Tally
from multirecall.engine.footprint import held_bytes
from multirecall.engine.path import Path
from multirecall.engine.state import EngineState

ToForget = Literal["refresh", "save"] | None


@dataclass(frozen=True, slots=True)
class PathHealth:
    """The health of one path since its state was made. A batch counts as one call.

    Attributes:
        breaker: `closed` (called), `open` (skipped) or `half_open` (one call tries whether it answers again).
        consecutive_failures: calls in a row that failed or were late.
        ok: the number of requests in which the path was `ok`, see `PathStatus.state`.
        partial: the number of those in which some shards of it gave nothing.
        late: the number of those in which it was late; a caller's deadline shorter than the config's does not count.
        failed: the number of those in which it failed, but for those that failed because of the caller's input.
        skipped: the number of those in which it was skipped.
        running: calls on its worker threads that a request waits for; 0 for an inline path.
        abandoned: calls on its worker threads that still run although their request has gone on without them.
        last_fault: the last error, or None.
        retry_in_s: seconds until a call may try again, or None while the breaker is closed.
        stale: why the path takes no live changes until the next refit, or None.
        trouble: what is wrong though the path answers, such as a file that could not be read again, or None.
        fit_seconds: how long its fit took, or None where it was loaded from a bundle.
        memory_bytes: the memory of its arrays, without those of the dataset.
    """

    breaker: BreakerState
    consecutive_failures: int
    ok: int
    partial: int
    late: int
    failed: int
    skipped: int
    running: int
    abandoned: int
    last_fault: str | None
    retry_in_s: float | None
    stale: str | None
    trouble: str | None
    fit_seconds: float | None
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class CacheHealth:
    """The health of the result cache.

    Attributes:
        size: the most answers that it keeps; 0 without a cache.
        entries: the number of answers that it keeps now.
        hits: the number of cache hits since the engine was made.
        misses: the number of cache misses since then.
    """

    size: int = 0
    entries: int = 0
    hits: int = 0
    misses: int = 0

    @property
    def hit_rate(self) -> float:
        """The share of requests that were cache hits; 0 before the first request."""
        return self.hits / max(1, self.hits + self.misses)


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """The health of the bundle in which an engine stores its live changes.

    Attributes:
        folder: the path of the bundle.
        version: the version that was loaded or saved last.
        held: whether this engine is the writer of the bundle. The first live change makes it the writer.
        journal_seq: the number of the last journaled change that is served.
        unsaved: the number of journaled changes that the version does not hold. A load replays them.
        to_forget: the next step that erases what was taken back from the bundle: `refresh` (then `save`), `save`, or
            None if nothing is left to erase.
        fault: why a follower cannot read the bundle, or None.
    """

    folder: str
    version: str
    held: bool
    journal_seq: int
    unsaved: int
    to_forget: ToForget
    fault: str | None


@dataclass(frozen=True, slots=True)
class RefitHealth:
    """The health of `refresh`: whether a refit runs, how many refits were served, and the error of the last one."""

    running: bool = False
    served: int = 0
    last_fault: str | None = None


@dataclass(frozen=True, slots=True)
class SourceHealth:
    """The health of the source of history.

    Attributes:
        breaker: as in `PathHealth`.
        ok: the number of calls that were answered.
        late: the number of calls that were not answered in time.
        failed: the number of calls that failed, or whose answer cannot be used.
        skipped: the number of requests that did not call it, because it kept failing.
        last_fault: the last error, or None.
    """

    breaker: BreakerState
    ok: int
    late: int
    failed: int
    skipped: int
    last_fault: str | None


@dataclass(frozen=True, slots=True)
class Health:
    """The health of an engine.

    Attributes:
        config_hash: the hash of the config; equal configs have equal hashes.
        data_version: a number that rises with every change of the data and with every refit, also across processes.
            A rollback sets it back.
        n_items: the number of items that are served, without removed ones.
        n_users: the number of users.
        n_events: the number of events.
        paths: the paths by name.
        fallback: the fallback.
        cache: the result cache.
        store: the bundle of the engine, or None if the engine was never saved.
        refit: the last `refresh`.
        source: the source of history, or None without one.
        missed: the number of answers that observers were too slow for.
        width: the level of adaptive width; 0 for full width.
    """

    config_hash: str
    data_version: int
    n_items: int
    n_users: int
    n_events: int
    paths: Mapping[str, PathHealth]
    fallback: PathHealth
    cache: CacheHealth
    store: StoreHealth | None
    refit: RefitHealth
    source: SourceHealth | None = None
    missed: int = 0
    width: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as dictionaries, numbers and text, ready for JSON."""
        figures = asdict(self)
        figures["cache"]["hit_rate"] = self.cache.hit_rate
        return figures


def health_of(
    state: EngineState,
    config_hash: str,
    cache: CacheHealth,
    store: StoreHealth | None,
    refit: RefitHealth,
    source: SourceHealth | None,
    missed: int,
    width: int,
) -> Health:
    """Take a snapshot. All figures of one path are of one moment."""
    return Health(
        config_hash,
        state.data_version,
        state.data.n_live,
        state.data.n_users - state.data.users.ids.gone.size,
        state.data.n_events,
        {path.name: _of_path(path, state.data) for path in state.paths},
        _of_path(state.fallback, state.data),
        cache,
        store,
        refit,
        source,
        missed,
        width,
    )


def source_health(tally: Tally | None) -> SourceHealth | None:
    """The figures of a source of history, None without one."""
    if tally is None:
        return None
    counts = tally.counts
    return SourceHealth(
        tally.state, counts["ok"], counts["late"], counts["failed"], counts["skipped"], tally.last_fault
    )


def _of_path(path: Path, data: Dataset) -> PathHealth:
    tally = path.breaker.tally
    return PathHealth(
        tally.state,
        tally.failures,
        **tally.counts,
        running=path.workers.running,
        abandoned=path.workers.abandoned,
        last_fault=tally.last_fault,
        retry_in_s=tally.retry_in_s,
        stale=path.stale,
        trouble=path.trouble,
        fit_seconds=path.fit_seconds,
        memory_bytes=held_bytes(path.retriever, data),
    )

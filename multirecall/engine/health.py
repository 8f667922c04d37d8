"""How an engine fares: plain figures, cheap enough to be scraped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from multirecall.data import Dataset
from multirecall.engine.breaker import BreakerState
from multirecall.engine.footprint import held_bytes
from multirecall.engine.path import Path
from multirecall.engine.state import EngineState

ToForget = Literal["refresh", "save"] | None


@dataclass(frozen=True, slots=True)
class PathHealth:
    """How one path fares since its state was made; a batch counts as one call.

    Attributes:
        breaker: `closed` (called), `open` (skipped) or `half_open` (one call tries whether it answers again).
        consecutive_failures: calls in a row that failed or were late.
        ok, late, failed, skipped: requests by how the path fared in them, as in `PathStatus.state`; without those
            that failed by a fault of the caller's, or were late for a caller in more of a hurry than the config.
        running: calls on its worker threads that somebody waits for; 0 for an inline path.
        abandoned: calls on its worker threads that run although nobody waits for them any more.
        last_fault: what went wrong last, or None.
        retry_in_s: seconds until a call may try again, or None while the breaker is closed.
        stale: why it takes no live changes until the next refit, or None.
        fit_seconds: how long its fit took, or None where it was loaded from a bundle.
        memory_bytes: of the arrays that it holds, without those of the data set.
    """

    breaker: BreakerState
    consecutive_failures: int
    ok: int
    late: int
    failed: int
    skipped: int
    running: int
    abandoned: int
    last_fault: str | None
    retry_in_s: float | None
    stale: str | None
    fit_seconds: float | None
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class CacheHealth:
    """How the result cache fares.

    Attributes:
        size: most answers that it keeps; 0 without a cache.
        entries: answers that it keeps.
        hits, misses: requests that it could and could not answer since the engine was made.
    """

    size: int = 0
    entries: int = 0
    hits: int = 0
    misses: int = 0

    @property
    def hit_rate(self) -> float:
        """Hits by all requests that asked it; 0 before the first."""
        return self.hits / max(1, self.hits + self.misses)


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """How the bundle fares that an engine lives in.

    Attributes:
        folder: where it is.
        version: the version that was loaded or saved last.
        held: whether this engine is its writer; its first live change makes it that.
        journal_seq: number of the last change of its journal that is served.
        unsaved: changes in the journal that the version does not hold, and that a load replays.
        to_forget: what has yet to be done before nothing of what was taken back is left in the bundle: `refresh` (and
            then `save`), `save`, or None.
        fault: why a follower cannot read on, or None.
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
    """How `refresh` fares: whether a refit runs, how many have been served, and what went wrong in the last one."""

    running: bool = False
    served: int = 0
    last_fault: str | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """How an engine fares.

    Attributes:
        config_hash: names the config.
        data_version: rises with every change of the data and every refit, from process to process; a rollback takes
            it back with the fit.
        n_items, n_users, n_events: sizes of what is served; removed items are not counted.
        paths: the paths by name.
        fallback: the fallback.
        cache: the result cache.
        store: the bundle that the engine lives in, or None if it was never saved.
        refit: the last `refresh`.
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

    def to_dict(self) -> dict[str, Any]:
        """The same as plain dictionaries, numbers and text, ready for JSON."""
        figures = asdict(self)
        figures["cache"]["hit_rate"] = self.cache.hit_rate
        return figures


def health_of(
    state: EngineState, config_hash: str, cache: CacheHealth, store: StoreHealth | None, refit: RefitHealth
) -> Health:
    """The figures of this moment, those of one path from one."""
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
        fit_seconds=path.fit_seconds,
        memory_bytes=held_bytes(path.retriever, data),
    )

"""How an engine fares: plain figures, cheap enough to be scraped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from multirecall.config import EngineConfig
from multirecall.engine.breaker import BreakerState
from multirecall.engine.path import Path
from multirecall.engine.state import EngineState


@dataclass(frozen=True, slots=True)
class PathHealth:
    """How one path fares since its state was made; a batch counts as one call.

    Attributes:
        breaker: `closed` (called), `open` (skipped) or `half_open` (one call tries whether it answers again).
        consecutive_failures: calls in a row that failed or were late.
        ok, late, failed, skipped: requests by how the path fared in them, as in `PathStatus.state`.
        running: calls on its worker threads that somebody waits for; 0 for an inline path.
        abandoned: calls on its worker threads that run although nobody waits for them any more.
        last_fault: what went wrong last, or None.
        retry_in_s: seconds until a call may try again, or None while the breaker is closed.
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
class Health:
    """How an engine fares.

    Attributes:
        config_hash: names the config.
        data_version: rises with every change of what is served, within one process.
        n_items, n_users, n_events: sizes of what is served.
        paths: the paths by name.
        fallback: the fallback.
        cache: the result cache.
    """

    config_hash: str
    data_version: int
    n_items: int
    n_users: int
    n_events: int
    paths: Mapping[str, PathHealth]
    fallback: PathHealth
    cache: CacheHealth

    def to_dict(self) -> dict[str, Any]:
        """The same as plain dictionaries, numbers and text, ready for JSON."""
        figures = asdict(self)
        figures["cache"]["hit_rate"] = self.cache.hit_rate
        return figures


def health_of(state: EngineState, config: str, cache: CacheHealth) -> Health:
    """The figures of this moment, those of one path from one; `config` is the config's hash."""
    return Health(
        config,
        state.version,
        state.data.n_items,
        len(state.data.users),
        len(state.data.interactions),
        {path.name: _of_path(path) for path in state.paths},
        _of_path(state.fallback),
        cache,
    )


def config_hash(config: EngineConfig) -> str:
    """16 hexadecimal digits of SHA-256 over the config, defaults included."""
    text = json.dumps(config.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _of_path(path: Path) -> PathHealth:
    tally = path.breaker.tally
    return PathHealth(
        tally.state,
        tally.failures,
        **tally.counts,
        running=path.workers.running,
        abandoned=path.workers.abandoned,
        last_fault=tally.last_fault,
        retry_in_s=tally.retry_in_s,
    )

"""Retrieving the lists of the test users of a split from a fitted engine, and measuring its latency."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from multirecall.config import FUSED
from multirecall.engine import Engine
from multirecall.errors import RequestError
from multirecall.evaluation.lengths import history_lengths
from multirecall.evaluation.splits import Split
from multirecall.lists import RankedBatch
from multirecall.progress import SILENT, Progress

CHUNK = 500
"""Number of users in one batch request; more need more memory, fewer report progress more often."""

UNHURRIED_MS = 1e8
"""Milliseconds. A deadline that no path misses; it replaces that of the config, because a late path has no latency."""

TIMED = 200
"""Most users that are asked for one by one to measure latency; more make the median steadier and take longer."""


@dataclass(frozen=True, slots=True)
class Retrieved:
    """The lists of all test users.

    Attributes:
        split: the split whose test users were asked for.
        windows: by path, its lists as far as the fusion reads them, which may be longer than the path's quota.
        quotas: the quota of each path.
        fused: what `retrieve` gives, with what the fallback backfills; None where it was not asked for.
    """

    split: Split
    windows: dict[str, RankedBatch]
    quotas: dict[str, int]
    fused: RankedBatch | None

    @property
    def paths(self) -> dict[str, RankedBatch]:
        """By path, its own lists, cut at its quota."""
        return {name: batch.heads(self.quotas[name]) for name, batch in self.windows.items()}

    def take(self, users: NDArray[np.integer]) -> Retrieved:
        """The paths' lists of the test users at the positions `users`, integers (n,), ascending; no fused lists."""
        windows = {name: batch.take(users) for name, batch in self.windows.items()}
        return Retrieved(self.split.take(users, self.split.name), windows, self.quotas, None)


def retrieve_lists(engine: Engine, split: Split, k: int | None, *, progress: Progress = SILENT) -> Retrieved:
    """Retrieve the lists of every path for every test user, and the fused lists of length `k` unless `k` is None.

    Raises:
        RequestError: the engine was not fitted on the training part.
    """
    if engine.data is not split.train:
        raise RequestError("evaluate: the engine must be fitted on split.train, or it may have learnt the targets")
    chunks: dict[str, list[RankedBatch]] = {name: [] for name in engine.paths}
    fused: list[RankedBatch] = []
    with progress.task("evaluate: asking for test users", split.users.size) as advance:
        for start in range(0, split.users.size, CHUNK):
            users = split.requests(split.users[start : start + CHUNK])
            for name, batch in engine.path_lists(users, seen=split.seen, windows=True).items():
                chunks[name].append(batch)
            if k is not None:
                found = engine.retrieve_batch(users, k, seen=split.seen)
                rows = engine.data.items.ids.rows(found.ids)
                fused.append(RankedBatch(found.offsets, rows, found.scores.astype(np.float32)))
            advance(len(users))
    windows = {name: RankedBatch.concat(parts) for name, parts in chunks.items()}
    quotas = {path.name: path.quota for path in engine.config.paths}
    return Retrieved(split, windows, quotas, RankedBatch.concat(fused) if fused else None)


def latencies(engine: Engine, split: Split, k: int) -> dict[str, float]:
    """The median latency of each path over single requests, in milliseconds; under `fused`, that of the whole request.

    Up to 200 test users are asked for. If some have a history, only those are: a user without one costs hardly any
    time.
    """
    known = np.flatnonzero(history_lengths(split))
    users = split.users[known] if known.size else split.users
    users = users[:: max(1, users.size // TIMED)][:TIMED]
    times: dict[str, list[float]] = {name: [] for name in (*engine.paths, FUSED)}
    for user in split.requests(users):
        start = perf_counter()
        status = engine.retrieve(user, k, seen=split.seen, deadline_ms=UNHURRIED_MS).status
        times[FUSED].append((perf_counter() - start) * 1e3)
        for name, one in status.items():
            times[name].append(one.ms)
    return {name: float(np.median(values)) for name, values in times.items()}

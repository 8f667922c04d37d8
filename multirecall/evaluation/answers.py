"""What a fitted engine hands out for the test users of a split, held in memory."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from multirecall.config import FUSED
from multirecall.engine import Engine
from multirecall.errors import RequestError
from multirecall.evaluation.segments import history_lengths
from multirecall.evaluation.splits import Split
from multirecall.lists import RankedBatch
from multirecall.progress import SILENT, Progress

CHUNK = 500
"""Users that are asked for together."""

UNHURRIED_MS = 1e8
"""A deadline that no path misses, in place of the config's: a path that was not waited for has no time."""

TIMED = 200
"""Users that are asked for one by one to measure latency."""


@dataclass(frozen=True, slots=True)
class Retrieved:
    """The lists of all test users.

    Attributes:
        split: whose users were asked for.
        windows: each path's own list as far as the fusion looks, which may be beyond the path's quota.
        quotas: of each path.
        fused: what `retrieve` gives, with what the fallback backfills; None where it was not asked for.
    """

    split: Split
    windows: dict[str, RankedBatch]
    quotas: dict[str, int]
    fused: RankedBatch | None

    @property
    def paths(self) -> dict[str, RankedBatch]:
        """Each path's own list, which ends at its quota."""
        return {name: batch.heads(self.quotas[name]) for name, batch in self.windows.items()}

    def take(self, users: NDArray[np.integer]) -> Retrieved:
        """The paths' lists of some test users, by ascending position."""
        windows = {name: batch.take(users) for name, batch in self.windows.items()}
        return Retrieved(self.split.take(users, self.split.name), windows, self.quotas, None)


def retrieve_lists(engine: Engine, split: Split, k: int | None, *, progress: Progress = SILENT) -> Retrieved:
    """Ask for every test user: each path once, and with a `k` the fused list as well.

    Raises:
        RequestError: the engine was not fitted on the training part.
    """
    if engine.data is not split.train:
        raise RequestError("evaluate: the engine must be fitted on split.train, else it knows what it is asked for")
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
    """Median milliseconds of each path over single requests; `fused`: of the whole request.

    Asked for are up to 200 test users who have a history, if any has; the others are answered in no time.
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

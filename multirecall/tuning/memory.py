"""The lists of all paths for the users of a slice, held in memory, and the metric of any fusion of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from multirecall.config import EngineConfig, FusionConfig
from multirecall.engine import Engine
from multirecall.evaluation import METRICS, Split, history_lengths, latencies, retrieve_lists, user_metrics
from multirecall.lists import FusedBatch, RankedBatch
from multirecall.progress import Progress
from multirecall.tuning.candidate import Candidate

Values = NDArray[np.float64]
"""The metric of each user, (n_users,)."""


@dataclass(frozen=True, slots=True)
class Memory:
    """The lists of each path for each user of a slice, retrieved once.

    Attributes:
        split: the slice.
        names: the names of the paths.
        lists: the lists of each path. Their length is the path's quota in the config, the longest that a fusion may
            ask for.
        widths: these quotas, limited to the number of items.
        ms: the median latency of each path in single requests, in milliseconds.
        lengths: the number of events in each user's history, int64 (n_users,).
        metric: the metric that `values` computes.
        k: the list length of the metric.
    """

    split: Split
    names: tuple[str, ...]
    lists: tuple[RankedBatch, ...]
    widths: tuple[int, ...]
    ms: tuple[float, ...]
    lengths: NDArray[np.int64]
    metric: str
    k: int

    @classmethod
    def of(cls, engine: Engine, split: Split, metric: str, k: int, progress: Progress) -> Memory:
        """Retrieve the lists of every path for every user of `split`.

        `engine` comes from `open_engine` and is fitted on `split.train`.

        Raises:
            RequestError: the engine was fitted on other data.
            PathError: a path fails.
        """
        lists = retrieve_lists(engine, split, None, progress=progress).paths
        names = tuple(lists)
        ms = latencies(engine, split, k)
        quotas = {path.name: path.quota for path in engine.config.paths}
        return cls(
            split,
            names,
            tuple(lists.values()),
            tuple(min(quotas[name], split.train.n_items) for name in names),
            tuple(ms[name] for name in names),
            history_lengths(split),
            metric,
            k,
        )

    def values(self, candidate: Candidate) -> Values:
        """The metric of each user under `candidate`, float64 (n_users,)."""
        values = np.empty(self.split.users.size)
        for users, fused in self.fuse(candidate, self.k):
            part = self.split if users.size == values.size else self.split.take(users, self.split.name)
            scored = user_metrics(fused.offsets, fused.items, part.offsets, part.targets, [self.k])
            values[users] = scored[METRICS.index(self.metric), :, 0]
        return values

    def fuse(self, candidate: Candidate, k: int) -> Iterator[tuple[NDArray[np.int64], FusedBatch]]:
        """Fuse the lists as `Engine.retrieve` would; yields for each segment the users' positions and their lists."""
        fusion, own = candidate.fusion(), candidate.chosen
        quotas = [candidate.quotas[path] for path in own]
        bounds = [*(longest for longest, _ in candidate.segments), np.inf]
        by_segment = [*(weights for _, weights in candidate.segments), candidate.weights]
        segment = np.searchsorted(bounds, self.lengths)
        for number in np.unique(segment):
            users = np.flatnonzero(segment == number)
            lists = [self.lists[path] for path in own]
            if users.size < self.lengths.size:
                lists = [batch.take(users) for batch in lists]
            yield users, fusion.fuse_batch(lists, [by_segment[number][path] for path in own], quotas, k)

    def limit_quotas(self, candidate: Candidate) -> Candidate:
        """`candidate` with quotas cut alike until its fusion asks for no more than memory holds.

        A fusion may ask for wider windows than its quotas (`Fusion.windows`), as a cascade does to replace duplicates.
        """
        own, fusion = candidate.chosen, candidate.fusion()
        quotas = [candidate.quotas[path] for path in own]
        while any(
            window > self.widths[path] < self.split.train.n_items
            for path, window in zip(own, fusion.windows(quotas), strict=True)
        ):
            quotas = [max(1, quota * 4 // 5) for quota in quotas]
        narrow = dict(zip(own, quotas, strict=True))
        return replace(candidate, quotas=tuple(narrow.get(p, quota) for p, quota in enumerate(candidate.quotas)))

    def cost(self, candidate: Candidate) -> float:
        """Milliseconds that the chosen paths take together."""
        return sum(self.ms[path] for path in candidate.chosen)

    def take(self, users: NDArray[np.integer]) -> Memory:
        """The memory of some users; `users` holds their positions, ascending."""
        return replace(
            self,
            split=self.split.take(users, self.split.name),
            lists=tuple(batch.take(users) for batch in self.lists),
            lengths=self.lengths[users],
        )

    def fingerprint(self) -> str:
        """The SHA-256 of all inputs of a score, in hexadecimal."""
        digest = hashlib.sha256(f"{self.names} {self.metric} {self.k}".encode())
        for batch in self.lists:
            for array in (batch.offsets, batch.items, batch.scores):
                digest.update(np.ascontiguousarray(array).data)
        digest.update(np.ascontiguousarray(self.split.offsets).data)
        digest.update(np.ascontiguousarray(self.split.targets).data)
        return digest.hexdigest()


def open_engine(config: EngineConfig) -> Engine:
    """An engine, not fitted, with the paths of `config` and the default fusion, which asks each path for its quota."""
    values = config.model_dump(exclude_unset=True)
    plain = {key: value for key, value in values.items() if key not in ("fusion", "segments")}
    return Engine(EngineConfig.model_validate(plain | {"fusion": FusionConfig(strategy="rrf").model_dump()}))

"""The installed kinds of vector index on vectors of one's own: speed at the recall that is asked for, size, changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.errors import DataError, MissingExtra, RequestError
from multirecall.progress import SILENT, Progress
from multirecall.protocols import PluginConfig
from multirecall.query import NO_FILTER, Filter
from multirecall.topk import NO_ROWS
from multirecall.validation import nearest
from multirecall.vector_index import INDEXES, Space, VectorIndex

RECALLS = (0.9, 0.95, 0.99)
"""Recalls that are asked for."""

SHARES = (0.5, 0.05, 0.005)
"""Shares of the items that filters allow."""

ROUNDS = 3
"""Times that each query is asked; its quickest answer counts, so that another process disturbs little."""

N_FIRST = 2_000
"""Vectors of the first build of a kind, which compiles its kernels and is not measured."""

N_ADDED = 500
"""Vectors that are added."""

ADDED_TOGETHER = 10
"""Vectors of one addition."""

Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SearchFigures:
    """How an index answers single queries, one after the other on one thread.

    Attributes:
        recall: the mean share of the true nearest items that is found.
        p50_us: microseconds of a query, median.
        p95_us: the same, 95th percentile.
    """

    recall: float
    p50_us: float
    p95_us: float


@dataclass(frozen=True, slots=True)
class KindFigures:
    """One kind of index, at one recall that it was asked for.

    Attributes:
        kind: its name.
        asked: the recall that was asked for; None: its settings promise none.
        settings: its settings.
        search: how it answers without a filter.
        filtered: how it answers where a filter allows each of `SHARES`.
        build_s: seconds of the build.
        bytes_per_vector: memory for each vector, the vector itself included.
        adds_per_s: vectors that it takes in a second, ten at a time.
    """

    kind: str
    asked: float | None
    settings: dict[str, Any]
    search: SearchFigures
    filtered: dict[float, SearchFigures]
    build_s: float
    bytes_per_vector: float
    adds_per_s: float


def measure_kinds(
    vectors: Matrix,
    queries: Matrix,
    *,
    space: Space = "cosine",
    k: int = 100,
    recalls: Sequence[float] = RECALLS,
    kinds: Sequence[str] | None = None,
    asked: Matrix | None = None,
    seed: int = 0,
    threads: int = 1,
    progress: Progress = SILENT,
) -> tuple[list[KindFigures], dict[str, str]]:
    """Measure kinds of index on the same vectors and queries.

    A kind whose settings have a `recall` is built for each of `recalls`. One with settings of searches alone, its
    `IndexConfig.efforts`, is built once; of these the first that suffices stands for each recall. Any other is
    measured with its defaults.

    Args:
        vectors: float32 (n, dim), n ≥ 1.
        queries: float32 (m, dim), m ≥ 1; the truth is what the kind `exact` finds.
        space: the similarity.
        k: length of the lists.
        recalls: what is asked for, ascending.
        kinds: their names; None: all that are installed but `auto`, which is another kind in each case.
        asked: float32 (m, dim), other queries, which an index that measures itself is told of.
        seed: of the builds and filters.
        threads: of the builds.
        progress: told of each kind.

    Returns:
        The figures, and why some kinds have none, by name.

    Raises:
        RequestError: a kind is unknown, or arrays do not fit together.
        DataError: a vector is not finite.
    """
    names = _names(kinds)
    _check(vectors, queries)
    found: list[KindFigures] = []
    missing: dict[str, str] = {}
    with progress.task("measuring kinds of index", len(names) + 1, steady=False) as advance:
        advance(0, "now the truth")
        bench = _Bench(vectors, queries, space, k, asked, seed, threads, progress)
        for kind in names:
            advance(1, f"now {kind}")
            try:
                found += bench.measure(kind, recalls)
            except (MissingExtra, DataError) as fault:
                missing[kind] = str(fault)
        advance(1)
    return found, missing


class _Bench:
    """The vectors and queries of one comparison, and what an exact search finds."""

    def __init__(
        self,
        vectors: Matrix,
        queries: Matrix,
        space: Space,
        k: int,
        asked: Matrix | None,
        seed: int,
        threads: int,
        progress: Progress,
    ) -> None:
        rng = np.random.default_rng(seed)
        self.vectors, self.queries, self.space, self.k, self.asked = vectors, queries, space, k, asked
        self.seed, self.threads, self.progress = seed, threads, progress
        self.fresh = np.ascontiguousarray(vectors[rng.integers(len(vectors), size=N_ADDED)][:, ::-1])
        bitmaps = {share: rng.random(len(vectors)) < share for share in SHARES}
        self.filters: dict[float, Filter] = {
            1.0: NO_FILTER,
            **{share: (NO_ROWS, bitmap) for share, bitmap in bitmaps.items()},
        }
        exact, _ = self.build("exact", {})
        self.truths = {
            share: [exact.search(query, k, *one).items for query in queries] for share, one in self.filters.items()
        }

    def build(self, kind: str, settings: dict[str, Any]) -> tuple[VectorIndex, float]:
        """An index of this kind, and the seconds of its build. A smaller one is built first, to compile kernels."""
        self._build(kind, settings, self.vectors[:N_FIRST])
        start = perf_counter()
        return self._build(kind, settings, self.vectors), perf_counter() - start

    def _build(self, kind: str, settings: dict[str, Any], vectors: Matrix) -> VectorIndex:
        return INDEXES.load(kind).build(
            np.arange(len(vectors), dtype=np.int32),
            vectors,
            self.space,
            _config(kind, settings),
            seed=self.seed,
            asked=self.asked,
            threads=self.threads,
            progress=self.progress,
        )

    def measure(self, kind: str, recalls: Sequence[float]) -> list[KindFigures]:
        """The figures of a kind, one for each recall, or one with its defaults."""
        config: Any = INDEXES.load(kind).Config
        tried: list[tuple[float | None, dict[str, Any]]]
        if "recall" in config.model_fields:
            tried = [(recall, {"recall": recall}) for recall in recalls]
        elif config.efforts:
            return self._by_effort(kind, recalls, config.efforts)
        else:
            tried = [(None, {})]
        return [self._figures(kind, recall, settings, *self.build(kind, settings)) for recall, settings in tried]

    def _by_effort(
        self, kind: str, recalls: Sequence[float], efforts: Sequence[Mapping[str, Any]]
    ) -> list[KindFigures]:
        """Build once; open the files with each effort, from the least on, until the next recall is reached."""
        index, build_s = self.build(kind, {})
        plugin, found, open_recalls = INDEXES.load(kind), [], list(recalls)
        with TemporaryDirectory() as folder:
            index.save(Path(folder))
            for settings in efforts:
                if not open_recalls:
                    break
                index = plugin.load(Path(folder), _config(kind, settings), threads=self.threads, verify=False)
                reached = self._search(index, 1.0).recall
                while open_recalls and reached >= open_recalls[0]:
                    found.append(self._figures(kind, open_recalls.pop(0), dict(settings), index, build_s))
        return found

    def _figures(
        self, kind: str, recall: float | None, settings: dict[str, Any], index: VectorIndex, build_s: float
    ) -> KindFigures:
        searches = {share: self._search(index, share) for share in self.filters}
        return KindFigures(
            kind,
            recall,
            settings,
            searches.pop(1.0),
            searches,
            build_s,
            index.memory_bytes / len(self.vectors),
            self._adds_per_s(index),
        )

    def _search(self, index: VectorIndex, share: float) -> SearchFigures:
        """Ask every query `ROUNDS` times; the truth of a query that has none, under a narrow filter, is found."""
        one, truths = self.filters[share], self.truths[share]
        index.search(self.queries[-1], self.k, *one)
        times = np.empty((ROUNDS, len(self.queries)))
        shares = np.ones(len(self.queries))
        for number in range(ROUNDS):
            for place, query in enumerate(self.queries):
                start = perf_counter()
                found = index.search(query, self.k, *one)
                times[number, place] = (perf_counter() - start) * 1e6
                if truths[place].size:
                    shares[place] = np.isin(truths[place], found.items).mean()
        p50, p95 = np.percentile(times.min(axis=0), (50, 95))
        return SearchFigures(float(shares.mean()), float(p50), float(p95))

    def _adds_per_s(self, index: VectorIndex) -> float:
        rows = len(self.vectors) + np.arange(N_ADDED, dtype=np.int32)
        start = perf_counter()
        for first in range(0, N_ADDED, ADDED_TOGETHER):
            part = slice(first, first + ADDED_TOGETHER)
            index = index.add(rows[part], self.fresh[part])
        return N_ADDED / (perf_counter() - start)


def _config(kind: str, settings: Mapping[str, Any]) -> PluginConfig:
    return INDEXES.load(kind).Config.model_validate({"kind": kind, **settings})


def _names(kinds: Sequence[str] | None) -> list[str]:
    installed = INDEXES.names()
    if kinds is None:
        return [name for name in installed if name != "auto"]
    for name in kinds:
        if name not in installed:
            raise RequestError(f"kinds: no index is of kind {name!r}; {nearest(name, installed)}")
    return list(dict.fromkeys(kinds))


def _check(vectors: Matrix, queries: Matrix) -> None:
    for name, given in (("vectors", vectors), ("queries", queries)):
        if given.ndim != 2 or not given.size:
            raise RequestError(f"{name}: have shape {given.shape}; pass (n, dim), at least one row")
    if vectors.shape[1] != queries.shape[1]:
        raise RequestError(
            f"queries: have length {queries.shape[1]}, the vectors {vectors.shape[1]}; pass queries of that length"
        )

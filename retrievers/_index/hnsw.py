"""The graph index: hnswlib over the main part, with everything around it that hnswlib does not do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from multirecall.errors import BundleError
from multirecall.extras import import_extra
from multirecall.lists import RankedList
from multirecall.progress import Progress
from multirecall.vector_index import IndexConfig, Space

from .base import StoredIndex
from .foreign import UnsearchedIndex, can_open, check_release
from .part import release_of
from .vectors import Vectors

GRAPH = "graph.hnsw"
CHUNK = 2_000
"""The number of vectors that are added between two reports of progress."""

SCANNED_PER_STEP = 100
"""The cost of one graph step, in vectors that the exact search scores in the same time (a trade-off of speed only)."""

METRICS: dict[Space, str] = {"cosine": "ip", "inner_product": "ip", "l2": "l2"}


WIDENING: dict[Space, int] = {"cosine": 1, "inner_product": 4, "l2": 4}
"""The factor on the width of a graph search in each space. Vectors of very different length mislead the graph."""


class HnswConfig(IndexConfig):
    """Settings of an index of kind `hnsw`."""

    efforts: ClassVar[tuple[Mapping[str, Any], ...]] = tuple(
        {"ef_search": width} for width in (10, 20, 50, 100, 200, 400, 800, 1_600, 3_200)
    )

    kind: Literal["hnsw"] = "hnsw"
    """Walks a graph, which takes far longer to build than an inverted file, and scores every vector where that is
    faster. A graph is built with the extra `hnsw`; without it every vector is scored where one was saved."""

    M: int = Field(default=24, ge=2, le=100)
    """Links of a vector in the graph; more find more, build longer and take 8 bytes each. Changes results."""

    ef_construction: int = Field(default=200, ge=10, le=2_000)
    """Width of the searches that build the graph; more find more and build longer. Changes results."""

    ef_search: int = Field(default=200, ge=10, le=10_000)
    """Width of a search, `max(ef_search, 2 k)` for `k` items in `cosine`, four times that in the other spaces, where
    long vectors beside short ones mislead the graph. Changes results."""

    def width(self, space: Space, k: int) -> int:
        """The number of candidates that a search for `k` items looks at."""
        return WIDENING[space] * max(self.ef_search, 2 * k)


class HnswIndex(StoredIndex):
    """Hierarchical navigable small worlds (Malkov & Yashunin, TPAMI 2018) over the main part of the vectors.

    The graph is never changed once it is built. A search walks it for candidates, drops what is removed, excluded
    or not allowed, adds what was added since, and scores all of them again from the vectors themselves; when too
    few remain, it walks wider. Where scoring every eligible vector is faster than the walk, that is done instead:
    for few vectors, narrow filters and large `k`. A graph is built with the extra `hnsw`; where one was saved and
    hnswlib is not installed, an `UnsearchedIndex` is opened in its place.
    """

    Config: ClassVar[type[HnswConfig]] = HnswConfig
    kind: ClassVar[str] = "hnsw"
    _graph: Any

    @classmethod
    def _of(cls, vectors: Vectors, settings: HnswConfig, seed: int, threads: int, progress: Progress) -> Self:
        graph = _hnswlib().Index(METRICS[vectors.space], vectors.dim)
        n = vectors.rows.size
        graph.init_index(max(n, 1), M=settings.M, ef_construction=settings.ef_construction, random_seed=seed)
        with progress.task("index: linking vectors into a graph", n) as advance:
            for start in range(0, n, CHUNK):
                chunk = vectors.values[start : start + CHUNK]
                graph.add_items(chunk, np.arange(start, start + len(chunk)), num_threads=threads)
                advance(len(chunk))
        return cls(vectors, settings, seed, threads)._on(graph)

    def _search_near(
        self, query: NDArray[np.float32], k: int, exclude: NDArray[np.int32], allowed: NDArray[np.bool_]
    ) -> RankedList | None:
        stored = self.vectors
        n, eligible = stored.rows.size, stored.n_eligible(allowed)
        usual = self.settings.width(self.space, k + min(k, exclude.size)) * n // max(eligible, 1)
        width = max(k, round(usual * self.effort))
        while width < n and SCANNED_PER_STEP * width < eligible:
            try:
                positions, _ = self._graph.knn_query(query, k=width, num_threads=1)
            except RuntimeError:  # the graph is not connected enough to reach so many
                break
            found, lowest = stored.rescore(positions[0], query, k, exclude, allowed)
            if k == 0 or (len(found) == k and found.scores[-1] >= lowest):
                return found
            width *= 2
        return None

    def _on(self, graph: Any) -> Self:
        self._graph = graph
        return self

    def _with(self, vectors: Vectors) -> Self:
        return type(self)(vectors, self.settings, self.seed, self.threads)._on(self._graph)

    @property
    def _part_bytes(self) -> int:
        return int(self._graph.index_file_size())

    def _save_more(self, folder: Path) -> dict[str, Any]:
        """Write the graph; hnswlib does not say when that fails, so its length is compared."""
        file = folder / GRAPH
        self._graph.save_index(str(file))
        written = file.stat().st_size if file.exists() else 0
        if written != self._graph.index_file_size():
            raise BundleError(
                f"{file}: has {written} bytes instead of {self._graph.index_file_size()}; check the disk and the "
                "permissions"
            )
        return {"hnswlib": release_of("hnswlib"), "metric": METRICS[self.space], "bytes": written}

    @classmethod
    def _open(
        cls, folder: Path, meta: dict[str, Any], vectors: Vectors, settings: HnswConfig, threads: int
    ) -> StoredIndex:
        """Compare all that hnswlib would believe of a file, before it reads it."""
        if not can_open(folder, meta["bytes"] > 0, "hnswlib", cls.kind):
            return UnsearchedIndex(vectors, settings, meta["seed"], threads)
        check_release(folder, meta, "hnswlib", release_of("hnswlib"))
        file = folder / GRAPH
        written = file.stat().st_size if file.is_file() else 0
        if (meta["metric"], meta["bytes"]) != (METRICS[vectors.space], written):
            raise BundleError(f"{file}: is not the graph of its meta.json; restore the folder from a copy")
        graph = _hnswlib().Index(meta["metric"], vectors.dim)
        graph.load_index(str(file), max_elements=max(vectors.rows.size, 1))
        return cls(vectors, settings, meta["seed"], threads)._on(graph)


def _hnswlib() -> Any:
    """The library, imported only where a graph is built or read."""
    return import_extra("hnswlib", "an index of kind 'hnsw'")

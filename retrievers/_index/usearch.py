"""USearch over the main part of the vectors: a graph of whole, half or 8-bit numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from multirecall.extras import import_extra
from multirecall.vector_index import IndexConfig, Space

from .base import Recall
from .foreign import LibraryIndex
from .part import Part, Points

FILE = "graph.usearch"

SCANNED_PER_STEP = 200
"""The time of one step in the graph, in vectors that an exact search scores meanwhile."""

MOST = 127
"""The largest 8-bit number; -128 is not used."""


class UsearchConfig(IndexConfig):
    """Settings of an index of kind `usearch`."""

    kind: Literal["usearch"] = "usearch"
    """Walks a graph of USearch, and scores every vector where that is faster. Built with the extra `usearch`; without
    it every vector is scored where one was saved."""

    dtype: Literal["f32", "f16", "i8"] = "f16"
    """Numbers of the graph: 4, 2 or 1 bytes each. Scores are those of whole vectors all the same. Changes results."""

    connectivity: int = Field(default=16, ge=2, le=200)
    """Links of a vector in the graph; more find more, build longer and take 8 bytes each. Changes results."""

    expansion_add: int = Field(default=128, ge=10, le=2_000)
    """Width of the searches that build the graph; more find more and build longer. Changes results."""

    recall: Recall = 0.99
    """The least share of the true items that a search finds. The build measures on sampled queries which width of a
    walk this needs. A larger value finds more items and takes longer. Changes results."""


class UsearchPart(Part):
    """A graph (Malkov & Yashunin, TPAMI 2018), walked as widely as there are candidates asked for."""

    package: ClassVar[str] = "usearch"
    distribution: ClassVar[str] = "usearch"

    def __init__(self, graph: Any) -> None:
        graph.expansion_search = 1  # a setting of all threads: so the width is the number that each search asks for
        self._graph = graph
        self._l2 = str(graph.metric_kind).endswith("L2sq")
        self._is_coarse = str(graph.dtype).endswith("I8")

    @classmethod
    def build(cls, points: Points, space: Space, settings: UsearchConfig, seed: int, threads: int) -> Self:
        """See `Part.build`; its levels are drawn with a seed of its own."""
        graph = _module().Index(
            ndim=points.shape[1],
            metric="l2sq" if space == "l2" else "ip",
            dtype=settings.dtype,
            connectivity=settings.connectivity,
            expansion_add=settings.expansion_add,
        )
        part = cls(graph)
        graph.add(np.arange(len(points), dtype=np.uint64), part._coded(points), threads=threads)
        return part

    @property
    def most_effort(self) -> int:
        """The widest walk that is tried."""
        return int(min(len(self._graph), 10_000))

    @property
    def n_bytes(self) -> int:
        """Length of its file."""
        return int(self._graph.serialized_length)

    def search(
        self, point: Points, width: int, effort: int, eligible: NDArray[np.bool_] | None
    ) -> NDArray[np.integer[Any]]:
        """See `Part.search`."""
        if not self._l2:
            point = point / np.abs(point).max()
        found = self._graph.search(self._coded(point), max(width, effort), threads=1).keys
        positions: NDArray[np.int64] = found.astype(np.int64)
        return positions

    def cost(self, width: int, effort: int) -> float:
        """See `Part.cost`."""
        return SCANNED_PER_STEP * max(width, effort)

    def write(self, folder: Path) -> None:
        """See `Part.write`."""
        self._graph.save(str(folder / FILE))

    @classmethod
    def read(cls, folder: Path, points: Callable[[], Points], dim: int, space: Space) -> Self:
        """See `Part.read`; the file is mapped."""
        return cls(_module().Index.restore(str(folder / FILE), view=True))

    def _coded(self, points: Points) -> Points | NDArray[np.int8]:
        """Points as they are added and asked for: 8-bit numbers of one scale, which the library would choose anew."""
        if not self._is_coarse:
            return points
        codes: NDArray[np.int8] = np.clip(np.rint(points * MOST), -MOST, MOST).astype(np.int8)
        return codes


class UsearchIndex(LibraryIndex):
    """Walks a graph of USearch, and scores what it proposes from the vectors."""

    Config: ClassVar[type[UsearchConfig]] = UsearchConfig
    kind: ClassVar[str] = "usearch"
    part: ClassVar[type[Part]] = UsearchPart


def _module() -> Any:
    import_extra("usearch", "an index of kind 'usearch'")
    from usearch import index

    return index

"""Annoy over the main part of the vectors: a forest in a file that is mapped into memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, ClassVar, Literal, Self
from weakref import finalize

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from multirecall.extras import import_extra
from multirecall.vector_index import IndexConfig, Space

from .base import Recall
from .foreign import LibraryIndex
from .part import Part, Points

FILE = "forest.annoy"
METRICS: dict[Space, str] = {"cosine": "angular", "inner_product": "dot", "l2": "euclidean"}
BLOCK = 1 << 24
"""Bytes that are copied at a time."""

OVERHEAD = 2_000
"""The time of a call, in vectors that an exact search scores meanwhile."""

SCANNED_PER_NODE = 12
"""The time of a node that is inspected, in the same measure."""


class AnnoyConfig(IndexConfig):
    """Settings of an index of kind `annoy`."""

    kind: Literal["annoy"] = "annoy"
    """Searches a forest of Annoy in a file that processes share, and scores every vector where that is faster. Built
    with the extra `annoy`; without it every vector is scored where one was saved."""

    trees: int = Field(default=50, ge=1, le=1_000)
    """Trees of the forest; more find more, build longer and take more memory. Changes results."""

    recall: Recall = 0.99
    """The least share of the true items that a search finds. The build measures on sampled queries how many nodes
    (`search_k`) this needs. A larger value finds more items and takes longer. Changes results."""


class AnnoyPart(Part):
    """A forest (Bernhardsson, 2013) whose file is mapped; where it was built, that file has no name any more."""

    package: ClassVar[str] = "annoy"
    distribution: ClassVar[str] = "annoy"

    def __init__(self, forest: Any, file: str) -> None:
        self._forest = forest
        self._file = os.open(file, os.O_RDONLY)
        finalize(self, os.close, self._file)

    @classmethod
    def build(cls, points: Points, space: Space, settings: AnnoyConfig, seed: int, threads: int) -> Self:
        """See `Part.build`."""
        forest = _forest(points.shape[1], space)
        forest.set_seed(seed)
        for position, point in enumerate(points):
            forest.add_item(position, point)
        forest.build(settings.trees, n_jobs=threads)
        with NamedTemporaryFile(suffix=".annoy") as named:
            forest.save(named.name)  # maps the file in place of what it was built in
            return cls(forest, named.name)

    @property
    def most_effort(self) -> int:
        """As many nodes as there are vectors: to score all of them takes less time."""
        return int(self._forest.get_n_items())

    @property
    def n_bytes(self) -> int:
        """Length of the file."""
        return os.fstat(self._file).st_size

    def search(
        self, point: Points, width: int, effort: int, eligible: NDArray[np.bool_] | None
    ) -> NDArray[np.integer[Any]]:
        """See `Part.search`."""
        return np.array(self._forest.get_nns_by_vector(point.tolist(), width, max(effort, width)), np.int64)

    def cost(self, width: int, effort: int) -> float:
        """See `Part.cost`."""
        return OVERHEAD + SCANNED_PER_NODE * max(effort, width)

    def write(self, folder: Path) -> None:
        """Copy the file, which a forest in use may not be asked to save."""
        place = 0
        with (folder / FILE).open("wb") as target:
            while block := os.pread(self._file, BLOCK, place):
                place += target.write(block)

    @classmethod
    def read(cls, folder: Path, points: Callable[[], Points], dim: int, space: Space) -> Self:
        """See `Part.read`."""
        file, forest = str(folder / FILE), _forest(dim, space)
        forest.load(file)
        return cls(forest, file)


class AnnoyIndex(LibraryIndex):
    """Searches a forest of Annoy in a mapped file, and scores what it proposes from the vectors."""

    Config: ClassVar[type[AnnoyConfig]] = AnnoyConfig
    kind: ClassVar[str] = "annoy"
    part: ClassVar[type[Part]] = AnnoyPart


def _forest(dim: int, space: Space) -> Any:
    return import_extra("annoy", "an index of kind 'annoy'").AnnoyIndex(dim, METRICS[space])

"""Faiss over the main part of the vectors, by a factory string."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from multirecall.errors import DataError
from multirecall.extras import import_extra
from multirecall.storage import read_component, write_component
from multirecall.vector_index import IndexConfig, Space

from .base import Recall
from .foreign import LibraryIndex
from .part import Part, Points

FILE = "faiss.index"
LISTS = "lists"
CELLS_PER_ROOT = 4
"""Cells of `auto` for each square root of the number of vectors."""

OVERHEAD = 1_000
"""The time of a call, in vectors that an exact search scores meanwhile."""

SCANNED_PER_STEP = 120
"""The time of one step in a graph, in the same measure."""

KEPT = 3
"""The time for each candidate, in the same measure."""

PLACE = re.compile(r"Error in .*? at \S+:\d+: ", re.DOTALL)
"""How Faiss begins its messages: with the place in its code."""


class FaissConfig(IndexConfig):
    """Settings of an index of kind `faiss`."""

    kind: Literal["faiss"] = "faiss"
    """Searches an index of Faiss, and scores every vector where that is faster. Built with the extra `faiss`; without
    it every vector is scored where one was saved."""

    factory: str = Field(default="auto", min_length=1)
    """What Faiss builds, such as `IVF1024,Flat`, `IVF4096,PQ32x4fs`, `HNSW32` or `SQ8`: a string of its
    `index_factory`, in whichever way it compresses vectors. `auto` is an inverted file of whole vectors with four times
    the square root of their number of cells. Changes results."""

    recall: Recall = 0.99
    """The least share of the true items that a search finds. The build measures on sampled queries how many cells, or
    which width of a walk, and how many candidates this needs. A larger value finds more items and takes longer.
    Changes results."""


class FaissPart(Part):
    """An index of Faiss (Douze et al., 2024)."""

    package: ClassVar[str] = "faiss"
    distribution: ClassVar[str] = "faiss-cpu"

    def __init__(self, index: Any) -> None:
        faiss = _faiss()
        self._index = index
        self._inner = _inner(index)
        self._is_file = isinstance(self._inner, faiss.IndexIVF)
        self._is_graph = isinstance(self._inner, faiss.IndexHNSW)
        self.lossy = type(index) not in (
            faiss.IndexFlat,
            faiss.IndexFlatIP,
            faiss.IndexFlatL2,
            faiss.IndexIVFFlat,
        ) and (type(index) is not faiss.IndexHNSWFlat)
        self.filters = not self._is_graph and self._takes_filter()  # a graph that is filtered stops too early

    @classmethod
    def build(cls, points: Points, space: Space, settings: FaissConfig, seed: int, threads: int) -> Self:
        """See `Part.build`."""
        faiss, n = _faiss(), len(points)
        cells = max(1, min(round(CELLS_PER_ROOT * n**0.5), n // 4))
        name = f"IVF{cells},Flat" if settings.factory == "auto" else settings.factory
        try:
            with _threads(threads):
                index = faiss.index_factory(points.shape[1], name, _metric(space))
                _seed(index, seed)
                index.train(points)
                index.add(points)
        except RuntimeError as fault:
            said = PLACE.split(str(fault))[-1].removeprefix("Error: ")
            raise DataError(
                f"index.factory: faiss makes no {name!r} of {n} vectors of length {points.shape[1]} ({said}); choose "
                "fewer cells or another string, or 'auto'"
            ) from None
        return cls(index)

    @property
    def most_effort(self) -> int:
        """Cells, or the width of a walk; 1 where there is nothing to choose."""
        if self._is_file:
            return int(self._inner.nlist)
        return int(min(self._index.ntotal, 10_000)) if self._is_graph else 1

    @property
    def n_bytes(self) -> int:
        """Length of its file."""
        faiss, size = _faiss(), 0

        def count(block: bytes) -> int:
            nonlocal size
            size += len(block)
            return len(block)

        faiss.write_index(self._index, faiss.PyCallbackIOWriter(count))
        return size

    def search(
        self, point: Points, width: int, effort: int, eligible: NDArray[np.bool_] | None
    ) -> NDArray[np.integer[Any]]:
        """See `Part.search`."""
        selector = None
        if eligible is not None:
            bits = np.packbits(eligible, bitorder="little")
            selector = _faiss().IDSelectorBitmap(bits)
        with _threads(1):
            _, found = self._index.search(point[None], width, params=self._params(effort, width, selector))
        positions: NDArray[np.int64] = found[0]
        return positions[positions >= 0]

    def cost(self, width: int, effort: int) -> float:
        """See `Part.cost`."""
        if self._is_graph:
            return OVERHEAD + SCANNED_PER_STEP * max(effort, width)
        n = self._index.ntotal
        scanned = self._inner.nlist + effort * n / self._inner.nlist if self._is_file else n / 2
        return float(OVERHEAD + KEPT * width + scanned)

    def write(self, folder: Path) -> None:
        """Write the cells of an inverted file of whole vectors, and of all others the file of Faiss."""
        faiss = _faiss()
        if not _is_plain(self._index):
            faiss.write_index(self._index, str(folder / FILE))
            return
        centroids = self._index.quantizer.reconstruct_n(0, self._index.nlist)
        cells = np.empty(self._index.ntotal, np.int64)
        for cell in range(self._index.nlist):
            size = self._index.invlists.list_size(cell)
            if size:
                cells[faiss.rev_swig_ptr(self._index.invlists.get_ids(cell), size)] = cell
        write_component(folder / LISTS, {"centroids": centroids, "cells": cells}, {})

    @classmethod
    def read(cls, folder: Path, points: Callable[[], Points], dim: int, space: Space) -> Self:
        """See `Part.read`."""
        faiss = _faiss()
        if not (folder / LISTS).is_dir():
            return cls(faiss.read_index(str(folder / FILE)))
        arrays, _ = read_component(folder / LISTS)
        centroids, cells = (np.ascontiguousarray(arrays[name]) for name in ("centroids", "cells"))
        metric = _metric(space)
        quantizer = faiss.IndexFlat(dim, metric)
        quantizer.add(centroids)
        index = faiss.IndexIVFFlat(quantizer, dim, len(centroids), metric)
        index.is_trained = True
        placed = points()
        with _threads(1):
            index.add_core(len(placed), faiss.swig_ptr(placed), None, faiss.swig_ptr(cells))
        return cls(index)

    @classmethod
    def release(cls) -> str:
        """Also of a build of Faiss that another project installs."""
        return ".".join(_faiss().__version__.split(".")[:2])

    def _params(self, effort: int, width: int, selector: Any) -> Any:
        """What a search is told, for each layer of the index."""
        faiss = _faiss()
        more = {} if selector is None else {"sel": selector}
        if self._is_file:
            params = faiss.SearchParametersIVF(nprobe=effort, **more)
        elif self._is_graph:
            params = faiss.SearchParametersHNSW(efSearch=max(effort, width), **more)
        else:
            params = faiss.SearchParameters(**more) if more else None
        if isinstance(self._index, faiss.IndexPreTransform) and params is not None:
            return faiss.SearchParametersPreTransform(index_params=params)
        return params

    def _takes_filter(self) -> bool:
        """Whether it knows selectors, which it says only when it is asked."""
        try:
            self.search(np.ones(self._index.d, np.float32), 1, 1, np.ones(self._index.ntotal, np.bool_))
        except RuntimeError:
            return False
        return True


class FaissIndex(LibraryIndex):
    """Searches an index of Faiss that a factory string names, and scores what it proposes from the vectors."""

    Config: ClassVar[type[FaissConfig]] = FaissConfig
    kind: ClassVar[str] = "faiss"
    part: ClassVar[type[Part]] = FaissPart


def _faiss() -> Any:
    return import_extra("faiss", "an index of kind 'faiss'")


def _metric(space: Space) -> Any:
    return _faiss().METRIC_L2 if space == "l2" else _faiss().METRIC_INNER_PRODUCT


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Let Faiss use so many threads in this thread alone, whose own number is set again afterwards."""
    faiss = _faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(number)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _inner(index: Any) -> Any:
    """The inverted file or graph below a transformation of the vectors, or the index itself."""
    faiss = _faiss()
    while isinstance(index, faiss.IndexPreTransform):
        index = faiss.downcast_index(index.index)
    return index


def _is_plain(index: Any) -> bool:
    """Whether an index is an inverted file of whole vectors below flat centroids."""
    faiss = _faiss()
    return type(index) is faiss.IndexIVFFlat and isinstance(faiss.downcast_index(index.quantizer), faiss.IndexFlat)


def _seed(index: Any, seed: int) -> None:
    """Set the seed of every clustering, and silence its warnings about few vectors, of which tests decide."""
    inner = _inner(index)
    for owner in (inner, getattr(inner, "pq", None)):
        clustering = getattr(owner, "cp", None)
        if clustering is not None:
            clustering.seed = seed % 2**31
            clustering.min_points_per_centroid = 1

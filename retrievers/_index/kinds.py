"""The kinds of vector index: how one is found by its name, built and loaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multirecall.errors import BundleError
from multirecall.progress import SILENT, Progress
from multirecall.storage import read_component, verified_manifest

from .base import FORMAT, IndexConfig, VectorIndex
from .vectors import Space, Vectors


def build_index(
    rows: NDArray[np.int32],
    vectors: ArrayLike,
    space: Space,
    settings: IndexConfig,
    *,
    rng: np.random.Generator,
    asked: ArrayLike | None = None,
    threads: int = 1,
    progress: Progress = SILENT,
) -> VectorIndex:
    """An index of the kind that `settings` ask for, over `vectors` (n, dim) of the item rows `rows` (n,).

    `asked` (m, dim) are queries as they will come, which an index that measures its recall needs where they are not
    like the vectors. The same input and the same state of `rng` give the same index with one thread; with more, a
    graph differs from build to build.

    Raises:
        DataError: a row is repeated or negative, shapes do not fit, or a vector is not finite.
    """
    seed = int(rng.integers(2**31))
    given = Vectors.of(rows, vectors, space, asked)
    return index_class(settings.kind).build(given, settings, seed, threads, progress)


def load_index(folder: Path, settings: IndexConfig, *, threads: int = 1, verify: bool = True) -> VectorIndex:
    """The index that was saved into `folder`; `settings`, of the kind that it had, hold for searches and later builds.

    `verify` compares every file with the manifest first. A retriever passes False, since the engine has compared all
    files of the bundle.

    Raises:
        BundleError: a file is missing or damaged, another version has written it, or it is of another kind.
    """
    if verify:
        verified_manifest(folder)
    arrays, meta = read_component(folder)
    if meta.get("format") != FORMAT:
        raise BundleError(f"{folder}: has format {meta.get('format')}, this program reads {FORMAT}; build it again")
    vectors = Vectors.of_arrays(arrays, meta["space"], str(folder))
    if (meta["dim"], meta["rows"], meta["live"]) != (vectors.dim, vectors.rows.size, vectors.live):
        raise BundleError(f"{folder}: the vectors are not those of its meta.json; restore the folder from a copy")
    found = index_class(settings.kind)
    if not found.reads(meta["kind"]):
        raise BundleError(
            f"{folder}: holds an index of kind {meta['kind']!r}, the settings name {settings.kind!r}; fit again"
        )
    return found._open(folder, meta, vectors, settings, threads)


def index_class(kind: str) -> type[VectorIndex]:
    """The implementation of a kind, imported only where it is used."""
    if kind == "auto":
        from .auto import AutoIndex

        return AutoIndex
    if kind == "exact":
        from .exact import ExactIndex

        return ExactIndex
    if kind == "ivf":
        from .ivf import IvfIndex

        return IvfIndex
    from .hnsw import HnswIndex

    return HnswIndex

"""What the built-in kinds of index share: vectors that take changes, rebuilds, and files."""

from __future__ import annotations

from abc import abstractmethod
from copy import copy
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from multirecall.errors import BundleError
from multirecall.lists import RankedList
from multirecall.progress import SILENT, Progress
from multirecall.storage import read_component, verify_manifest, write_component, write_manifest
from multirecall.topk import ALL_ALLOWED, NO_ROWS
from multirecall.vector_index import IndexConfig, Space, VectorIndex

from .vectors import Vectors

FORMAT = 2

CHANGED_SHARE = 0.1
"""The index is rebuilt when added vectors, or removed and replaced ones, exceed this share of the main part."""

CHANGED_AT_LEAST = 1_000
"""The fewest added, or removed and replaced, vectors that trigger a rebuild. To scan fewer is cheaper."""

Recall = Annotated[float, Field(ge=0.5, le=1)]
"""The share of the true items that a search finds, in the mean over sampled queries."""


class StoredIndex(VectorIndex):
    """An index over a `Vectors`: a main part that it is built over, and a small part that was added since.

    Args:
        vectors: the vectors to search.
        settings: an instance of `Config`.
        seed: the seed of this build and of later rebuilds.
        threads: the threads of builds.
    """

    Config: ClassVar[type[IndexConfig]]
    kind: ClassVar[str]
    """Its name in settings and files."""

    def __init__(self, vectors: Vectors, settings: Any, seed: int, threads: int) -> None:
        self.vectors = vectors
        self.settings = settings
        self.seed = seed
        self.threads = threads
        self.effort = 1.0

    def __len__(self) -> int:
        return self.vectors.live

    @property
    def space(self) -> Space:
        """See `VectorIndex.space`."""
        return self.vectors.space

    @property
    def dim(self) -> int:
        """See `VectorIndex.dim`."""
        return self.vectors.dim

    @classmethod
    def build(
        cls,
        rows: NDArray[np.int32],
        vectors: ArrayLike,
        space: Space,
        settings: IndexConfig,
        *,
        seed: int,
        asked: ArrayLike | None,
        threads: int,
        progress: Progress,
    ) -> Self:
        """See `VectorIndex.build`."""
        return cls._of(Vectors.of(rows, vectors, space, asked), settings, seed, threads, progress)

    def search(
        self,
        vector: ArrayLike,
        k: int,
        exclude: NDArray[np.int32] = NO_ROWS,
        allowed: NDArray[np.bool_] = ALL_ALLOWED,
    ) -> RankedList:
        """See `VectorIndex.search`."""
        query, is_zero = self.vectors.query(vector)
        self.vectors.check_filter(allowed)
        found = None if is_zero else self._search_near(query, max(k, 0), exclude, allowed)
        return self.vectors.scan(query, max(k, 0), exclude, allowed) if found is None else found

    def with_effort(self, effort: float) -> Self:
        """See `VectorIndex.with_effort`."""
        if effort == self.effort:
            return self
        hasty = copy(self)
        hasty.effort = effort
        return hasty

    def add(self, rows: NDArray[np.int32], vectors: ArrayLike) -> Self:
        """See `VectorIndex.add`.

        Shares what did not change with this one. Once `CHANGED_SHARE` is passed it is built anew, which takes as long
        as a build.
        """
        return self._with_or_rebuild(self.vectors.with_rows(rows, vectors))

    def remove(self, rows: NDArray[np.int32]) -> Self:
        """See `VectorIndex.remove`; otherwise as `add`."""
        return self._with_or_rebuild(self.vectors.without(rows))

    def of_rows(self, rows: NDArray[np.int32]) -> Self:
        """An index of the same settings over the vectors of these rows, int32 (n,), only; takes as long as a build."""
        return self._rebuild(self.vectors.of_rows(rows))

    def item_vectors(self) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """See `VectorIndex.item_vectors`."""
        kept = self.vectors.compact()
        return kept.rows, kept.values

    @property
    def memory_bytes(self) -> int:
        """See `VectorIndex.memory_bytes`."""
        return sum(array.nbytes for array in self.vectors.arrays().values()) + self._part_bytes

    @property
    def _part_bytes(self) -> int:
        """What the main part takes beside the vectors."""
        return 0

    def vectors_of(self, rows: NDArray[np.int32]) -> NDArray[np.float32]:
        """See `VectorIndex.vectors_of`."""
        return self.vectors.take(rows)

    def save(self, folder: Path) -> None:
        """See `VectorIndex.save`."""
        try:
            if folder.exists() and any(folder.iterdir()):
                raise BundleError(f"{folder}: is not empty; save the index into a folder of its own")
            folder.mkdir(parents=True, exist_ok=True)
            meta = {
                "format": FORMAT,
                "kind": self.kind,
                "space": self.space,
                "dim": self.dim,
                "rows": self.vectors.rows.size,
                "live": len(self),
                "seed": self.seed,
            }
            write_component(folder, self.vectors.arrays(), {**meta, **self._save_more(folder)})
            write_manifest(folder, {})
        except OSError as fault:
            raise BundleError(f"{folder}: cannot be written ({fault}); check the disk and the permissions") from None

    @classmethod
    def load(cls, folder: Path, settings: IndexConfig, *, threads: int, verify: bool) -> StoredIndex:
        """See `VectorIndex.load`."""
        if verify:
            verify_manifest(folder)
        arrays, meta = read_component(folder)
        if meta.get("format") != FORMAT:
            raise BundleError(f"{folder}: has format {meta.get('format')}, this program reads {FORMAT}; build it again")
        if not cls._reads(meta["kind"]):
            raise BundleError(
                f"{folder}: holds an index of kind {meta['kind']!r}, the settings name {cls.kind!r}; fit again"
            )
        vectors = Vectors.of_arrays(arrays, meta["space"], str(folder))
        if (meta["dim"], meta["rows"], meta["live"]) != (vectors.dim, vectors.rows.size, vectors.live):
            raise BundleError(f"{folder}: the vectors are not those of its meta.json; restore the folder from a copy")
        return cls._open(folder, meta, vectors, settings, threads)

    def _search_near(
        self, query: NDArray[np.float32], k: int, exclude: NDArray[np.int32], allowed: NDArray[np.bool_]
    ) -> RankedList | None:
        """The result of a search that does not score every vector; None if there is no such search or it is slower.

        Args:
            query: float32 (dim,), from `Vectors.query`, not zero.
            k: 0 or more.
            exclude: as in `search`.
            allowed: as in `search`, long enough.
        """
        return None

    @classmethod
    @abstractmethod
    def _of(cls, vectors: Vectors, settings: Any, seed: int, threads: int, progress: Progress) -> Self:
        """An index over `vectors`, all of them in the main part."""

    @abstractmethod
    def _with(self, vectors: Vectors) -> Self:
        """This index over a later state of its vectors, with the same main part."""

    @abstractmethod
    def _save_more(self, folder: Path) -> dict[str, Any]:
        """Write what `_open` needs beside the vectors, and return what to note of it."""

    @classmethod
    def _reads(cls, kind: str) -> bool:
        """Whether it opens files of this kind: its own, unless it is made of others."""
        return kind == cls.kind

    @classmethod
    @abstractmethod
    def _open(cls, folder: Path, meta: dict[str, Any], vectors: Vectors, settings: Any, threads: int) -> StoredIndex:
        """The index that was saved into `folder`, whose files have been verified."""

    def _with_or_rebuild(self, vectors: Vectors) -> Self:
        most = max(CHANGED_AT_LEAST, CHANGED_SHARE * vectors.rows.size)
        if vectors.new_rows.size <= most and vectors.n_dead <= most:
            return self._with(vectors)
        return self._rebuild(vectors.compact())

    def _rebuild(self, vectors: Vectors) -> Self:
        """An index of the same settings over `vectors`, all of them in the main part."""
        return self._of(vectors, self.settings, self.seed, self.threads, SILENT)

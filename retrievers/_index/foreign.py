"""An index over the part of a library, with everything around it that libraries do not do."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.errors import BundleError, DataError, MissingExtra
from multirecall.extras import import_extra
from multirecall.lists import RankedList
from multirecall.progress import Progress
from multirecall.storage import read_component, write_component
from multirecall.vector_index import IndexConfig

from .base import StoredIndex
from .effort import Efforts
from .exact import ExactIndex
from .part import Part, Place
from .vectors import Vectors

_log = logging.getLogger("multirecall.retrievers")

FOLDER = "part"

NARROW = 20
"""Where a filter leaves fewer than one in so many vectors, all that it leaves are scored."""


@dataclass(frozen=True, slots=True)
class Searched:
    """The part of a library, where vectors stand in it, and how hard it has to search."""

    part: Part
    place: Place
    efforts: Efforts


class LibraryIndex(StoredIndex):
    """The index of a library over the main part of the vectors.

    It never changes once it is built. A search asks it for candidates, drops what is removed, excluded or not allowed,
    adds what was added since, and scores all of them from the vectors themselves; when too few remain, it asks for
    more. How hard the library has to search is measured at the build, so that the recall is there that the settings
    ask for; where no effort is enough, every vector is scored. So is every eligible one where that is faster: for few
    vectors, narrow filters and large `k`. Where the library is not installed, an `UnsearchedIndex` is opened in its
    place.
    """

    Config: ClassVar[type[IndexConfig]]
    part: ClassVar[type[Part]]
    _searched: Searched | None

    @classmethod
    def _of(cls, vectors: Vectors, settings: Any, seed: int, threads: int, progress: Progress) -> Self:
        index = cls(vectors, settings, seed, threads)
        if vectors.rows.size == 0:
            return index._on(None)
        import_extra(cls.part.package, f"an index of kind {cls.kind!r}")
        with progress.task(f"index: building it with {cls.part.package}", 2, steady=False) as advance:
            place, points = Place.of(vectors)
            part = cls.part.build(points, vectors.space, settings, seed, threads)
            advance(1)
            efforts = Efforts.measure(part, place, vectors, settings.recall, np.random.default_rng(seed))
            advance(1)
        return index._on(Searched(part, place, efforts))

    @property
    def _part_bytes(self) -> int:
        return self._searched.part.n_bytes if self._searched else 0

    def _search_near(
        self, query: NDArray[np.float32], k: int, exclude: NDArray[np.int32], allowed: NDArray[np.bool_]
    ) -> RankedList | None:
        searched, stored = self._searched, self.vectors
        n, eligible = stored.rows.size, stored.n_eligible(allowed)
        if searched is None or k == 0 or eligible * NARROW < n:
            return None
        point = searched.place.point(query)
        if point is None:
            return None
        part = searched.part
        live = allowed[stored.rows] & ~stored.dead if part.filters and allowed.size else None
        size = (k + min(k, exclude.size)) * n // eligible
        while size <= n:
            width, effort = searched.efforts.of(size)
            if not effort or part.is_slow(width, effort, eligible):
                break
            wanted = width if live is None else width * eligible // n + 1
            effort = max(1, round(min(effort, part.most_effort) * self.effort))
            positions = part.search(point, min(wanted, n), effort, live)
            found, lowest = stored.rescore(positions, query, k, exclude, allowed)
            if len(found) == k and found.scores[-1] >= lowest:
                return found
            size *= 2
        return None

    def _on(self, searched: Searched | None) -> Self:
        self._searched = searched
        return self

    def _with(self, vectors: Vectors) -> Self:
        return type(self)(vectors, self.settings, self.seed, self.threads)._on(self._searched)

    def _rebuild(self, vectors: Vectors) -> Self:
        try:
            return super()._rebuild(vectors)
        except DataError as fault:  # too few are left for the settings
            _log.warning("%s; until a later build, every vector is scored", fault)
            return type(self)(vectors, self.settings, self.seed, self.threads)._on(None)

    def _save_more(self, folder: Path) -> dict[str, Any]:
        searched = self._searched
        if searched is None:
            return {"searched": False}
        place, efforts = searched.place, searched.efforts
        arrays = {"centre": place.centre, "widths": efforts.widths, "efforts": efforts.efforts}
        write_component(folder / FOLDER, arrays, {"unit": place.unit})
        searched.part.write(folder / FOLDER)
        return {"searched": True, self.part.package: self.part.release()}

    @classmethod
    def _open(cls, folder: Path, meta: dict[str, Any], vectors: Vectors, settings: Any, threads: int) -> StoredIndex:
        index = cls(vectors, settings, meta["seed"], threads)
        if vectors.rows.size == 0:
            return index._on(None)
        if not can_open(folder, meta["searched"], cls.part.package, cls.kind):
            return UnsearchedIndex(vectors, settings, meta["seed"], threads)
        check_release(folder, meta, cls.part.package, cls.part.release())
        arrays, own = read_component(folder / FOLDER)
        place = Place(arrays["centre"], own["unit"], vectors.space)
        part = cls.part.read(folder / FOLDER, lambda: place.points(vectors), vectors.dim, vectors.space)
        return index._on(Searched(part, place, Efforts(arrays["widths"], arrays["efforts"])))


class UnsearchedIndex(ExactIndex):
    """What is left of an index without its library: its vectors, all of which are scored, until the next fit."""

    def _save_more(self, folder: Path) -> dict[str, Any]:
        return {"kind": self.settings.kind, "searched": False, "bytes": 0}


def can_open(folder: Path, was_built: bool, library: str, kind: str) -> bool:
    """Whether there is a part to open and the library is there; warns that every vector is scored where not."""
    if not was_built:
        _log.warning("%s: was saved without %s: every vector is scored, until it is fitted again", folder, library)
        return False
    try:
        import_extra(library, f"an index of kind {kind!r}")
    except MissingExtra as fault:
        _log.warning("%s: every vector is scored, which takes longer: %s", folder, fault)
        return False
    return True


def check_release(folder: Path, meta: dict[str, Any], library: str, release: str) -> None:
    """Refuse what another release of a library has written.

    Raises:
        BundleError: it has.
    """
    if meta.get(library) != release:
        raise BundleError(
            f"{folder}: was written by {library} {meta.get(library)}, this is {release}; install that or fit again"
        )

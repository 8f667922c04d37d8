"""What an index takes from a library: a search over points that may miss some, and files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.vector_index import Space

from .cells import centre_and_scale
from .vectors import Vectors

FARTHEST = 1e15
"""The largest entry of a point that libraries are asked about; squares of larger ones may overflow float32."""

Points = NDArray[np.float32]


class Part(ABC):
    """The index of a library over points, float32 (n, dim), by their positions. It never changes."""

    package: ClassVar[str]
    """The name that is imported."""

    distribution: ClassVar[str]
    """The project that is installed."""

    filters: bool = False
    """Whether its search may take a bitmap."""

    lossy: bool = False
    """Whether it keeps points in fewer bits, so that its nearest ones have to be chosen again from the vectors."""

    @classmethod
    @abstractmethod
    def build(cls, points: Points, space: Space, settings: Any, seed: int, threads: int) -> Self:
        """An index over at least one point, by distance in `l2` and by the inner product in the other spaces.

        Raises:
            DataError: the points are too few for the settings, or the library refuses these.
        """

    @property
    @abstractmethod
    def most_effort(self) -> int:
        """The largest effort that makes sense; no smaller one than 1."""

    @property
    @abstractmethod
    def n_bytes(self) -> int:
        """Memory that it takes."""

    @abstractmethod
    def search(
        self, point: Points, width: int, effort: int, eligible: NDArray[np.bool_] | None
    ) -> NDArray[np.integer[Any]]:
        """Positions near a point (dim,), at least `width` of them where it finds so many.

        Args:
            point: float32 (dim,).
            width: how many are wanted, not more than there are points.
            effort: what the library calls it, 1 or more; more finds more and takes longer.
            eligible: bool (n,), of which positions; None: all. Only if `filters`.
        """

    @abstractmethod
    def cost(self, width: int, effort: int) -> float:
        """The time of a search, in vectors that an exact search scores meanwhile."""

    def is_slow(self, width: int, effort: int, eligible: int) -> bool:
        """Whether a search takes as long as to score all eligible vectors."""
        return self.cost(width, effort) >= eligible

    @abstractmethod
    def write(self, folder: Path) -> None:
        """Write what `read` needs into `folder`, which exists."""

    @classmethod
    @abstractmethod
    def read(cls, folder: Path, points: Callable[[], Points], dim: int, space: Space) -> Self:
        """The index that was written into `folder`, whose files are those that were written.

        Args:
            folder: as in `write`.
            points: gives the points that it was built over, where they are needed.
            dim: length of a point.
            space: as in `build`.
        """

    @classmethod
    def release(cls) -> str:
        """Major and minor version of the library, with which its files may change."""
        return release_of(cls.distribution)


@cache
def release_of(distribution: str) -> str:
    """Major and minor version of an installed project."""
    return ".".join(version(distribution).split(".")[:2])


@dataclass(frozen=True, slots=True)
class Place:
    """Where vectors stand among the points of a library: near 0 and of a size near 1, so that no precision is lost.

    Attributes:
        centre: float64 (dim,), what `l2` takes from each; 0 in the other spaces.
        unit: what each is divided by.
        space: the similarity.
    """

    centre: NDArray[np.float64]
    unit: float
    space: Space

    @classmethod
    def of(cls, vectors: Vectors) -> tuple[Self, Points]:
        """The place of vectors, and the points of the main part, float32 (n, dim)."""
        has_centre = vectors.space == "l2"
        centre = vectors.values.mean(axis=0, dtype=np.float64) if has_centre else np.zeros(vectors.dim)
        points, unit = centre_and_scale(vectors.values, centre)
        return cls(centre, unit, vectors.space), points

    def points(self, vectors: Vectors) -> Points:
        """The points of the main part, once more."""
        return self.of(vectors)[1]

    def point(self, query: NDArray[np.float32]) -> Points | None:
        """The point of a query (dim,), of which only the direction counts but in `l2`; None if it is too far away."""
        moved = (query - self.centre) / (self.unit if self.space == "l2" else np.abs(query).max())
        return None if np.abs(moved).max() > FARTHEST else moved.astype(np.float32)

"""A vector for each item row, with cheap changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class VectorTable:
    """A vector for each row. A changed copy shares the vectors of the fit.

    Attributes:
        base: float32 (n, dim), the vectors of the fit.
        extra: float32 (m, dim), new and changed vectors.
        places: int32 (n_rows,), the position of each row's vector in `base`, or from `n` on in `extra`.
    """

    base: NDArray[np.float32]
    extra: NDArray[np.float32]
    places: NDArray[np.int32]

    @classmethod
    def of(cls, base: NDArray[np.float32]) -> VectorTable:
        """A table whose rows are those of `base`."""
        return cls(base, base[:0], np.arange(len(base), dtype=np.int32))

    def __len__(self) -> int:
        return self.places.size

    @property
    def dim(self) -> int:
        """The number of entries of a vector."""
        return int(self.base.shape[1])

    def take(self, rows: NDArray[np.int32]) -> NDArray[np.float32]:
        """The vectors of `rows`, float32 (n, dim)."""
        if not len(self.extra):
            return self.base[rows]
        places = self.places[rows]
        joined = places >= len(self.base)
        taken = self.base[np.where(joined, 0, places)]
        taken[joined] = self.extra[places[joined] - len(self.base)]
        return taken

    def locate(self, rows: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The positions, int32 (n,), of the vectors of `rows` in an array, and that array, float32 (m, dim).

        Nothing is copied unless the table has changed since the fit.
        """
        if not len(self.extra):
            return rows, self.base
        return np.arange(rows.size, dtype=np.int32), self.take(rows)

    def whole(self) -> NDArray[np.float32]:
        """All vectors, float32 (n_rows, dim)."""
        return self.take(np.arange(len(self), dtype=np.int32))

    def with_rows(self, rows: NDArray[np.int32], vectors: NDArray[np.float32]) -> VectorTable:
        """A copy in which `rows` have the given vectors, float32 (n, dim); new rows continue the old without a gap.

        The cost is O(n_rows + vectors outside the base).
        """
        n_rows = max(len(self), int(rows.max(initial=-1)) + 1)
        places = np.full(n_rows, -1, np.int32)
        places[: len(self)] = self.places
        fresh = rows[places[rows] < len(self.base)]
        n_known = len(self.base) + len(self.extra)
        places[fresh] = np.arange(n_known, n_known + fresh.size)
        extra = np.concatenate([self.extra, np.empty((fresh.size, self.dim), np.float32)])
        extra[places[rows] - len(self.base)] = vectors
        return VectorTable(self.base, extra, places)

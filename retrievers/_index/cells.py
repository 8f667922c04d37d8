"""The inverted file of an index: vectors in cells, as 8-bit codes, and how many cells a search has to visit."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.errors import BundleError
from multirecall.topk import ALL_ALLOWED, NO_ROWS

from .cell_scan import best_positions, encode, score_moments
from .kmeans import group_vectors, means_of_runs
from .vectors import Vectors

CELLS_PER_ROOT = 4
"""Cells for each square root of the number of vectors."""

SIZES = (10, 30, 100, 500, 2_000, 10_000)
"""Lengths of the lists for which the margin is measured."""

SPARE = 32
"""Vectors beyond `k + k / 8` that are scored exactly after the selection by codes."""

BLOCK = 65_536
"""Vectors that are centred at a time."""


@dataclass(frozen=True, slots=True)
class Cells:
    """Vectors grouped around centroids, in a file that lists them cell by cell (Jégou et al., TPAMI 2011, section 4).

    They are taken from `centre` and divided by `unit`, so that neither their offset nor their size costs precision.

    Attributes:
        centre: float64 (dim,), mean of all vectors.
        unit: float64 (1,), the largest entry by magnitude after that.
        centroids: int8 (n_cells, dim) and
        centroid_scales: float32 (n_cells,), the mean of each cell, as `codes` and `scales`.
        spreads: float32 (n_cells,), root mean square of an entry's distance from the centroid.
        squares: float32 (n_cells,), mean squared length of the vectors of a cell.
        starts: int64 (n_cells + 1,), cell `c` holds the positions `starts[c]:starts[c + 1]`.
        codes: int8 (n, dim) and
        scales: float32 (n,), an entry is about `code · scale`.
        offsets: float32 (n,), squared lengths in `l2`, 0 in the other spaces: what a score is lowered by.
        margins: float32 (len(SIZES),), deviations above its mean score that a cell is thought to reach.
    """

    centre: NDArray[np.float64]
    unit: NDArray[np.float64]
    centroids: NDArray[np.int8]
    centroid_scales: NDArray[np.float32]
    spreads: NDArray[np.float32]
    squares: NDArray[np.float32]
    starts: NDArray[np.int64]
    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    offsets: NDArray[np.float32]
    margins: NDArray[np.float32]

    @classmethod
    def of_vectors(cls, vectors: Vectors, rng: np.random.Generator) -> tuple[Vectors, Self, NDArray[np.float32]]:
        """Cells over `vectors`, which are all in the main part; no margin is known yet.

        Returns:
            The vectors in the order of the cells, the cells, and the vectors centred and scaled, float32 (n, dim).
        """
        n = vectors.rows.size
        centre = vectors.values.mean(axis=0, dtype=np.float64)
        placed, unit = centre_and_scale(vectors.values, centre)
        order, starts = group_vectors(placed, CELLS_PER_ROOT, rng)
        vectors, placed = vectors.reorder(order), placed[order]
        centroids = means_of_runs(placed, starts)
        lengths = np.einsum("ij,ij->i", placed, placed)
        counts = np.diff(starts)
        squares = np.bincount(np.repeat(np.arange(counts.size), counts), lengths) / counts
        around = squares - np.einsum("ij,ij->i", centroids, centroids, dtype=np.float64)
        centroid_codes, centroid_scales = encode(centroids)
        codes, scales = encode(placed)
        cells = cls(
            centre=centre,
            unit=np.array([unit]),
            centroids=centroid_codes,
            centroid_scales=centroid_scales,
            spreads=np.sqrt(np.maximum(around, 0.0) / vectors.dim).astype(np.float32),
            squares=squares.astype(np.float32),
            starts=starts,
            codes=codes,
            scales=scales,
            offsets=lengths if vectors.space == "l2" else np.zeros(n, np.float32),
            margins=np.full(len(SIZES), np.inf, np.float32),
        )
        return vectors, cells, placed

    def margin(self, k: int) -> float:
        """The margin for lists of `k`; infinite where every vector has to be scored."""
        last = len(SIZES) - 1
        return max(
            float(self.margins[max(bisect_right(SIZES, k) - 1, 0)]),
            float(self.margins[min(bisect_left(SIZES, k), last)]),
        )

    def score_moments(self, placed: NDArray[np.float32], l2: bool) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean and standard deviation of the scores in each cell, float32 (n_cells,), for a `locate` query."""
        found: tuple[NDArray[np.float32], NDArray[np.float32]] = score_moments(
            placed, l2, self.centroids, self.centroid_scales, self.spreads, self.squares
        )
        return found

    def near(
        self,
        vectors: Vectors,
        query: NDArray[np.float32],
        k: int,
        margin: float,
        exclude: NDArray[np.int32] = NO_ROWS,
        allowed: NDArray[np.bool_] = ALL_ALLOWED,
    ) -> NDArray[np.int32]:
        """Positions in the main part of `vectors` that hold its best `k` eligible items, but for a few, and others."""
        found: NDArray[np.int32] = best_positions(
            query,
            vectors.space == "l2",
            margin,
            k + SPARE + k // 8,
            self.centre,
            self.unit,
            self.centroids,
            self.centroid_scales,
            self.spreads,
            self.squares,
            self.starts,
            self.codes,
            self.scales,
            self.offsets,
            vectors.rows,
            vectors.dead,
            exclude,
            allowed,
        )
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What `of_arrays` rebuilds it from."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def of_arrays(cls, arrays: dict[str, NDArray[Any]], vectors: Vectors, place: str) -> Self:
        """The cells that `arrays()` was taken from.

        Raises:
            BundleError: arrays are missing or do not fit together or to `vectors`; begins with `place`.
        """
        n, n_cells = vectors.rows.size, arrays["squares"].size if "squares" in arrays else 0
        shapes = {
            "centre": ("float64", (vectors.dim,)),
            "unit": ("float64", (1,)),
            "centroids": ("int8", (n_cells, vectors.dim)),
            "centroid_scales": ("float32", (n_cells,)),
            "spreads": ("float32", (n_cells,)),
            "squares": ("float32", (n_cells,)),
            "starts": ("int64", (n_cells + 1,)),
            "codes": ("int8", (n, vectors.dim)),
            "scales": ("float32", (n,)),
            "offsets": ("float32", (n,)),
            "margins": ("float32", (len(SIZES),)),
        }
        found = {name: (str(array.dtype), array.shape) for name, array in arrays.items()}
        if (
            found != shapes
            or arrays["starts"][0] != 0
            or arrays["starts"][-1] != n
            or np.any(np.diff(arrays["starts"]) < 1)
        ):
            raise BundleError(f"{place}: the arrays of the cells do not fit together; save the index again")
        return cls(**arrays)


def centre_and_scale(values: NDArray[np.float32], centre: NDArray[np.float64]) -> tuple[NDArray[np.float32], float]:
    """The vectors taken from `centre` and divided by their then largest entry, and that entry, 1 if it is 0."""
    blocks = range(0, len(values), BLOCK)
    unit = max(float(np.abs(values[start : start + BLOCK] - centre).max()) for start in blocks) or 1.0
    placed = np.empty(values.shape, np.float32)
    for start in blocks:
        placed[start : start + BLOCK] = (values[start : start + BLOCK] - centre) / unit
    return placed, unit

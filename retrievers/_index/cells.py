"""The inverted file of an index: vectors in cells, as 4-bit codes, and how many of both a search has to look at."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.errors import BundleError
from multirecall.kernels import LINE
from multirecall.topk import ALL_ALLOWED, NO_ROWS

from .cell_scan import CellArrays, encode, score_codes, score_moments
from .cell_search import best_positions, search_alone, search_cells
from .code_blocks import LANES, encode_blocks, first_blocks_of, n_lines
from .kmeans import group_vectors, means_of_runs
from .vectors import Vectors

CELLS_PER_ROOT = 4
"""Cells for each square root of the number of vectors."""

SIZES = (10, 30, 100, 500, 2_000, 10_000)
"""Lengths of the lists for which the margin is measured."""

SPARE = 32
"""Vectors beyond `k` that a search looks for. They cost short lists little, whose margin is hardest to measure."""

FORMER_SLACK, FORMER_WIDTH = 3.0, 1.1
"""The slack of a file that was saved without one, and what its margins are multiplied by: they were measured with a
search that looked for an eighth more vectors than it was asked for."""

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
        first_blocks: int64 (n_cells + 1,), the first block of each cell.
        blocks: uint8 (n_blocks, …), the codes of the vectors, see `code_blocks`.
        offsets: float32 (n + 16,) in `l2`, squared lengths and zeros, what a score is lowered by; else 16 zeros.
        margins: float32 (len(SIZES),), deviations above its mean score that a cell is thought to reach.
        slack: float32 (1,), deviations by which a score by codes is thought to err.
    """

    centre: NDArray[np.float64]
    unit: NDArray[np.float64]
    centroids: NDArray[np.int8]
    centroid_scales: NDArray[np.float32]
    spreads: NDArray[np.float32]
    squares: NDArray[np.float32]
    starts: NDArray[np.int64]
    first_blocks: NDArray[np.int64]
    blocks: NDArray[np.uint8]
    offsets: NDArray[np.float32]
    margins: NDArray[np.float32]
    slack: NDArray[np.float32]

    @classmethod
    def of_vectors(cls, vectors: Vectors, rng: np.random.Generator) -> tuple[Vectors, Self, NDArray[np.float32]]:
        """Cells over `vectors`, which are all in the main part; neither margin nor slack are known yet.

        Returns:
            The vectors in the order of the cells, the cells, and the vectors centred and scaled, float32 (n, dim).
        """
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
        first_blocks = first_blocks_of(starts)
        cells = cls(
            centre=centre,
            unit=np.array([unit]),
            centroids=centroid_codes,
            centroid_scales=centroid_scales,
            spreads=np.sqrt(np.maximum(around, 0.0) / vectors.dim).astype(np.float32),
            squares=squares.astype(np.float32),
            starts=starts,
            first_blocks=first_blocks,
            blocks=encode_blocks(placed, starts, first_blocks, centroid_codes, centroid_scales),
            offsets=np.append(lengths if vectors.space == "l2" else [], np.zeros(LANES)).astype(np.float32),
            margins=np.full(len(SIZES), np.inf, np.float32),
            slack=np.zeros(1, np.float32),
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
        mean, deviation = np.empty_like(self.spreads), np.empty_like(self.spreads)
        model = self.centroids, self.centroid_scales, self.spreads, self.squares
        score_moments(placed, l2, *model, mean, deviation)
        return mean, deviation

    def score_codes(self, query: NDArray[np.float32], l2: bool) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The scores of all vectors by their codes, and the deviations of their errors, both float32 (n,)."""
        found: tuple[NDArray[np.float32], NDArray[np.float32]] = score_codes(query, l2, self._kernel_arrays())
        return found

    def near(
        self,
        vectors: Vectors,
        query: NDArray[np.float32],
        k: int,
        margin: float,
        slack: float,
        exclude: NDArray[np.int32] = NO_ROWS,
        allowed: NDArray[np.bool_] = ALL_ALLOWED,
    ) -> NDArray[np.int32]:
        """Positions in the main part of `vectors` that hold its best `k` eligible items, but for a few, and others."""
        asked = query[None], np.zeros(1, np.int64), vectors.space == "l2", np.array([margin]), slack, k + SPARE
        filters = np.array([0, exclude.size]), exclude, allowed
        stored = vectors.rows, vectors.marked_dead
        _, found = best_positions(*asked, *filters, *stored, self._kernel_arrays())
        positions: NDArray[np.int32] = found
        return positions

    def search(
        self,
        vectors: Vectors,
        queries: NDArray[np.float32],
        k: int,
        margins: NDArray[np.float64],
        bounds: NDArray[np.int64],
        exclude: NDArray[np.int32],
        allowed: NDArray[np.bool_],
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.bool_]]:
        """The best `k` eligible items of `vectors` for each query, but for a few that `near` does not find.

        What query `i` leaves out is between two of `bounds`, int64 (n + 1,), in `exclude`. A query whose margin is
        infinite is left out.

        Returns:
            Items and scores, (n, k), and which lists, bool (n,), have `k` items; the others are void.
        """
        asked = queries, vectors.space == "l2", margins, float(self.slack[0]), k, SPARE
        stored = vectors.rows, vectors.values, vectors.marked_dead, vectors.new_rows, vectors.new_values
        items, scores, whole = search_cells(*asked, bounds, exclude, allowed, stored, self._kernel_arrays())
        return items, scores, whole

    def search_one(
        self,
        vectors: Vectors,
        query: NDArray[np.float32],
        k: int,
        margin: float,
        exclude: NDArray[np.int32],
        allowed: NDArray[np.bool_],
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """`search` for one query: items and scores, both (k,), or empty where it finds fewer."""
        asked = query, vectors.space == "l2", margin, float(self.slack[0]), k, SPARE, exclude, allowed
        stored = vectors.rows, vectors.values, vectors.marked_dead, vectors.new_rows, vectors.new_values
        items, scores = search_alone(*asked, stored, self._kernel_arrays())
        return items, scores

    def _kernel_arrays(self) -> CellArrays:
        return (
            self.centre,
            self.unit,
            self.centroids,
            self.centroid_scales,
            self.spreads,
            self.squares,
            self.starts,
            self.first_blocks,
            self.blocks,
            self.offsets,
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What `of_arrays` rebuilds it from."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def of_arrays(cls, arrays: dict[str, NDArray[Any]], vectors: Vectors, place: str) -> Self:
        """The cells that `arrays()` was taken from.

        An older release saved codes of 8 bits and no slack; its vectors are coded anew.

        Raises:
            BundleError: arrays are missing or do not fit together or to `vectors`; begins with `place`.
        """
        n, n_cells = vectors.rows.size, arrays["squares"].size if "squares" in arrays else 0
        n_blocks = arrays["blocks"].shape[0] if "blocks" in arrays else 0
        is_former = "blocks" not in arrays
        shapes = {
            "centre": ("float64", (vectors.dim,)),
            "unit": ("float64", (1,)),
            "centroids": ("int8", (n_cells, vectors.dim)),
            "centroid_scales": ("float32", (n_cells,)),
            "spreads": ("float32", (n_cells,)),
            "squares": ("float32", (n_cells,)),
            "starts": ("int64", (n_cells + 1,)),
            "margins": ("float32", (len(SIZES),)),
        }
        if is_former:
            shapes["codes"], shapes["scales"] = ("int8", (n, vectors.dim)), ("float32", (n,))
            shapes["offsets"] = "float32", (n,)
        else:
            shapes["first_blocks"] = "int64", (n_cells + 1,)
            shapes["blocks"] = "uint8", (n_blocks, LINE * (n_lines(vectors.dim) + 1))
            shapes["offsets"] = "float32", (LANES + (n if vectors.space == "l2" else 0),)
            shapes["slack"] = "float32", (1,)
        found = {name: (str(array.dtype), array.shape) for name, array in arrays.items()}
        if (
            found != shapes
            or arrays["starts"][0] != 0
            or arrays["starts"][-1] != n
            or np.any(np.diff(arrays["starts"]) < 1)
            or not (is_former or np.array_equal(arrays["first_blocks"], first_blocks_of(arrays["starts"])))
            or not (is_former or arrays["first_blocks"][-1] == n_blocks)
        ):
            raise BundleError(f"{place}: the arrays of the cells do not fit together; save the index again")
        return cls._of_former(arrays, vectors) if is_former else cls(**arrays)

    @classmethod
    def _of_former(cls, arrays: dict[str, NDArray[Any]], vectors: Vectors) -> Self:
        kept = {name: array for name, array in arrays.items() if name not in ("codes", "scales")}
        placed = place_vectors(vectors.values, kept["centre"], kept["unit"][0])
        first_blocks = first_blocks_of(kept["starts"])
        coded = placed, kept["starts"], first_blocks, kept["centroids"], kept["centroid_scales"]
        kept |= {
            "first_blocks": first_blocks,
            "blocks": encode_blocks(*coded),
            "offsets": np.append(kept["offsets"] if vectors.space == "l2" else [], np.zeros(LANES)).astype(np.float32),
            "margins": kept["margins"] * np.float32(FORMER_WIDTH),
            "slack": np.array([FORMER_SLACK], np.float32),
        }
        return cls(**kept)


def centre_and_scale(values: NDArray[np.float32], centre: NDArray[np.float64]) -> tuple[NDArray[np.float32], float]:
    """The vectors taken from `centre` and divided by their then largest entry, and that entry, 1 if it is 0."""
    blocks = range(0, len(values), BLOCK)
    unit = max(float(np.abs(values[start : start + BLOCK] - centre).max()) for start in blocks) or 1.0
    return place_vectors(values, centre, unit), unit


def place_vectors(values: NDArray[np.float32], centre: NDArray[np.float64], unit: float) -> NDArray[np.float32]:
    """The vectors taken from `centre` and divided by `unit`, float32 (n, dim)."""
    placed = np.empty(values.shape, np.float32)
    for start in range(0, len(values), BLOCK):
        placed[start : start + BLOCK] = (values[start : start + BLOCK] - centre) / unit
    return placed

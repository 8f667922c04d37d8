"""Kernels over an inverted file: what its cells and its vectors score by their codes.

Arrays are those of a `Cells`, whose vectors are centred and scaled; `placed` is a query that was treated alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from multirecall.kernels import Array, kernel

from .code_blocks import LANES, MIDDLE, PER_LINE, n_lines, query_bytes, scales_of, score_block
from .expectation import deviation_of

CellArrays = tuple[Array, Array, Array, Array, Array, Array, Array, Array, Array, Array]
"""What kernels get of a `Cells`: all its arrays but the last two, in their order."""

StoredArrays = tuple[Array, Array, Array, Array, Array]
"""`rows`, `values`, `dead`, `new_rows` and `new_values` of a `Vectors`, see `scan.py`; an empty `dead`: none is."""

CODE_MAX = 127
"""The largest code of a centroid's entry."""

FARTHEST = 1e15
"""The largest distance of a query, in units of the largest entry; beyond it squares could overflow."""

QUERY_MAX = 1_023
"""The largest code of a query's entry, for centroids. With it, sums of 16,384 products with their codes fit int32."""

ERROR = 12.0**-0.5
"""The standard deviation of an entry's rounding error, in units of its scale: that of uniform numbers."""


@kernel
def _code_product(codes: Array, query_codes: Array) -> Any:
    """Each step is truncated to int32; otherwise numba widens the sum, and it is not vectorised."""
    total = np.int32(0)
    for entry in range(codes.size):
        total = np.int32(total + np.int32(codes[entry]) * np.int32(query_codes[entry]))
    return total


@kernel
def encode(vectors: Array) -> tuple[Array, Array]:
    """Codes of vectors, int8 (n, dim), and the scale of each, float32 (n,): entry ≈ code · scale."""
    n, dim = vectors.shape
    codes = np.empty((n, dim), np.int8)
    scales = np.empty(n, np.float32)
    for position in range(n):
        largest = np.float32(0.0)
        for entry in range(dim):
            largest = max(largest, abs(vectors[position, entry]))
        scales[position] = largest / np.float32(CODE_MAX)
        factor = np.float64(CODE_MAX) / np.float64(largest) if largest > 0.0 else 0.0
        for entry in range(dim):
            codes[position, entry] = np.int8(np.rint(vectors[position, entry] * factor))
    return codes, scales


@kernel
def locate(query: Array, l2: bool, centre: Array, unit: float) -> tuple[Array, float]:
    """A query among the vectors of the cells, float32, and its length; only its direction counts unless `l2`."""
    moved = query.astype(np.float64)
    total = 0.0
    for entry in range(query.size):
        if l2:
            moved[entry] = (moved[entry] - centre[entry]) / unit
        total += moved[entry] * moved[entry]
    length = np.sqrt(total)
    if not l2 and length > 0.0:
        moved /= length
        length = 1.0
    return moved.astype(np.float32), length


@kernel
def score_moments(
    placed: Array,
    l2: bool,
    centroids: Array,
    centroid_scales: Array,
    spreads: Array,
    squares: Array,
    mean: Array,
    deviation: Array,
) -> None:
    """Writes mean and standard deviation of the scores in each cell, float32 (n_cells,), by the model of `expectation`.

    A score is the inner product with the query, or in `l2` `2 q·x - |x|²`, which orders as the distance does.
    """
    codes, step = query_codes(placed)
    length = np.float32(0.0)
    for value in placed:
        length += value * value
    for cell in range(mean.size):
        product = np.float32(_code_product(centroids[cell], codes)) * (step * centroid_scales[cell])
        if l2:
            mean[cell] = 2 * product - squares[cell]
            centre = squares[cell] - placed.size * spreads[cell] * spreads[cell]
            deviation[cell] = 2 * deviation_of(spreads[cell], length - 2 * product + centre)
        else:
            mean[cell] = product
            deviation[cell] = deviation_of(spreads[cell], length)


@kernel
def query_codes(placed: Array) -> tuple[Array, Any]:
    """Codes of a query, int16, and their scale."""
    largest = np.float32(0.0)
    for value in placed:
        largest = max(largest, abs(value))
    step = largest / np.float32(QUERY_MAX) if largest > 0.0 else np.float32(1.0)
    codes = np.empty(placed.size, np.int16)
    for entry in range(placed.size):
        codes[entry] = np.int16(np.rint(placed[entry] / step))
    return codes, step


@kernel
def slack_unit(length: float, l2: bool) -> Any:
    """The deviation of a score's error, in units of the scale of its vector, for a query of this length."""
    return np.float32(ERROR * length * (2.0 if l2 else 1.0))


@kernel
def query_terms(placed: Array, l2: bool, codes: Array) -> tuple[Any, Any]:
    """Writes a query's codes, int8, to `codes`; returns the factor and the lift that `score_block` needs with them."""
    step, total = query_bytes(placed, codes)
    factor = np.float32(2 * step if l2 else step)
    return factor, np.float32(-factor * MIDDLE * total)


@kernel
def base_of(mean: Any, square: Any, l2: bool) -> Any:
    """The score of a cell's centroid, from the mean score of its vectors and their mean squared length."""
    return mean + square if l2 else mean


@kernel
def score_codes(query: Array, l2: bool, cells: CellArrays) -> tuple[Array, Array]:
    """The scores of all vectors by their codes, and the standard deviations of their errors, both float32 (n,)."""
    centre, unit, centroids, centroid_scales, spreads, squares, starts, first_blocks, blocks, offsets = cells
    placed, length = locate(query, l2, centre, unit[0])
    mean, deviation = np.empty(squares.size, np.float32), np.empty(squares.size, np.float32)
    score_moments(placed, l2, centroids, centroid_scales, spreads, squares, mean, deviation)
    codes = np.empty((1, n_lines(placed.size) * PER_LINE), np.int8)
    factor, lift = query_terms(placed, l2, codes[0])
    terms = np.array([[factor, lift, 0.0, -np.inf]], np.float32)
    found, errors = np.empty(starts[-1], np.float32), np.empty(starts[-1], np.float32)
    scores, scales, asked = np.empty(LANES, np.float32), np.empty(LANES, np.float32), np.zeros(1, np.int64)
    for cell in range(mean.size):
        terms[0, 2] = base_of(mean[cell], squares[cell], l2)
        for block in range(first_blocks[cell], first_blocks[cell + 1]):
            first = starts[cell] + (block - first_blocks[cell]) * LANES
            score_block(blocks, block, codes, asked, terms, 0, offsets, first if l2 else 0, scores)
            scales_of(blocks, block, scales)
            for place in range(first, min(first + LANES, starts[cell + 1])):
                found[place] = scores[place - first]
                errors[place] = slack_unit(length, l2) * scales[place - first]
    return found, errors

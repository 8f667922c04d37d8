"""How many cells a search has to visit: measured on sampled queries against exact search."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from .cell_scan import locate
from .cells import SIZES, Cells
from .expectation import needed_margins
from .vectors import Vectors

ASKED = 100
"""The number of sampled queries of each kind."""

ASKED_TOGETHER = 20

MEAN_OF = 5
"""The number of vectors whose mean is a query of the second kind, like the profile of a user with several items."""

ALLOWANCES = (1.0, 0.5)
"""The shares of the allowed misses that may come from unvisited cells. The rest is left for quantisation errors."""

LARGEST = 1e6
"""The largest margin: it opens every cell, and its products are far from overflow."""


def measure_margins(
    cells: Cells, vectors: Vectors, placed: NDArray[np.float32], recall: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """The margin for lists of each of `SIZES`, float32; infinite where no margin has the recall that is asked for.

    Args:
        cells: without margins.
        vectors: in the order of the cells.
        placed: the same centred and scaled.
        recall: least mean share of the true items that the sampled queries of each kind find.
        rng: draws the queries: vectors of the index, and means of several, which lie between the cells; to these come
            the queries that `vectors` brings.
    """
    sizes = np.minimum(SIZES, vectors.rows.size).tolist()
    values = vectors.values
    drawn = rng.integers(vectors.rows.size, size=(ASKED, MEAN_OF))
    samples = [values[drawn[:, 0]], values[drawn].mean(axis=1, dtype=np.float64), vectors.asked]
    kinds = [
        [
            _Asked.of(query, scores, cells, vectors, sizes)
            for query, scores in _exact_scores(queries, cells, vectors, placed)
        ]
        for queries in samples
        if len(queries)
    ]
    return np.array([_margin(kinds, place, k, recall, cells, vectors) for place, k in enumerate(sizes)], np.float32)


class _Asked(NamedTuple):
    """A sampled query, the positions of its nearest vectors, and for each size the margins that reach their cells."""

    query: NDArray[np.float32]
    best: NDArray[np.intp]
    needed: list[NDArray[np.float64]]

    @classmethod
    def of(
        cls, query: NDArray[np.float32], scores: NDArray[np.float32], cells: Cells, vectors: Vectors, sizes: list[int]
    ) -> Self:
        l2 = vectors.space == "l2"
        rest = scores.size - sizes[-1]
        best = np.argpartition(scores, rest)[rest:]
        best = best[np.argsort(-scores[best], kind="stable")]
        point, _ = locate(query, l2, cells.centre, cells.unit[0])
        mean, deviation = cells.score_moments(point, l2)
        members = np.searchsorted(cells.starts, best, side="right") - 1
        lowest = scores[best][np.array(sizes) - 1, None]
        needs = needed_margins(lowest, mean[members], deviation[members]).astype(np.float64).clip(0, LARGEST)
        return cls(query, best, [needs[place, :k] for place, k in enumerate(sizes)])


def _exact_scores(
    queries: NDArray[np.float32], cells: Cells, vectors: Vectors, placed: NDArray[np.float32]
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Each query, and the scores of all vectors in the measure of the cells."""
    l2 = vectors.space == "l2"
    for start in range(0, len(queries), ASKED_TOGETHER):
        block = [vectors.query(query)[0] for query in queries[start : start + ASKED_TOGETHER]]
        points = np.array([locate(query, l2, cells.centre, cells.unit[0])[0] for query in block])
        scores = points @ placed.T
        yield from zip(block, 2 * scores - cells.offsets if l2 else scores, strict=True)


def _share(wanted: NDArray[np.intp], found: NDArray[np.int32], n: int) -> float:
    """Share of `wanted` positions, of `n` in all, that are found."""
    is_found = np.zeros(n, np.bool_)
    is_found[found] = True
    return float(is_found[wanted].mean())


def _margin(kinds: list[list[_Asked]], place: int, k: int, recall: float, cells: Cells, vectors: Vectors) -> float:
    """The margin for lists of `k`, the number `place` of `SIZES`."""
    for allowance in ALLOWANCES:
        left_out = allowance * (1 - recall)
        needed = [np.concatenate([one.needed[place] for one in asked]) for asked in kinds]
        margin = max(float(np.quantile(one, 1 - left_out)) for one in needed)
        shares = [
            [_share(one.best[:k], cells.near(vectors, one.query, k, margin), vectors.rows.size) for one in asked]
            for asked in kinds
        ]
        if min(map(np.mean, shares)) >= recall:
            return margin
    return np.inf

"""How many cells and vectors a search has to look at: measured on sampled queries against exact search."""

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

SAMPLED_MISS = 0.5
"""The share of the allowed misses that sampled queries may have: others are less like the vectors, and miss more."""

ALLOWANCES = (1.0, 0.75, 0.5, 0.25)
"""The shares of these misses that may come from unvisited cells."""

CODES_MISS = 0.25
"""The share of these misses that may come from codes: a larger slack costs less than more cells do."""

LARGEST = 1e6
"""The largest margin: it opens every cell, and its products are far from overflow."""


def measure_margins(
    cells: Cells, vectors: Vectors, placed: NDArray[np.float32], recall: float, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The margin for lists of each of `SIZES`, float32, infinite where none has the recall asked for; and the slack.

    Args:
        cells: without margins and slack.
        vectors: in the order of the cells.
        placed: the same centred and scaled.
        recall: least mean share of the true items that queries of each kind find, so far as samples can tell.
        rng: draws the queries: vectors of the index, and means of several, which lie between the cells; to these come
            the queries that `vectors` brings.
    """
    sizes = np.minimum(SIZES, vectors.rows.size).tolist()
    values = vectors.values
    drawn = rng.integers(vectors.rows.size, size=(ASKED, MEAN_OF))
    samples = [values[drawn[:, 0]], values[drawn].mean(axis=1, dtype=np.float64), vectors.asked]
    kinds = [_Asked.of_each(queries, cells, vectors, placed, sizes) for queries in samples if len(queries)]
    missed = SAMPLED_MISS * (1 - recall)
    slack = max(
        _quantile([[one.slacks[place] for one in asked] for asked in kinds], 1 - CODES_MISS * missed)
        for place in range(len(sizes))
    )
    margins = [_margin(kinds, place, k, missed, slack, cells, vectors) for place, k in enumerate(sizes)]
    return np.array(margins, np.float32), np.array([slack], np.float32)


class _Asked(NamedTuple):
    """A sampled query, the positions of its nearest vectors, and for each size what they need to be found.

    Attributes:
        query: float32 (dim,).
        best: intp, the nearest first.
        margins: for each size `k`, the margins that reach the cells of the first `k`, float64 (k,).
        slacks: for each size `k`, the slacks that keep the first `k`, float64 (k,).
    """

    query: NDArray[np.float32]
    best: NDArray[np.intp]
    margins: list[NDArray[np.float64]]
    slacks: list[NDArray[np.float64]]

    @classmethod
    def of_each(
        cls,
        queries: NDArray[np.float32],
        cells: Cells,
        vectors: Vectors,
        placed: NDArray[np.float32],
        sizes: list[int],
    ) -> list[Self]:
        """One for each query.

        All that stays has its place before the first large array comes and goes: in a gap that a small one has
        shortened, no other large one finds room, and each query would take memory anew.
        """
        kept_queries = np.empty((len(queries), vectors.dim), np.float32)
        kept_best = np.empty((len(queries), sizes[-1]), np.intp)
        kept_needs = np.empty((len(queries), 2, sum(sizes)))
        for number, (query, scores) in enumerate(_exact_scores(queries, cells, vectors, placed)):
            best, needs = cls._of(query, scores, cells, vectors, sizes)
            kept_queries[number], kept_best[number] = query, best
            for own, found in zip(kept_needs[number], needs, strict=True):
                np.concatenate([each[:k] for each, k in zip(found, sizes, strict=True)], out=own)
        kept_needs.clip(0, LARGEST, out=kept_needs)
        bounds = np.cumsum(sizes)[:-1]
        return [
            cls(query, best, *(np.split(own, bounds) for own in needs))
            for query, best, needs in zip(kept_queries, kept_best, kept_needs, strict=True)
        ]

    @staticmethod
    def _of(
        query: NDArray[np.float32], scores: NDArray[np.float32], cells: Cells, vectors: Vectors, sizes: list[int]
    ) -> tuple[NDArray[np.intp], tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """The nearest positions, and the margins and slacks that they need for each size, (n_sizes, n)."""
        l2 = vectors.space == "l2"
        rest = scores.size - sizes[-1]
        best = np.argpartition(scores, rest)[rest:]
        best = best[np.argsort(-scores[best], kind="stable")]
        point, _ = locate(query, l2, cells.centre, cells.unit[0])
        mean, deviation = cells.score_moments(point, l2)
        members = np.searchsorted(cells.starts, best, side="right") - 1
        lasts = np.array(sizes) - 1
        margins = needed_margins(scores[best][lasts, None], mean[members], deviation[members])
        by_code, errors = cells.score_codes(query, l2)
        lowest = np.partition(by_code, by_code.size - 1 - lasts)[by_code.size - 1 - lasts]
        return best, (margins, needed_margins(lowest[:, None], by_code[best], errors[best]))


def _exact_scores(
    queries: NDArray[np.float32], cells: Cells, vectors: Vectors, placed: NDArray[np.float32]
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Each query, and the scores of all vectors in the measure of the cells."""
    l2 = vectors.space == "l2"
    for start in range(0, len(queries), ASKED_TOGETHER):
        block = [vectors.query(query)[0] for query in queries[start : start + ASKED_TOGETHER]]
        points = np.array([locate(query, l2, cells.centre, cells.unit[0])[0] for query in block])
        scores = points @ placed.T
        yield from zip(block, 2 * scores - cells.offsets[: len(placed)] if l2 else scores, strict=True)


def _share(wanted: NDArray[np.intp], found: NDArray[np.int32], n: int) -> float:
    """Share of `wanted` positions, of `n` in all, that are found."""
    is_found = np.zeros(n, np.bool_)
    is_found[found] = True
    return float(is_found[wanted].mean())


def _margin(
    kinds: list[list[_Asked]], place: int, k: int, missed: float, slack: float, cells: Cells, vectors: Vectors
) -> float:
    """The margin for lists of `k`, the number `place` of `SIZES`, that misses at most this share; infinite if none."""
    for allowance in ALLOWANCES:
        margin = _quantile([[one.margins[place] for one in asked] for asked in kinds], 1 - allowance * missed)
        shares = [
            [_share(one.best[:k], cells.near(vectors, one.query, k, margin, slack), vectors.rows.size) for one in asked]
            for asked in kinds
        ]
        if min(map(np.mean, shares)) >= 1 - missed:
            return margin
    return np.inf


def _quantile(needs: list[list[NDArray[np.float64]]], share: float) -> float:
    """What is enough for this share of the needs of the queries of each kind."""
    return max(float(np.quantile(np.concatenate(asked), share)) for asked in needs)

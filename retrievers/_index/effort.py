"""How hard a library has to search: measured on sampled queries against exact search."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.topk import ALL_ALLOWED, NO_ROWS

from .part import Part, Place, Points
from .vectors import Vectors

SIZES = (10, 30, 100, 200, 500, 1_000, 2_000)
"""Lengths of the lists for which the effort is measured."""

ASKED = 100
"""The number of sampled queries of each kind, and the most of those that are given."""

MEAN_OF = 5
"""The number of vectors whose mean is a query of the second kind, like the profile of a user with several items."""

STEP = 1.25
"""The ratio of one effort to the next."""

WIDER = (1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)
"""The numbers of candidates, for each item of a list, that are tried where a library's points are lossy."""

ASKED_FULLY = 30
"""The number of queries of each kind that are asked with the largest effort, to learn what lossy points cost."""


SURE = 3.0
"""The standard errors below a mean recall at which it still has to be what is asked for."""


class Effort(NamedTuple):
    """How a list of some length is searched: candidates to ask for, and the library's effort, 0 if none suffices."""

    width: int
    effort: int


@dataclass(frozen=True, slots=True)
class Efforts:
    """Efforts for lists of the lengths `SIZES`.

    Attributes:
        widths: int64 (len(SIZES),).
        efforts: int64 (len(SIZES),).
    """

    widths: NDArray[np.int64]
    efforts: NDArray[np.int64]

    def of(self, size: int) -> Effort:
        """How to search for a list: as for the next longer list that was measured, or in proportion to the longest."""
        place = min(bisect_left(SIZES, size), len(SIZES) - 1)
        more = max(size / SIZES[place], 1.0)
        return Effort(int(np.ceil(self.widths[place] * more)), int(np.ceil(self.efforts[place] * more)))

    @classmethod
    def measure(cls, part: Part, place: Place, vectors: Vectors, recall: float, rng: np.random.Generator) -> Self:
        """The least efforts with which the mean recall of each kind of query is what is asked for.

        Three standard errors less have to be enough, so that other queries of the kind find as much. An effort that
        takes as long as to score every vector is none.

        Args:
            part: the library's index.
            place: of the vectors among its points.
            vectors: all of them in the main part.
            recall: least mean share of the true items.
            rng: draws the queries: vectors of the index, and means of several, which lie between them; to these come
                the queries that `vectors` brings.
        """
        n = vectors.rows.size
        sizes = [min(size, n) for size in SIZES]
        kinds = [_asked(queries, vectors, place, sizes[-1]) for queries in _samples(vectors, rng)]
        kinds = [asked for asked in kinds if asked]
        if not kinds:
            return cls(np.zeros(len(SIZES), np.int64), np.zeros(len(SIZES), np.int64))
        widths = _widths(part, vectors, kinds, sizes, recall)
        efforts, least = [], 1
        for size, width in zip(sizes, widths, strict=True):

            def is_enough(effort: int, size: int = size, width: int = width) -> bool:
                found = ([_share(one, part, vectors, size, width, effort) for one in asked] for asked in kinds)
                return all(_is_enough(shares, recall) for shares in found)

            ladder = [one for one in _ladder(part.most_effort) if one >= least and not part.is_slow(width, one, n)]
            enough = bisect_left(ladder, True, key=is_enough) if width else len(ladder)
            efforts.append(ladder[enough] if enough < len(ladder) else 0)
            least = max(least, efforts[-1])
        return cls(np.array(widths, np.int64) * np.array(SIZES) // sizes, np.array(efforts, np.int64))


class _Asked(NamedTuple):
    """A sampled query, its point, and its nearest items with their scores, best first."""

    query: NDArray[np.float32]
    point: Points
    items: NDArray[np.int32]
    scores: NDArray[np.float32]


def _samples(vectors: Vectors, rng: np.random.Generator) -> list[NDArray[np.floating]]:
    """Queries of several kinds."""
    drawn = rng.integers(vectors.rows.size, size=(ASKED, MEAN_OF))
    means = vectors.values[drawn].mean(axis=1, dtype=np.float64)
    given = vectors.asked[rng.permutation(len(vectors.asked))[:ASKED]]
    return [vectors.values[drawn[:, 0]], means, given]


def _asked(queries: NDArray[np.floating], vectors: Vectors, place: Place, k: int) -> list[_Asked]:
    """The queries that a library can be asked and that have `k` items, with what an exact search finds."""
    asked = []
    for one in queries:
        query, is_zero = vectors.query(one)
        point = None if is_zero else place.point(query)
        best = vectors.scan(query, k)
        if point is not None and len(best) == k:
            asked.append(_Asked(query, point, best.items, best.scores))
    return asked


def _ladder(most: int) -> list[int]:
    """Efforts from 1 to `most`."""
    steps = np.ceil(STEP ** np.arange(np.ceil(np.log(most) / np.log(STEP)) + 1)).astype(int)
    return sorted({*np.minimum(steps, most).tolist()})


def _share(one: _Asked, part: Part, vectors: Vectors, size: int, width: int, effort: int) -> float:
    """The share of the nearest `size` items that a search finds; one that ties with the last of them counts as well."""
    positions = part.search(one.point, width, effort, None)
    found, _ = vectors.rescore(positions, one.query, size, NO_ROWS, ALL_ALLOWED)
    wanted = one.scores[:size]
    return float(np.mean(found.scores >= wanted[-1]) * len(found) / wanted.size) if len(found) else 0.0


def _is_enough(shares: Sequence[float], recall: float) -> bool:
    """Whether the mean of shares is `recall`, also `SURE` standard errors below it."""
    return float(np.mean(shares) - SURE * np.std(shares) / np.sqrt(len(shares))) >= recall


def _widths(part: Part, vectors: Vectors, kinds: list[list[_Asked]], sizes: list[int], recall: float) -> list[int]:
    """How many candidates a list of each size needs; 0 where more than are tried.

    Points that are lossy may cost half of the misses that are allowed; the effort is left the other half.
    """
    if not part.lossy:
        return sizes
    n = vectors.rows.size
    most = [min(n, int(np.ceil(size * WIDER[-1]))) for size in sizes]
    places = [[_places(one, part, vectors, most[-1]) for one in asked[:ASKED_FULLY]] for asked in kinds]
    least = 1 - (1 - recall) / 2
    widths = []
    for size in sizes:
        tried = [min(n, int(np.ceil(size * wider))) for wider in WIDER]
        enough = [
            width
            for width in tried
            if all(np.mean([(one[:size] < width).mean() for one in asked]) >= least for asked in places)
        ]
        widths.append(min(enough, default=0))
    return widths


def _places(one: _Asked, part: Part, vectors: Vectors, width: int) -> NDArray[np.int64]:
    """Where the nearest items stand among all that the library finds with the largest effort."""
    positions = part.search(one.point, width, part.most_effort, None)
    places = np.full(vectors.last + 1, width, np.int64)
    places[vectors.rows[positions]] = np.arange(positions.size)
    return places[one.items]

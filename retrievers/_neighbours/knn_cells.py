"""The nearest neighbours of every vector, found cell by cell: many queries read the same cells, which stay in cache."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from multirecall.blocks import Arrays, run_blocks
from multirecall.csr import offsets_of
from multirecall.kernels import Array, kernel
from multirecall.progress import Progress
from multirecall.selection import best_keys, candidates_of, key_of

from .._index.expectation import deviation_of, needed_margins
from .._index.kmeans import group_vectors, means_of_runs

CELLS_PER_ROOT = 8
"""The number of k-means cells, as a multiple of the square root of the number of vectors. Trades the work of scanning
cells against that of choosing them."""

CELL = 256
"""The largest number of vectors in a cell; a larger cell is split. Bounds the scratch memory of a search."""

ASKED = 300
"""Random vectors, each of another cell, whose exact neighbours calibrate the margin of the search. More give a steadier
margin, slower."""

TOGETHER = 4
"""Vectors of a cell that ask together while the margin is calibrated. In the search all of them do, which finds hardly
more."""

WIDEST = 16.0
"""A margin with which a search leaves nothing out: so many standard deviations."""

TRIED = (0.6, 0.8, 1.0)
"""The margins that are tried, as shares of the one with which every cell is entered that holds what is asked for."""

REFINED = 2
"""How often the margin that seems right between two that were tried is tried as well."""

ROUNDING = 1e-6
"""Added to the upper bound of a cell: about twice the rounding error of a mean score, so that a cell which just
reaches the lowest score of a list is scanned."""

NONE_YET = 1e-30
"""The lower bound of a list that is not full: any cosine above 0 enters it."""

PENDING = 64
"""Candidates that a list collects beyond its length before a selection shortens it."""


@dataclass(frozen=True, slots=True)
class VectorCells:
    """Distinct unit vectors, grouped into cells of near vectors, and the rows that have each vector.

    Attributes:
        values: float32 (n, dim), the vectors, cell by cell.
        starts: int64 (n_cells + 1,), cell `c` holds the vectors `starts[c]:starts[c + 1]`.
        centroids: float32 (n_cells, dim), the mean of each cell.
        firsts: int64 (n + 1,), the rows `rows[firsts[i]:firsts[i + 1]]` have vector `i`.
        rows: int32 (n_rows,), ascending for each vector.
        heads: int32 (n,), the first row that has each vector.
        vectors: int32 (last row + 1,), the vector of each row, -1 for a row without one.
    """

    values: NDArray[np.float32]
    starts: NDArray[np.int64]
    centroids: NDArray[np.float32]
    firsts: NDArray[np.int64]
    rows: NDArray[np.int32]
    heads: NDArray[np.int32]
    vectors: NDArray[np.int32]

    @classmethod
    def of(cls, rows: NDArray[np.int32], units: NDArray[np.float32], rng: np.random.Generator) -> Self:
        """Group the unit vectors `units`, float32 (n_rows, dim), of ascending `rows` by k-means."""
        values, numbers = np.unique(units, axis=0, return_inverse=True)
        n = len(values)
        order, bounds = group_vectors(values, CELLS_PER_ROOT, rng)
        places = np.empty(n, np.int64)
        places[order] = np.arange(n)
        places = places[numbers.ravel()]
        starts = np.array([*chain.from_iterable(range(*bound, CELL) for bound in pairwise(bounds.tolist())), n])
        values = values[order]
        firsts = offsets_of(np.bincount(places, minlength=n))
        by_vector = rows[np.argsort(places, kind="stable")]
        vectors = np.full(rows[-1] + 1, -1, np.int32)
        vectors[rows] = places
        return cls(
            values,
            starts,
            means_of_runs(values, starts),
            firsts,
            by_vector,
            by_vector[firsts[:-1]],
            vectors,
        )

    def margin(self, n_best: int, recall: float, rng: np.random.Generator) -> float:
        """The number of standard deviations above its mean that bounds a cell's scores, for lists of `recall`.

        With the margin that random vectors need, the cells whose upper bound reaches the lowest score of a list hold
        the share `recall` of their exact neighbours. A search also scans cells before its lists are full, and so finds
        more. So smaller margins are tried on these vectors, and the one that finds `recall` is interpolated.
        """
        together = self._draw(rng)
        exact = [self.search(queries[:1], WIDEST, n_best)[0][0] for queries in together]
        needed = [self._needed_margins(queries[0], heads) for queries, heads in zip(together, exact, strict=True)]
        widest = float(np.quantile(np.concatenate(needed), recall))
        wanted = recall * sum(heads.size for heads in exact)

        def found(margin: float) -> int:
            lists = (self.search(queries, margin, n_best)[0][0] for queries in together)
            return sum(int(np.isin(heads, own).sum()) for heads, own in zip(exact, lists, strict=True))

        tried = [(found(margin), margin) for margin in (share * widest for share in TRIED)]
        for _ in range(REFINED):
            margin = float(np.interp(wanted, *np.array(sorted(tried)).T))
            tried.append((found(margin), margin))
        return float(np.interp(wanted, *np.array(sorted(tried)).T))

    def search(self, queries: NDArray[np.float32], margin: float, n_best: int) -> tuple[Array, Array]:
        """See `search_cells`."""
        found: tuple[Array, Array] = search_cells(
            queries, margin, n_best, self.values, self.starts, self.centroids, self.heads
        )
        return found

    def _draw(self, rng: np.random.Generator) -> list[NDArray[np.float32]]:
        """Vectors of some cells, which are drawn by their sizes: `TOGETHER` of each, or all if it has fewer."""
        drawn = rng.choice(len(self.values), min(len(self.values), ASKED), replace=False)
        cells = np.unique(np.searchsorted(self.starts, drawn, side="right") - 1)
        members = [np.arange(self.starts[cell], self.starts[cell + 1]) for cell in cells]
        return [self.values[rng.choice(own, min(own.size, TOGETHER), replace=False)] for own in members]

    def _needed_margins(self, query: NDArray[np.float32], heads: NDArray[np.int32]) -> NDArray[np.float32]:
        """The smallest margins at which the cells of the vectors `heads`, nearest to `query` first, are scanned."""
        places = self.vectors[heads[heads >= 0]]
        cells = np.searchsorted(self.starts, places, side="right") - 1
        mean, deviation = (one[cells, 0] for one in expected_scores(query[None], self.centroids))
        return needed_margins(self.values[places[-1]] @ query, mean, deviation)


def cell_lists(
    units: NDArray[np.float32],
    n_neighbours: int,
    recall: float,
    rng: np.random.Generator,
    threads: int,
    progress: Progress,
    task: str,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """The nearest neighbours of unit or zero vectors `units`, float32 (n, dim), with about the given `recall`.

    The number of threads does not change results.

    Returns:
        The number of neighbours of each vector, int64 (n,), at most `n_neighbours`; then the rows, int32, and the
        cosines above 0, float32, of all, best first for each vector.
    """
    rows = np.flatnonzero(units.any(axis=1)).astype(np.int32)
    if not rows.size:
        return np.zeros(len(units), np.int64), np.empty(0, np.int32), np.empty(0, np.float32)
    cells = VectorCells.of(rows, units[rows], rng)
    n_best = min(n_neighbours + 1, len(cells.values))
    margin = cells.margin(n_best, recall, rng)
    arguments = (
        *(cells.values, cells.starts, cells.centroids, cells.heads, cells.vectors, cells.firsts, cells.rows),
        *(margin, n_best, n_neighbours),
    )
    width = min(n_neighbours, rows.size)
    lengths, firsts = np.zeros(len(units), np.int64), np.zeros(len(units), np.int64)
    firsts[rows] = width * np.arange(rows.size)
    items, cosines = np.empty(rows.size * width, np.int32), np.empty(rows.size * width, np.float32)
    done = 0
    with progress.task(task, rows.size) as advance:
        for own_lengths, own_items, own_cosines in run_blocks(
            _lists_of_block, arguments, [*pairwise(cells.starts.tolist())], threads
        ):
            own = cells.rows[done : done + own_lengths.size]
            lengths[own] = own_lengths
            _put(own_lengths, own_items, own_cosines, firsts[own], items, cosines)
            done += own.size
            advance(own.size)
    n_entries = _close_gaps(lengths, firsts, items, cosines)
    items.resize(n_entries, refcheck=False)
    cosines.resize(n_entries, refcheck=False)
    return lengths, items, cosines


@kernel
def _put(lengths: Array, own_items: Array, own_cosines: Array, firsts: Array, items: Array, cosines: Array) -> None:
    """Copy lists, one after another, to where each begins in `items` and `cosines`."""
    start = 0
    for number in range(lengths.size):
        stop, first = start + lengths[number], firsts[number]
        items[first : first + stop - start] = own_items[start:stop]
        cosines[first : first + stop - start] = own_cosines[start:stop]
        start = stop


@kernel
def _close_gaps(lengths: Array, firsts: Array, items: Array, cosines: Array) -> int:
    """Move lists to the front, in place, so that each begins where the one before ends; the number of all entries."""
    end = 0
    for row in range(lengths.size):
        for place in range(lengths[row]):
            items[end + place] = items[firsts[row] + place]
            cosines[end + place] = cosines[firsts[row] + place]
        end += lengths[row]
    return end


def _lists_of_block(
    start: int,
    stop: int,
    values: Array,
    starts: Array,
    centroids: Array,
    heads: Array,
    vectors: Array,
    firsts: Array,
    rows: Array,
    margin: float,
    n_best: int,
    n_neighbours: int,
) -> Arrays:
    """The lists of the rows that have the vectors `start … stop - 1`; the arrays are those of `VectorCells`."""
    found = search_cells(values[start:stop], margin, n_best, values, starts, centroids, heads)
    lists: Arrays = lists_of_rows(start, *found, vectors, firsts, rows, n_neighbours)
    return lists


@njit(nogil=True, fastmath={"reassoc", "contract", "nnan", "nsz"})
def _products(vector: Array, vectors: Array, products: Array) -> Any:
    """Write the inner product with each of `vectors` (n, dim) into `products`, and return the largest; all finite."""
    largest = np.float32(-np.inf)
    for position in range(vectors.shape[0]):
        total = np.float32(0.0)
        for entry in range(vector.size):
            total += vector[entry] * vectors[position, entry]
        products[position] = total
        largest = total if total > largest else largest
    return largest


@kernel
def expected_scores(queries: Array, centroids: Array) -> tuple[Array, Array]:
    """The mean and the standard deviation, float32 (n_cells, n), of the scores of queries (n, dim) in each cell.

    By the model of `_index/expectation.py` for the distance, not for the inner product: for unit vectors, distance and
    cosine give one order, and a direction that all vectors share does not widen a cell.
    """
    n_cells, dim = centroids.shape
    mean = np.empty((n_cells, queries.shape[0]), np.float32)
    deviation = np.empty_like(mean)
    for cell in range(n_cells):
        _products(centroids[cell], queries, mean[cell])
        square = np.float32(0.0)
        for value in centroids[cell]:
            square += value * value
        spread = np.sqrt(max(np.float32(1.0) - square, np.float32(0.0)) / np.float32(dim))
        for query in range(queries.shape[0]):
            distance = np.float32(1.0) + square - np.float32(2.0) * mean[cell, query]
            deviation[cell, query] = deviation_of(spread, distance)
    return mean, deviation


@kernel
def search_cells(
    queries: Array, margin: float, n_best: int, values: Array, starts: Array, centroids: Array, heads: Array
) -> tuple[Array, Array]:
    """The heads, int32, and scores, float32, of the `n_best` values nearest to each query, (n, n_best), best first.

    A shorter list is padded with head -1 and score 0. The queries scan one cell after another. A query skips a cell
    whose upper bound, the mean score plus `margin` deviations, lies below the lowest score in its list. Cells whose
    upper bounds are the highest over all queries come first.
    """
    reach, deviation = expected_scores(queries, centroids)
    reach += np.float32(margin) * deviation + np.float32(ROUNDING)
    farness = np.empty(centroids.shape[0], np.float32)
    for cell in range(farness.size):
        farness[cell] = -reach[cell].sum()
    bounds = np.full(queries.shape[0], NONE_YET, np.float32)
    keys = np.empty((queries.shape[0], n_best + PENDING + CELL), np.int64)
    sizes = np.zeros(queries.shape[0], np.int64)
    scores = np.empty(CELL, np.float32)
    bits = scores.view(np.int32)
    for cell in np.argsort(farness):
        start, stop = starts[cell], starts[cell + 1]
        for query in range(sizes.size):
            bound = bounds[query]
            if reach[cell, query] < bound or _products(queries[query], values[start:stop], scores) < bound:
                continue
            size = sizes[query]
            for place in range(stop - start):
                keys[query, size] = key_of(bits[place], heads[start + place])
                size += scores[place] >= bound
            if size >= n_best + PENDING or (size >= n_best and bound == np.float32(NONE_YET)):
                keys[query, :n_best] = best_keys(keys[query, :size], n_best)
                size = n_best
                bounds[query] = candidates_of(keys[query, n_best - 1 : n_best])[1][0]
            sizes[query] = size
    near = np.full((sizes.size, n_best), -1, np.int32)
    found = np.zeros(near.shape, np.float32)
    for query in range(sizes.size):
        best, best_scores = candidates_of(best_keys(keys[query, : sizes[query]], n_best))
        near[query, : best.size], found[query, : best.size] = best, best_scores
    return near, found


@kernel
def lists_of_rows(
    start: int, heads: Array, scores: Array, vectors: Array, firsts: Array, rows: Array, n_neighbours: int
) -> tuple[Array, Array, Array]:
    """The neighbour lists of all rows of consecutive vectors, in the order of `VectorCells.rows`.

    Args:
        start: the first of the vectors.
        heads, scores: the results of `search_cells` for the vectors.
        vectors, firsts, rows: see `VectorCells`.
        n_neighbours: the length of a full list.

    Returns:
        The length of each list, int64 (n_lists,); then the rows, int32, and the cosines, float32, of all lists.

    Of the rows that share a vector, only the first `n_neighbours + 1` can enter a list, since ties are broken by row.
    """
    n_best = n_neighbours + 1
    first = firsts[start]
    lengths = np.zeros(firsts[start + heads.shape[0]] - first, np.int64)
    items = np.empty(lengths.size * n_neighbours, np.int32)
    cosines = np.empty(items.size, np.float32)
    filled = 0
    for query in range(heads.shape[0]):
        bits = scores[query].view(np.int32)
        size = 0
        for head in heads[query]:
            if head >= 0:
                size += min(firsts[vectors[head] + 1] - firsts[vectors[head]], n_best)
        keys = np.empty(size, np.int64)
        size = 0
        for place in range(heads.shape[1]):
            if heads[query, place] < 0 or (size >= n_best and bits[place] < bits[place - 1]):
                break
            vector = vectors[heads[query, place]]
            for row in rows[firsts[vector] : min(firsts[vector + 1], firsts[vector] + n_best)]:
                keys[size] = key_of(bits[place], row)
                size += 1
        near, found = candidates_of(best_keys(keys[:size], n_best))
        for own in range(firsts[start + query], firsts[start + query + 1]):
            size = 0
            for place in range(near.size):
                if near[place] != rows[own] and size < n_neighbours:
                    items[filled + size], cosines[filled + size] = near[place], found[place]
                    size += 1
            lengths[own - first] = size
            filled += size
    return lengths, items[:filled], cosines[:filled]

"""Kernels over vectors: exact scores, and the best of them.

Arrays of a `Vectors`, as they are passed throughout: `rows` int32 (n,), `values` float32 (n, dim) and `dead` bool
(n,) of the main part, `new_rows` int32 (m,) and `new_values` float32 (m, dim) of what was added since. `exclude` and
`allowed` are as in `topk.top_eligible`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from multirecall.kernels import Array, dot, fast_kernel, kernel, prefetch
from multirecall.topk import eligible, find_places, top_eligible, top_k

from .._sparse.found_lists import Lists, filled, put_list, room_for

MARGIN = 32
"""The number of items beyond `k` that are scored exactly after a selection by approximate scores."""

N_AHEAD = 12
"""Vectors that are fetched ahead of their turn where some of many are scored."""


@fast_kernel
def _squared_distance(left: Array, right: Array) -> Any:
    total = np.float32(0.0)
    for entry in range(left.size):
        difference = left[entry] - right[entry]
        total += difference * difference
    return total


@kernel
def _similarity(vector: Array, query: Array, l2: bool) -> Any:
    return -_squared_distance(vector, query) if l2 else dot(vector, query)


@kernel
def prepare(vector: Array, unit: bool) -> tuple[Array, float]:
    """A vector, scaled to length 1 if `unit`, and its length, which is not finite where an entry is not."""
    total = 0.0
    for value in vector:
        total += np.float64(value) * np.float64(value)
    norm = np.sqrt(total)
    prepared = vector.copy()
    if unit and norm > 0.0:
        for entry in range(prepared.size):
            prepared[entry] = np.float32(vector[entry] / norm)
    return prepared, norm


@kernel
def prepare_rows(vectors: Array, order: Array, unit: bool) -> tuple[Array, int]:
    """The vectors in this order, at length 1 if `unit`, and the first that is not finite, or -1."""
    prepared = np.empty(vectors.shape, np.float32)
    for position in range(order.size):
        prepared[position], norm = prepare(vectors[order[position]], unit)
        if not np.isfinite(norm):
            return prepared, position
    return prepared, -1


@kernel
def _live(rows: Array, dead: Array, allowed: Array) -> Array:
    """Positions of the rows that are live and allowed; without branches, which would often be mispredicted."""
    positions = np.empty(rows.size, np.int32)
    size = 0
    for position in range(rows.size):
        positions[size] = position
        size += int(allowed[rows[position]]) & int(not dead[position])
    return positions[:size]


@kernel
def _append_live(
    rows: Array,
    values: Array,
    dead: Array,
    query: Array,
    l2: bool,
    allowed: Array,
    items: Array,
    scores: Array,
    size: int,
) -> int:
    """Append the rows that are live and allowed, with their scores."""
    if allowed.size:
        for position in _live(rows, dead, allowed):
            items[size] = rows[position]
            scores[size] = _similarity(values[position], query, l2)
            size += 1
        return size
    for position in range(rows.size):
        if not dead[position]:
            items[size] = rows[position]
            scores[size] = _similarity(values[position], query, l2)
            size += 1
    return size


@kernel
def scan(
    rows: Array,
    values: Array,
    dead: Array,
    new_rows: Array,
    new_values: Array,
    query: Array,
    l2: bool,
    k: int,
    exclude: Array,
    allowed: Array,
) -> tuple[Array, Array]:
    """The best `k` items, int32, and their scores, float32, of all live vectors; see `Vectors.scan`."""
    items = np.empty(rows.size + new_rows.size, np.int32)
    scores = np.empty(items.size, np.float32)
    none_dead = np.zeros(new_rows.size, np.bool_)
    size = _append_live(rows, values, dead, query, l2, allowed, items, scores, 0)
    size = _append_live(new_rows, new_values, none_dead, query, l2, allowed, items, scores, size)
    return top_eligible(items[:size], scores[:size], k, exclude, np.empty(0, np.bool_))


@kernel
def rescore(
    positions: Array,
    rows: Array,
    values: Array,
    dead: Array,
    new_rows: Array,
    new_values: Array,
    query: Array,
    l2: bool,
    k: int,
    exclude: Array,
    allowed: Array,
) -> tuple[Array, Array, float]:
    """The best `k` at `positions` of the main part and in the new part, and the lowest score; see `Vectors.rescore`.

    `dead` may be empty where no vector is.
    """
    items = np.empty(positions.size + new_rows.size, np.int32)
    scores = np.empty(items.size, np.float32)
    size = 0
    lowest = np.inf
    entries, dim = values.reshape(-1), values.shape[1]
    for place in range(positions.size):
        if place + N_AHEAD < positions.size:
            prefetch(entries, positions[place + N_AHEAD] * dim, dim * entries.itemsize)
        position = positions[place]
        score = _similarity(values[position], query, l2)
        lowest = min(lowest, score)
        if not (dead.size and dead[position]):
            items[size] = rows[position]
            scores[size] = score
            size += 1
    none_dead = np.zeros(new_rows.size, np.bool_)
    size = _append_live(new_rows, new_values, none_dead, query, l2, allowed, items, scores, size)
    best, best_scores = top_eligible(items[:size], scores[:size], k, exclude, allowed)
    return best, best_scores, lowest


@kernel
def _pick(
    near: Array,
    error: float,
    items: Array,
    values: Array,
    new_values: Array,
    query: Array,
    l2: bool,
    k: int,
    exclude: Array,
    allowed: Array,
) -> tuple[Array, Array, bool]:
    """The best `k`, and whether no item that was passed over can be better than they are.

    `near` and `items`, float32 and int32 (n + m,), are of the main part and, behind it, of what was added.
    """
    wanted = k + MARGIN + exclude.size
    places = find_places(items, near, wanted, allowed)
    complete = places.size < wanted or k == 0
    lowest = np.float32(np.inf) if complete else near[places].min()
    places = places[eligible(items[places], exclude, np.empty(0, np.bool_))]
    scores = np.empty(places.size, np.float32)
    n_main = np.searchsorted(places, len(values))
    for position in range(n_main):
        scores[position] = _similarity(values[places[position]], query, l2)
    for position in range(n_main, places.size):
        scores[position] = _similarity(new_values[places[position] - len(values)], query, l2)
    found, found_scores = top_k(items[places], scores, k)
    return found, found_scores, complete or (found.size == k and found_scores[k - 1] > lowest + error)


@kernel
def pick(
    near: Array,
    errors: Array,
    rows: Array,
    values: Array,
    dead: Array,
    new_rows: Array,
    new_values: Array,
    queries: Array,
    l2: bool,
    k: int,
    bounds: Array,
    exclude: Array,
    allowed: Array,
) -> Lists:
    """The lists of several queries as CSR: offsets, items and scores; see `Vectors.pick`.

    What query `i` leaves out is between two of `bounds`, int64 (B + 1,), in `exclude`.
    """
    lists = room_for(len(queries), min(k, near.shape[1]))
    every = np.concatenate((rows, new_rows))
    gone = np.flatnonzero(dead)
    for number in range(len(queries)):
        query, filtered = queries[number], exclude[bounds[number] : bounds[number + 1]]
        for place in gone:
            near[number, place] = -np.inf
        found, found_scores, proved = _pick(
            near[number], errors[number], every, values, new_values, query, l2, k, filtered, allowed
        )
        if not proved:
            found, found_scores = scan(rows, values, dead, new_rows, new_values, query, l2, k, filtered, allowed)
        put_list(lists, number, found, found_scores)
    return filled(lists)

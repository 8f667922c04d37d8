"""The items of a history with recency weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from multirecall.csr import offsets_of
from multirecall.kernels import Array, kernel
from multirecall.query import Query
from multirecall.query_batch import histories_of
from multirecall.rowtable import entry_of, new_table, slot_of


def recent_items(
    query: Query, n_items: int | None, half_life: float | None
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The `n_items` newest distinct items of the history (None: all), int32, and weights, float32, newest first.

    An item counts once, with its newest event. Its weight is the weight of that event times
    `0.5 ** (age / half_life)`; the age is the number of newer items. Without a half-life, or without an order of the
    history, weights do not decay.
    """
    most = query.history.size if n_items is None else n_items
    items, weights = newest_distinct(query.history, query.weights, most, decay_of(query, half_life))
    return items, weights


def decay_of(query: Query, half_life: float | None) -> float:
    """Halvings of the weight from one item of the history to the next older one."""
    return 0.0 if half_life is None or not query.ordered else 1.0 / half_life


def recent_items_of_each(
    queries: Sequence[Query], half_life: float | None
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """`recent_items` of several users as CSR: offsets, int64 (n_users + 1,), items and weights; at least one user."""
    if len(queries) == 1:
        newest, newest_weights = recent_items(queries[0], None, half_life)
        return offsets_of([newest.size]), newest, newest_weights
    bounds, history, weights, ordered = histories_of(queries)
    offsets, items, decayed = _newest_distinct_of_each(bounds, history, weights, decays_of(ordered, half_life))
    return offsets, items, decayed


def decays_of(ordered: NDArray[np.bool_], half_life: float | None) -> NDArray[np.float64]:
    """`decay_of` for several histories, float64 (n,); `ordered`, bool (n,): whether each is in order of time."""
    return np.where(ordered, 0.0 if half_life is None else 1.0 / half_life, 0.0)


@kernel
def newest_distinct(history: Array, weights: Array, n: int, decay: float) -> tuple[Array, Array]:
    """`recent_items` for kernels: the `n` newest distinct items and their weights, newest first."""
    items = np.empty(min(n, history.size), np.int32)
    decayed = np.empty(items.size, np.float32)
    table = new_table(items.size)
    size = 0
    for event in range(history.size - 1, -1, -1):
        if size == items.size:
            break
        slot = slot_of(history[event], table)
        if table[slot] < 0:
            table[slot] = entry_of(history[event], size)
            items[size] = history[event]
            decayed[size] = weights[event] * np.exp2(-decay * size)
            size += 1
    return items[:size], decayed[:size]


@kernel
def _newest_distinct_of_each(
    bounds: Array, histories: Array, weights: Array, decays: Array
) -> tuple[Array, Array, Array]:
    offsets = np.zeros(bounds.size, np.int64)
    items, decayed = np.empty(histories.size, np.int32), np.empty(histories.size, np.float32)
    for user in range(decays.size):
        own = slice(bounds[user], bounds[user + 1])
        newest, newest_weights = newest_distinct(histories[own], weights[own], histories.size, decays[user])
        start, stop = offsets[user], offsets[user] + newest.size
        items[start:stop], decayed[start:stop] = newest, newest_weights
        offsets[user + 1] = stop
    return offsets, items[: offsets[-1]], decayed[: offsets[-1]]

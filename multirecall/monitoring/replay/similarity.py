"""How alike two lists are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from multirecall.kernels import Array, kernel
from multirecall.rowtable import entry_of, new_table, position_in, slot_of

PERSISTENCE = 0.98
"""The `p` of rank-biased overlap: the first 50 ranks have 86 % of the weight."""


@kernel
def places_in(offsets: Array, items: Array, asked_offsets: Array, asked: Array) -> Array:
    """Where each of the `asked` items stands in the list of the same user, from 0; -1: nowhere. int32 (n,).

    Args:
        offsets: where the list of each user begins in `items`, int64 (n_users + 1,).
        items: item rows, int32, unique within a list.
        asked_offsets: where the items that are asked for begin, int64 (n_users + 1,).
        asked: item rows, int32 (n,).
    """
    places = np.full(asked.size, -1, np.int32)
    for user in range(offsets.size - 1):
        own = items[offsets[user] : offsets[user + 1]]
        table = new_table(own.size)
        for place in range(own.size):
            table[slot_of(own[place], table)] = entry_of(own[place], place)
        for number in range(asked_offsets[user], asked_offsets[user + 1]):
            entry = table[slot_of(asked[number], table)]
            if entry >= 0:
                places[number] = position_in(entry)
    return places


def overlaps(
    offsets: NDArray[np.int64],
    other_offsets: NDArray[np.int64],
    places: NDArray[np.int32],
    ks: Sequence[int],
) -> NDArray[np.float64]:
    """The share of the first `k` items that two lists have in common, float64 (n_users, n_ks).

    Lists that are shorter than `k` are compared as far as the longer one goes; two empty ones are equal.

    Args:
        offsets: of the first lists, int64 (n_users + 1,).
        other_offsets: of the second lists, int64 (n_users + 1,).
        places: where each item of the second lists stands in the first, as `places_in` says.
        ks: numbers of items.
    """
    return _overlaps(offsets, other_offsets, places, np.asarray(ks, np.int64))


@kernel
def _overlaps(offsets: Array, other_offsets: Array, places: Array, ks: Array) -> Array:
    shares = np.ones((offsets.size - 1, ks.size))
    for user in range(offsets.size - 1):
        n, m = offsets[user + 1] - offsets[user], other_offsets[user + 1] - other_offsets[user]
        own = places[other_offsets[user] : other_offsets[user + 1]]
        for column in range(ks.size):
            depth = min(ks[column], max(n, m))
            common = 0
            for place in own[:depth]:
                common += 0 <= place < depth
            if depth:
                shares[user, column] = common / depth
    return shares


@kernel
def rank_biased_overlaps(offsets: Array, other_offsets: Array, places: Array, persistence: float) -> Array:
    """Extrapolated rank-biased overlap of each pair of lists, float64 (n_users,).

    Webber, Moffat, Zobel (TOIS 2010), "A Similarity Measure for Indefinite Rankings", equation 32, which assumes that
    lists go on to agree as they did so far. Two empty lists have 1, an empty one and another have 0.

    Args:
        offsets: as in `overlaps`.
        other_offsets: likewise.
        places: likewise.
        persistence: the probability `p` with which a reader goes on to the next rank, in (0, 1).
    """
    found = np.empty(offsets.size - 1)
    for user in range(offsets.size - 1):
        n, m = offsets[user + 1] - offsets[user], other_offsets[user + 1] - other_offsets[user]
        own = places[other_offsets[user] : other_offsets[user + 1]]
        short, long = min(n, m), max(n, m)
        if short == 0:
            found[user] = 1.0 if long == 0 else 0.0
            continue
        joins = np.zeros(long + 1)
        for rank in range(m):
            if own[rank] >= 0:
                joins[max(rank, own[rank]) + 1] += 1.0
        common, at_short, total, weight = 0.0, 0.0, 0.0, 1.0
        for depth in range(1, long + 1):
            weight *= persistence
            common += joins[depth]
            total += common / depth * weight
            if depth == short:
                at_short = common
            if depth > short:
                total += at_short * (depth - short) / (short * depth) * weight
        rest = (common - at_short) / long + at_short / short
        found[user] = (1.0 - persistence) / persistence * total + rest * weight
    return found

"""Ridge regression of each item on the few inputs that tell most about it, for a log in which order counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from multirecall.csr import offsets_of
from multirecall.data import Interactions
from multirecall.errors import CannotFit
from multirecall.kernels import Array, kernel
from multirecall.progress import Progress
from multirecall.selection import best_keys, candidates_of, key_of

from .._sparse.rows import SparseRows
from .retriever import run_in_blocks
from .ridge import solve_ridge

BLOCK = 64
"""Targets in one task."""


def sparse_next_weights(
    log: Interactions,
    rates: NDArray[np.float64],
    reaches: NDArray[np.int64],
    regularisation: float,
    n_chosen: int,
    threads: int,
    progress: Progress,
) -> SparseRows:
    """The weights by input and target of `next_item`, (n_speeds · n_items, n_items); few for each target.

    A target is regressed on the `n_chosen` inputs that would explain most of it by themselves. Of input `s` with the
    diagonal `G_ss` of the Gram matrix and the product `P_s` with the target, that is `P_s² / (G_ss + λ)`.

    Args:
        log: the events, in order.
        rates, reaches: of each half-life, the decay from one event to the next, and the number of events that count.
        regularisation: the penalty `λ`.
        n_chosen: the most inputs of a target.
        threads: the threads.
        progress: receives the progress.

    Raises:
        CannotFit: a regression is not positive definite in float32.
    """
    by_item = np.argsort(log.items, kind="stable").astype(np.int32)
    rests = _rests(log.offsets, log.weights, rates)
    gaps = np.arange(reaches.max())
    decays = np.where(gaps < reaches[:, None], rates[:, None] ** gaps, 0.0).astype(np.float32)
    arguments = (
        offsets_of(np.bincount(log.items, minlength=log.n_items)),
        by_item,
        log.offsets,
        log.users.astype(np.int32),
        log.items,
        log.weights,
        decays,
        rests,
        _diagonal(log.offsets, log.items, log.weights, decays, reaches, rests, log.n_items),
        reaches,
        np.float32(regularisation),
        n_chosen,
    )
    targets = run_in_blocks(
        _regressions, arguments, log.n_items, threads, progress, "next_item: solving for weights", size=BLOCK
    )
    if not np.isfinite(targets.values).all():
        raise CannotFit("next_item: regularisation is too small for the log's weights; raise it")
    n_inputs = rates.size * log.n_items
    by_target = csr_array((targets.values, targets.columns, targets.offsets), shape=(log.n_items, n_inputs))
    return SparseRows.of_matrix(by_target.T.tocsr())


@kernel
def _rests(offsets: Array, weights: Array, rates: Array) -> Array:
    """`Z_q(i, j) = Σ_{t > q} w_t (r_i r_j)^(t - 1 - q)` of each event `q`, float32 (n_events, n_speeds, n_speeds)."""
    n_speeds = rates.size
    found = np.zeros((weights.size, n_speeds, n_speeds), np.float32)
    for user in range(offsets.size - 1):
        for event in range(offsets[user + 1] - 2, offsets[user] - 1, -1):
            for i in range(n_speeds):
                for j in range(n_speeds):
                    found[event, i, j] = weights[event + 1] + rates[i] * rates[j] * found[event + 1, i, j]
    return found


@kernel
def _diagonal(
    offsets: Array, items: Array, weights: Array, decays: Array, reaches: Array, rests: Array, n_items: int
) -> Array:
    """The diagonal of the Gram matrix of all inputs, float32 (n_speeds, n_items); repeats of an item count as pairs."""
    found = np.zeros((reaches.size, n_items), np.float32)
    newest = np.full(n_items, -1, np.int64)
    for user in range(offsets.size - 1):
        first = offsets[user]
        for newer in range(first, offsets[user + 1]):
            item = items[newer]
            for i in range(reaches.size):
                found[i, item] += weights[newer] * weights[newer] * rests[newer, i, i]
                if newest[item] >= first:
                    for older in range(max(first, newer - reaches[i] + 1), newer):
                        if items[older] == item:
                            share = weights[newer] * weights[older] * decays[i, newer - older]
                            found[i, item] += 2.0 * share * rests[newer, i, i]
            newest[item] = newer
    return found


@kernel
def _regressions(
    start: int,
    stop: int,
    starts: Array,
    by_item: Array,
    offsets: Array,
    users: Array,
    items: Array,
    weights: Array,
    decays: Array,
    rests: Array,
    diagonal: Array,
    reaches: Array,
    regularisation: float,
    n_chosen: int,
) -> tuple[Array, Array, Array]:
    """The regressions of the targets `start … stop - 1`: the number of inputs of each, the inputs, their weights.

    Args:
        start, stop: the targets.
        starts, by_item: the events of each item, ascending, as CSR.
        offsets, users, items, weights: the log.
        decays: float32 (n_speeds, reach), what a weight has left after so many events.
        rests: see `_rests`.
        diagonal: see `_diagonal`.
        reaches: the number of events that count, by speed.
        regularisation: the penalty.
        n_chosen: the most inputs of a target.
    """
    n_speeds, n_items = diagonal.shape
    lengths = np.zeros(stop - start, np.int64)
    found = np.empty((stop - start) * n_chosen, np.int32)
    values = np.empty((stop - start) * n_chosen, np.float32)
    products = np.zeros(n_speeds * n_items, np.float32)
    touched = np.empty(n_speeds * n_items, np.int32)
    places = np.full((n_items, n_speeds), -1, np.int32)
    last_of = np.full(offsets.size - 1, -1, np.int32)
    own = diagonal.ravel()
    size = 0
    for target in range(start, stop):
        events = by_item[starts[target] : starts[target + 1]]
        n = _multiply(events, offsets, users, items, weights, decays, reaches, n_items, products, touched)
        shares = products[touched[:n]]
        for place in range(n):
            shares[place] *= shares[place] / (own[touched[place]] + regularisation)
        keys = np.empty(n, np.int64)
        for place in range(n):
            keys[place] = key_of(shares.view(np.int32)[place], touched[place])
        chosen = np.sort(candidates_of(best_keys(keys, n_chosen))[0])
        gram = _local_gram(chosen, starts, by_item, users, weights, decays, rests, n_items, places, last_of)
        gram[chosen.size, : chosen.size] = products[chosen]
        found[size : size + chosen.size] = chosen
        values[size : size + chosen.size] = solve_ridge(gram, regularisation)
        size += chosen.size
        lengths[target - start] = chosen.size
        products[touched[:n]] = 0.0
    return lengths, found[:size].copy(), values[:size].copy()


@kernel
def _multiply(
    events: Array,
    offsets: Array,
    users: Array,
    items: Array,
    weights: Array,
    decays: Array,
    reaches: Array,
    n_items: int,
    products: Array,
    touched: Array,
) -> int:
    """Add to `products`, in place, those of all inputs with the target that occurs at `events`.

    The inputs whose product is not 0 become the first entries of `touched`; their number is returned.
    """
    size = 0
    for event in events:
        first = offsets[users[event]]
        for i in range(reaches.size):
            for older in range(event - 1, max(first, event - reaches[i]) - 1, -1):
                row = i * n_items + items[older]
                addend = weights[event] * weights[older] * decays[i, event - 1 - older]
                if addend > 0.0:
                    touched[size] = row
                    size += products[row] == 0.0
                    products[row] += addend
    return size


@kernel
def _local_gram(
    chosen: Array,
    starts: Array,
    by_item: Array,
    users: Array,
    weights: Array,
    decays: Array,
    rests: Array,
    n_items: int,
    places: Array,
    last_of: Array,
) -> Array:
    """The lower triangle of the Gram matrix of a few inputs, with one row more: float32 (n_chosen + 1, n_chosen + 1).

    The events of a user that are inputs form a linked list, whose head is `last_of[user]`. A pair of events adds as in
    `next_item._accumulate`. `places`, int32 (n_items, n_speeds), and `last_of` are -1 before and after the call.
    """
    n_speeds, most = decays.shape
    own = np.empty(chosen.size, np.int32)
    n_own = 0
    n_entries = 0
    for place in range(chosen.size):
        item = chosen[place] % n_items
        fresh = True
        for i in range(n_speeds):
            fresh &= places[item, i] < 0
        if fresh:
            own[n_own] = item
            n_own += 1
            n_entries += starts[item + 1] - starts[item]
        places[item, chosen[place] // n_items] = place
    before = np.empty(n_entries, np.int32)
    events = np.empty(n_entries, np.int32)
    owners = np.empty(n_entries, np.int32)
    gram = np.zeros((chosen.size + 1, chosen.size + 1), np.float32)
    entry = np.int32(0)
    for number in range(n_own):
        item = own[number]
        for position in range(starts[item], starts[item + 1]):
            event = by_item[position]
            user = users[event]
            events[entry], owners[entry], before[entry] = event, item, last_of[user]
            last_of[user] = entry
            other = entry
            while other >= 0:
                older, newer, older_item, newer_item = events[other], event, owners[other], item
                if older > newer:
                    older, newer, older_item, newer_item = newer, older, newer_item, older_item
                if newer - older < most:
                    share = weights[older] * weights[newer]
                    for i in range(n_speeds):
                        left = places[older_item, i]
                        decayed = share * decays[i, newer - older]
                        if left < 0:
                            continue
                        for j in range(n_speeds):
                            right = places[newer_item, j]
                            if right < 0 or (older == newer and j < i):
                                continue
                            addend = decayed * rests[newer, i, j]
                            if left == right and older != newer:
                                addend *= np.float32(2.0)
                            gram[max(left, right), min(left, right)] += addend
                other = before[other]
            entry += 1
    for number in range(n_own):
        item = own[number]
        places[item] = -1
        for position in range(starts[item], starts[item + 1]):
            last_of[users[by_item[position]]] = -1
    return gram

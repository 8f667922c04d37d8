"""The items most similar to each of many items, whose searches share what their frequent terms find."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from multirecall.csr import offsets_of
from multirecall.kernels import Array, kernel
from multirecall.selection import best_keys, candidates_of, key_of
from multirecall.sums import Sums, take_top

from .._sparse.rows import SparseRows, add_rows
from .maxscore import TRACKED, add_terms, in_order, search_maxscore
from .postings import Postings

RARE = 256
"""Most postings of a rare term. The items of such terms are scored one by one. Changes speed only."""

HASH_FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""An odd number of about equally many bits 0 and 1, whose multiples spread over all bits."""

Similar = tuple[NDArray[np.int32], NDArray[np.float32]]


def plan_searches(
    profiles: SparseRows, postings: Postings, n_terms: int, n_postings: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32], NDArray[np.int32], NDArray[np.int64]]:
    """What to search for to find items like those of `profiles`, and in which order.

    The terms of an item are those of `Postings.profile`, in the order of `Postings.order`.

    Args:
        profiles: item × term, the weight of each term in the profile of each item.
        postings: the index that will be searched; it has the same terms.
        n_terms: most terms of a search.
        n_postings: most postings of the terms of a search together; the first term always counts.

    Returns:
        The CSR offsets of the searches, int64 (n + 1,); the terms, int32, and weights, float32, of all; how many terms
        at the start of each are rare, int32 (n,); and an order of the searches, int64 (n,), in which those whose other
        terms are equal are together.
    """
    statistics = postings.statistics
    lengths, terms, weights, rare, hashes = _plan(
        profiles.offsets,
        profiles.columns,
        profiles.values,
        statistics.holders,
        statistics.limits,
        postings.columns.columns,
        postings.impacts.offsets,
        n_terms,
        n_postings,
        RARE,
    )
    return offsets_of(lengths), terms, weights, rare, np.argsort(hashes, kind="stable")


@kernel
def _plan(
    item_offsets: Array,
    item_terms: Array,
    item_weights: Array,
    holders: Array,
    limits: Array,
    columns: Array,
    offsets: Array,
    n_terms: int,
    n_postings: int,
    most_of_rare: int,
) -> tuple[Array, Array, Array, Array, Array]:
    """The lengths, terms, weights and rare terms of `plan_searches`, and a hash of the other terms, uint64 (n,)."""
    n = item_offsets.size - 1
    longest = 0
    for item in range(n):
        longest = max(longest, item_offsets[item + 1] - item_offsets[item])
    totals = np.zeros(holders.size, np.float32)
    touched = np.empty(longest + 1, np.int32)
    nothing, everything = np.empty(0, np.int32), np.empty(0, np.bool_)
    one = np.ones(1, np.float32)
    lengths, rare, hashes = np.empty(n, np.int64), np.zeros(n, np.int32), np.zeros(n, np.uint64)
    terms, weights = np.empty(item_terms.size, np.int32), np.empty(item_terms.size, np.float32)
    filled = 0
    for item in range(n):
        row = np.full(1, item, np.int32)
        size = add_rows(row, one, item_offsets, item_terms, item_weights, totals, touched, 0)
        top, sums = take_top(totals, touched, size, n_terms, nothing, everything)
        n_kept, n_read = 0, 0
        for term in top:
            n_read += holders[term]
            if n_kept and n_read > n_postings:
                break
            n_kept += 1
        own, own_weights = in_order(top[:n_kept], sums[:n_kept], limits, columns)
        lengths[item] = own.size
        terms[filled : filled + own.size], weights[filled : filled + own.size] = own, own_weights
        filled += own.size
        for term in own:
            if offsets[term + 1] - offsets[term] > most_of_rare:
                break
            rare[item] += 1
        bits = own_weights.view(np.int32)
        for place in range(rare[item], own.size):
            hashes[item] = (hashes[item] ^ np.uint64(own[place])) * HASH_FACTOR
            hashes[item] = (hashes[item] ^ np.uint64(bits[place])) * HASH_FACTOR
    return lengths, terms[:filled], weights[:filled], rare, hashes


def search_planned(
    start: int,
    stop: int,
    order: NDArray[np.int64],
    plan_offsets: NDArray[np.int64],
    plan_terms: NDArray[np.int32],
    plan_weights: NDArray[np.float32],
    rare: NDArray[np.int32],
    postings: Postings,
    k: int,
) -> Similar:
    """The items of `postings` that are most similar by the searches `order[start:stop]`, int32, and their scores.

    Each list equals that of `Postings.search` to the bit. Both arrays are (stop - start, k); shorter lists end in row
    -1 and score 0.
    """
    sums = Sums(postings.n_items)
    impacts, items = postings.impacts, postings.item_impacts
    found: Similar = _search_planned(
        order[start:stop],
        plan_offsets,
        plan_terms,
        plan_weights,
        rare,
        postings.peaks,
        postings.statistics.groups,
        impacts.offsets,
        impacts.columns,
        impacts.values,
        items.offsets,
        items.columns,
        items.values,
        *postings.columns,
        sums.totals,
        sums.touched[: postings.n_items // TRACKED],
        k,
    )
    sums.release()
    return found


@kernel
def _search_planned(
    order: Array,
    plan_offsets: Array,
    plan_terms: Array,
    plan_weights: Array,
    rare: Array,
    peaks: Array,
    groups: Array,
    offsets: Array,
    items: Array,
    scores: Array,
    item_offsets: Array,
    item_terms: Array,
    item_scores: Array,
    columns: Array,
    firsts: Array,
    codes: Array,
    totals: Array,
    touched: Array,
    k: int,
) -> tuple[Array, Array]:
    """The lists of `search_planned`; the arrays behind `rare` are those of `search_maxscore`.

    Searches with equal frequent terms share the `k` best items by these. An item without a rare term of the search has
    no other score, and `k` items score at least as much as the last of the `k` best. So the items of the rare terms are
    the only others that can enter a list.
    """
    nothing, everything = np.empty(0, np.int32), np.empty(0, np.bool_)
    near, found = np.full((order.size, k), -1, np.int32), np.zeros((order.size, k), np.float32)
    last = -1
    shared, shared_scores = np.empty(0, np.int32), np.empty(0, np.float32)
    for place in range(order.size):
        search = order[place]
        start, stop = plan_offsets[search], plan_offsets[search + 1]
        split = start + rare[search]
        if last < 0 or not _same_frequent(last, search, plan_offsets, plan_terms, plan_weights, rare):
            shared, shared_scores = search_maxscore(
                plan_terms[split:stop],
                plan_weights[split:stop],
                peaks,
                groups,
                offsets,
                items,
                scores,
                item_offsets,
                item_terms,
                item_scores,
                columns,
                firsts,
                codes,
                totals,
                touched,
                k,
                nothing,
                everything,
            )
            last = search
        n_rare = 0
        for term in plan_terms[start:split]:
            n_rare += offsets[term + 1] - offsets[term]
        keys = np.empty(n_rare, np.int64)
        n_rare = 0
        for term in plan_terms[start:split]:
            for entry in range(offsets[term], offsets[term + 1]):
                keys[n_rare] = key_of(0, items[entry])
                n_rare += 1
        keys = _distinct(keys)
        own, _ = candidates_of(keys)
        whole = add_terms(keys, plan_terms[start:stop], plan_weights[start:stop], item_offsets, item_terms, item_scores)
        merged = np.empty(whole.size + shared.size, np.int64)
        merged[: whole.size] = whole
        size = whole.size
        bits = shared_scores.view(np.int32)
        for position in range(shared.size):
            merged[size] = key_of(bits[position], shared[position])
            size += not (own == shared[position]).any()
        best, best_scores = candidates_of(best_keys(merged[:size], k))
        near[place, : best.size], found[place, : best.size] = best, best_scores
    return near, found


@kernel
def _same_frequent(one: int, other: int, offsets: Array, terms: Array, weights: Array, rare: Array) -> bool:
    """Whether two searches have the same terms, with the same weights, behind their rare terms."""
    start, begin = offsets[one] + rare[one], offsets[other] + rare[other]
    size = offsets[one + 1] - start
    if offsets[other + 1] - begin != size:
        return False
    for place in range(size):
        if terms[start + place] != terms[begin + place] or weights[start + place] != weights[begin + place]:
            return False
    return True


@kernel
def _distinct(keys: Array) -> Array:
    """The distinct keys, ascending."""
    keys.sort()
    size = 0
    for position in range(keys.size):
        if position == 0 or keys[position] != keys[position - 1]:
            keys[size] = keys[position]
            size += 1
    return keys[:size]

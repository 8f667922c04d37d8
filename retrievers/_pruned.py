"""The best items of a sum over postings, without reading what cannot change them: MaxScore, a term at a time."""

from __future__ import annotations

import numpy as np

from multirecall.kernels import Array, kernel
from multirecall.rowtable import new_table, slot_of
from multirecall.topk import best_keys, candidates_of, key_of

WINDOW = 1 << 16
"""Items whose sums are built up together: they fit the second cache."""

BLOCK = 8
"""Items of a window whose maximum is taken together."""

TRACKED = WINDOW // 16
"""Postings in a window up to which the items that they touch are remembered, instead of going over all."""

COMPLETION = 150
"""Postings that are read in the time in which an item is completed from its own terms, which misses the cache."""

FINITE = 0x7F800000
"""See `_gather.FINITE`."""

ROUNDING = 2.0**-23
"""Twice the largest relative error of one float32 addition."""


@kernel
def in_order(terms: Array, weights: Array, limits: Array) -> tuple[Array, Array]:
    """Distinct terms (int32) of weights above 0 by falling `weight · limit`, then as given; and their weights."""
    keys = np.empty(terms.size, np.int64)
    products = np.empty(terms.size, np.float32)
    n_kept = 0
    for position in range(terms.size):
        products[position] = weights[position] * limits[terms[position]]
    bits = products.view(np.int32)
    for position in range(terms.size):
        keys[n_kept] = key_of(bits[position], position)
        n_kept += bits[position] > 0
    order, _ = candidates_of(best_keys(keys[:n_kept], n_kept))
    return terms[order], weights[order]


@kernel
def top_pruned(
    terms: Array,
    weights: Array,
    peaks: Array,
    groups: Array,
    offsets: Array,
    items: Array,
    scores: Array,
    item_offsets: Array,
    item_terms: Array,
    item_scores: Array,
    totals: Array,
    touched: Array,
    k: int,
    exclude: Array,
    allowed: Array,
) -> tuple[Array, Array]:
    """The `k` best eligible items of `Σ weight · score`, to the bit what adding up all postings gives.

    Turtle & Flood (IP&M 1995), "Query evaluation: strategies and optimizations", max score a term at a time: postings
    are read whole until the terms that are left cannot lift an item above the `k`-th best sum so far; then the items
    that can still get there are completed from their own terms. Terms of one group never meet in an item, so all that
    are left of it can add only what the best of them adds.

    Args:
        terms, weights: see `in_order`.
        peaks, groups: float32 and int32 (n_terms,): the largest score of a term, and its group, -1 for none.
        offsets, items, scores: postings of the terms, items ascending, scores > 0 where the peak is.
        item_offsets, item_terms, item_scores: their transpose.
        totals: float32 (WINDOW,), zeros, and zeros again at the end.
        touched: int32 (TRACKED,), scratch memory.
        k, exclude, allowed: see `topk.top_eligible`.
    """
    n = terms.size
    rest = _rest(terms, weights, peaks, groups)
    of_items = item_offsets, item_terms, item_scores
    bits = totals.view(np.int32)
    starts = offsets[terms]
    stops = starts.copy()
    threshold = np.int64(1)
    best = np.empty(0, np.int64)
    excluded = 0
    n_items = item_offsets.size - 1
    for first in range(0, n_items, WINDOW):
        n_must = 0
        while n_must < n and _bits_of(rest[n_must]) >= threshold:
            n_must += 1
        if n_must == 0:
            break
        width = min(WINDOW, n_items - first)
        left, n_postings = 0, 0
        for position in range(n):
            starts[position] = stops[position]
            stops[position] = _first_from(items, stops[position], offsets[terms[position] + 1], first + width)
            left += stops[position] - starts[position]
            if position < n_must:
                n_postings = left
        if n_postings == 0:
            continue
        size = 0 if n_postings <= TRACKED else -1
        for position in range(n_must):
            size = _read(
                starts[position], stops[position], weights[position], first, items, scores, totals, touched, size, True
            )
        excluded = _first_from(exclude, excluded, exclude.size, first)
        while excluded < exclude.size and exclude[excluded] < first + width:
            totals[exclude[excluded] - first] = 0.0
            excluded += 1
        if size < 0:
            if allowed.size:
                for place in range(width):
                    bits[place] = bits[place] if allowed[first + place] else 0
            threshold = max(threshold, _bound(bits[:width], k))
        n_read = n_must
        left -= n_postings
        while True:
            least = max(_less(threshold, rest[n_read]), 1)
            keys = _tracked(touched[:size], bits, first, least) if size >= 0 else _found(bits[:width], first, least)
            if keys.size * COMPLETION <= left or left == 0:
                break
            half = left // 2
            while left > half:
                start, stop = starts[n_read], stops[n_read]
                size = _read(start, stop, weights[n_read], first, items, scores, totals, touched, size, False)
                left -= stop - start
                n_read += 1
        if size >= 0:
            for place in touched[:size]:
                totals[place] = 0.0
        else:
            totals[:width] = 0.0
        if allowed.size:
            keys = _allowed(keys, allowed)
        if left > 0:
            keys = _added(keys, terms[n_read:], weights[n_read:], *of_items)
        best = np.concatenate((best, keys))
        if best.size >= k > 0:
            best = best_keys(best, k)
            threshold = max(threshold, best[k - 1] >> 32)
    return candidates_of(best_keys(best, k))


@kernel
def _first_from(items: Array, low: int, high: int, item: int) -> int:
    """The first place in `low … high - 1` whose item is `item` or a later one, else `high`."""
    step = 1
    while low + step < high and items[low + step] < item:
        low += step
        step *= 2
    high = min(high, low + step)
    while low < high:
        middle = (low + high) >> 1
        if items[middle] < item:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def _read(
    start: int,
    stop: int,
    weight: float,
    first: int,
    items: Array,
    scores: Array,
    totals: Array,
    touched: Array,
    size: int,
    joins: bool,
) -> int:
    """Add postings of a term to the sums of the window that begins with item `first`.

    While items are tracked (`size` ≥ 0), one without a sum gets one, and a place in `touched`, only if it `joins`.
    """
    if size < 0:
        for entry in range(start, stop):
            totals[items[entry] - first] += weight * scores[entry]
    elif joins:
        for entry in range(start, stop):
            place = items[entry] - first
            total = totals[place]
            touched[size] = place
            size += total == 0.0
            totals[place] = total + weight * scores[entry]
    else:
        for entry in range(start, stop):
            place = items[entry] - first
            if totals[place] != 0.0:
                totals[place] += weight * scores[entry]
    return size


@kernel
def _tracked(touched: Array, bits: Array, first: int, least: int) -> Array:
    """The keys of the items at `touched` places of a window whose sums' `bits` are `least` or more."""
    keys = np.empty(touched.size, np.int64)
    n_keys = 0
    for place in touched:
        keys[n_keys] = key_of(bits[place], first + place)
        n_keys += bits[place] >= least
    return keys[:n_keys]


@kernel
def _found(bits: Array, first: int, least: int) -> Array:
    """The same among all items of a window."""
    peaks = _peaks(bits)
    blocks = np.empty(peaks.size, np.int32)
    n_reaching = 0
    for block in range(peaks.size):
        blocks[n_reaching] = block
        n_reaching += peaks[block] >= least
    keys = np.empty(n_reaching * BLOCK, np.int64)
    n_keys = 0
    for block in blocks[:n_reaching]:
        for place in range(block * BLOCK, min((block + 1) * BLOCK, bits.size)):
            keys[n_keys] = key_of(bits[place], first + place)
            n_keys += bits[place] >= least
    return keys[:n_keys]


@kernel
def _bound(bits: Array, k: int) -> int:
    """Bits that `k` sums of a window reach, one in each of `k` blocks; 1 where there are not as many."""
    peaks = _peaks(bits)
    keys = np.empty(peaks.size, np.int64)
    n_keys = 0
    for block in range(peaks.size):
        keys[n_keys] = key_of(peaks[block], block)
        n_keys += peaks[block] > 0
    return best_keys(keys[:n_keys], k)[k - 1] >> 32 if 0 < k <= n_keys else np.int64(1)


@kernel
def _peaks(bits: Array) -> Array:
    """The largest number of each block, int32."""
    peaks = np.zeros((bits.size + BLOCK - 1) // BLOCK, np.int32)
    for block in range(bits.size // BLOCK):
        peak = np.int32(0)
        for place in range(block * BLOCK, (block + 1) * BLOCK):
            peak = max(peak, bits[place])
        peaks[block] = peak
    for place in range(bits.size // BLOCK * BLOCK, bits.size):
        peaks[-1] = max(peaks[-1], bits[place])
    return peaks


@kernel
def _allowed(keys: Array, allowed: Array) -> Array:
    n_keys = 0
    for key in keys:
        keys[n_keys] = key
        n_keys += allowed[0x7FFFFFFF - (key & 0x7FFFFFFF)]
    return keys[:n_keys]


@kernel
def _bits_of(value: float) -> int:
    """The bits of the float32 next to `value`, which is ≥ 0: they order as the numbers do."""
    single = np.empty(1, np.float32)
    single[0] = value
    return single.view(np.int32)[0]


@kernel
def _less(bits: int, rest: float) -> int:
    """Bits of a number just below what `bits` stand for less `rest`; 0 where that is not above 0."""
    single = np.empty(1, np.int32)
    single[0] = bits
    return _bits_of(max(single.view(np.float32)[0] - rest * (1.0 + ROUNDING), 0.0)) - 1


@kernel
def _rest(terms: Array, weights: Array, peaks: Array, groups: Array) -> Array:
    """What the terms from each one on can add to an item at most, with room for rounding: float64 (n + 1,)."""
    rest = np.zeros(terms.size + 1)
    n_groups = 0
    for term in terms:
        n_groups = max(n_groups, groups[term] + 1)
    of_group = np.zeros(n_groups)
    for position in range(terms.size - 1, -1, -1):
        term = terms[position]
        bound = np.float64(weights[position]) * peaks[term]
        group = groups[term]
        if group >= 0:
            bound, of_group[group] = max(bound - of_group[group], 0.0), max(bound, of_group[group])
        rest[position] = rest[position + 1] + bound
    return rest * (1.0 + (terms.size + 1) * ROUNDING)


@kernel
def _added(
    keys: Array, terms: Array, weights: Array, item_offsets: Array, item_terms: Array, item_scores: Array
) -> Array:
    """The keys of the same items once those of `terms` that they hold are added to their scores, in order."""
    table = new_table(terms.size)
    for place in range(terms.size):
        table[slot_of(terms[place], table, terms)] = place
    items, totals = candidates_of(keys)
    places = np.empty(terms.size, np.int64)
    addends = np.empty(terms.size, np.float32)
    for position in range(items.size):
        n_found = 0
        for entry in range(item_offsets[items[position]], item_offsets[items[position] + 1]):
            place = table[slot_of(item_terms[entry], table, terms)]
            if place >= 0:
                at = n_found
                while at > 0 and places[at - 1] > place:
                    places[at], addends[at] = places[at - 1], addends[at - 1]
                    at -= 1
                places[at], addends[at] = place, weights[place] * item_scores[entry]
                n_found += 1
        for found in range(n_found):
            totals[position] += addends[found]
    bits = totals.view(np.int32)
    full = np.empty(keys.size, np.int64)
    for position in range(items.size):
        full[position] = key_of(bits[position], items[position])
    return full

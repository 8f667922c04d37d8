"""The best items of a sum over postings, without reading what cannot change them: MaxScore, a term at a time."""

from __future__ import annotations

import numpy as np

from multirecall.kernels import LINE, Array, kernel, prefetch
from multirecall.rowtable import new_table, slot_of
from multirecall.selection import best_keys, block_peaks, candidates_of, find_at_least, key_of, kth_lower_bound

TRACKED = 16
"""While fewer than a sixteenth of the items have sums, those are remembered, instead of going over all items."""

COMPLETION = 200
"""Postings that are read in the time in which an item is completed from its own terms, which misses the cache."""

AHEAD = 4
"""Items whose terms are fetched ahead of their use."""

PER_POSTING = 5
"""Items to which a column adds, one after another, in the time in which a posting is read."""

SCATTERED = 8
"""Items to which the columns add, one after another, in the time in which they add to one out of order."""

TOGETHER = 1_024
"""Items to which all columns add before the next ones: their sums stay in the first cache."""

NO_CODE = 255
"""Code of an item without a value in a column."""

ROUNDING = 2.0**-23
"""Twice the largest relative error of one float32 addition."""


@kernel
def in_order(terms: Array, weights: Array, limits: Array, columns: Array) -> tuple[Array, Array]:
    """Distinct terms (int32) of weights above 0, and their weights, in the order in which scores are summed up.

    Those of no column come first, by falling `weight · limit`, then as given; then those of each column.
    """
    keys = np.empty(terms.size, np.int64)
    products = np.empty(terms.size, np.float32)
    n_kept = 0
    for position in range(terms.size):
        products[position] = weights[position] * limits[terms[position]]
    bits = products.view(np.int32)
    for position in range(terms.size):
        column = columns[terms[position]]
        keys[n_kept] = key_of(bits[position] if column < 0 else -1 - column, position)
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
    columns: Array,
    firsts: Array,
    codes: Array,
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
    are left of it can add only what the best of them adds. Groups of few terms, whose postings are long, have columns
    in place of postings: their terms come last. The `k` best so far are completed first, which tells what the best
    reach at least; then the columns add to those that can still get there, or to all items at once.

    Args:
        terms, weights: see `in_order`.
        peaks, groups: float32 and int32 (n_terms,): the largest score of a term, and its group, -1 for none.
        offsets, items, scores: postings of the terms, items ascending, scores > 0 where the peak is.
        item_offsets, item_terms, item_scores: their transpose.
        columns: int32 (n_terms,), the column of the term's group, or -1; a term there has one score for all items.
        firsts: int32 (n_columns,), the first term of each column.
        codes: uint8 (n_columns, n_items), how many terms after the first the term of an item is, or `NO_CODE`.
        totals: float32 (n_items,), zeros, and zeros again at the end.
        touched: int32, scratch memory.
        k, exclude, allowed: see `topk.top_eligible`.
    """
    n = terms.size
    rest = _rest(terms, weights, peaks, groups)
    bits = totals.view(np.int32)
    if allowed.size:
        for item in range(totals.size):
            totals[item] = 0.0 if allowed[item] else -np.inf
    for item in exclude:
        if item < totals.size:
            totals[item] = -np.inf
    left, n_listed = 0, 0
    for term in terms:
        left += offsets[term + 1] - offsets[term]
        n_listed += columns[term] < 0
    keys = np.empty(0, np.int64)
    size, n_read = 0, 0
    complete = False
    while n_read < n_listed or (n_read < n and left * PER_POSTING < totals.size):
        start, stop = offsets[terms[n_read]], offsets[terms[n_read] + 1]
        effort = 4 * size if size >= 0 else totals.size // 4
        if n_read and stop - start > effort:
            most = left // COMPLETION
            blocks = _blocks(bits, size)
            reached = _kth_sum(touched[:size], bits, blocks, k)
            keys, complete = _lifted(touched[:size], bits, blocks, reached, rest[n_read], n - n_read, most)
            if complete:
                keys = _added(keys, terms[n_read:], weights[n_read:], item_offsets, item_terms, item_scores)
                break
        if size >= 0 and size + stop - start > touched.size:
            size = -1
        weight = weights[n_read]
        if size < 0:
            for entry in range(start, stop):
                totals[items[entry]] += weight * scores[entry]
        else:
            for entry in range(start, stop):
                item = items[entry]
                total = totals[item]
                touched[size] = item
                size += total == 0.0
                totals[item] = total + weight * scores[entry]
        left -= stop - start
        n_read += 1
    if not complete and n_read < n:
        addends, used = _addends(terms[n_read:], weights[n_read:], peaks, columns, firsts)
        most = totals.size // SCATTERED
        blocks = _blocks(bits, size)
        reached = _kth(_coded(_largest(touched[:size], bits, blocks, k), addends, used, codes), k)
        keys, complete = _lifted(touched[:size], bits, blocks, reached, rest[n_read], n - n_read, most)
        if complete:
            keys = _coded(keys, addends, used, codes)
        else:
            _add_columns(addends, used, codes, totals)
            size = -1
    if not complete:
        keys = _largest(touched[:size], bits, _blocks(bits, size), k)
    if size < 0 or allowed.size:
        totals[:] = 0.0
    else:
        for item in touched[:size]:
            totals[item] = 0.0
        for item in exclude:
            if item < totals.size:
                totals[item] = 0.0
    return candidates_of(best_keys(keys, k))


@kernel
def _addends(terms: Array, weights: Array, peaks: Array, columns: Array, firsts: Array) -> tuple[Array, Array]:
    """What each code adds, float32 (n_used, 256), in the columns that `terms` are of, int32 (n_used,)."""
    used = np.empty(terms.size, np.int32)
    addends = np.zeros((terms.size, NO_CODE + 1), np.float32)
    n_used = 0
    for position in range(terms.size):
        term = terms[position]
        if n_used == 0 or used[n_used - 1] != columns[term]:
            used[n_used] = columns[term]
            n_used += 1
        addends[n_used - 1, term - firsts[columns[term]]] = weights[position] * peaks[term]
    return addends[:n_used], used[:n_used]


@kernel
def _add_columns(addends: Array, used: Array, codes: Array, totals: Array) -> None:
    for first in range(0, totals.size, TOGETHER):
        sums = totals[first : first + TOGETHER]
        for position in range(used.size):
            own, column = addends[position], codes[used[position], first : first + TOGETHER]
            for place in range(sums.size):
                sums[place] += own[column[place]]


@kernel
def _coded(keys: Array, addends: Array, used: Array, codes: Array) -> Array:
    """The keys of the same items once their codes in the columns `used` have added to their scores, in order."""
    items, totals = candidates_of(keys)
    for position in range(used.size):
        column = codes[used[position]]
        for place in range(items.size):
            totals[place] += addends[position, column[items[place]]]
    return _keys(items, totals.view(np.int32))


@kernel
def _keys(items: Array, bits: Array) -> Array:
    """The keys of items whose scores, read as int32, are `bits`."""
    keys = np.empty(items.size, np.int64)
    for position in range(items.size):
        keys[position] = key_of(bits[position], items[position])
    return keys


@kernel
def _blocks(bits: Array, size: int) -> Array:
    """The `block_peaks` of the sums, or none while the first `size` ≥ 0 of `touched` name the items that have some."""
    return np.empty(0, np.int32) if size >= 0 else block_peaks(bits)


@kernel
def _kth(keys: Array, k: int) -> int:
    """The bits that the `k` best of `keys` reach, 0 where there are fewer."""
    return int(best_keys(keys, k)[k - 1] >> 32) if 0 < k <= keys.size else 0


@kernel
def _kth_sum(touched: Array, bits: Array, blocks: Array, k: int) -> int:
    """The bits that the `k` largest sums reach, or a little less."""
    return kth_lower_bound(blocks, k) if blocks.size else _kth(_keys(touched, bits[touched]), k)


@kernel
def _largest(touched: Array, bits: Array, blocks: Array, k: int) -> Array:
    """The keys of the items with the `k` largest sums, and of a few others."""
    return _lifted(touched, bits, blocks, _kth_sum(touched, bits, blocks, k), 0.0, 0, bits.size)[0]


@kernel
def _lifted(
    touched: Array, bits: Array, blocks: Array, reached: int, rest: float, n_steps: int, most: int
) -> tuple[Array, bool]:
    """The keys of the items whose sums, `bits`, reach `reached` if they still grow by `rest` in `n_steps` steps.

    And whether these are all: not where an item without a sum could get there, and not where there are more than
    `most`. `touched` and `blocks` are as in `_blocks`.
    """
    least = _less(reached, rest, n_steps)
    if not blocks.size:
        keys = _keys(touched, bits[touched])
        n_keys = 0
        for key in keys:
            keys[n_keys] = key
            n_keys += int(key >> 32 >= max(least, 1))
        return keys[:n_keys], least > 0 and n_keys <= most
    if most < bits.size:
        n_blocks = 0
        for peak in blocks:
            n_blocks += peak >= least
        if least <= 0 or n_blocks > most:
            return np.empty(0, np.int64), False
    places = find_at_least(bits, blocks, max(least, 1))
    return _keys(places, bits[places]), least > 0 and places.size <= most


@kernel
def _bits_of(value: float) -> int:
    """The bits of the float32 next to `value`, which is ≥ 0: they order as the numbers do."""
    single = np.empty(1, np.float32)
    single[0] = value
    return int(single.view(np.int32)[0])


@kernel
def _less(bits: int, rest: float, n_steps: int) -> int:
    """Bits of a number just below what `n_steps` additions of `rest` in all can bring to what `bits` stand for.

    0 where that is not above 0. Each addition may round up.
    """
    single = np.empty(1, np.int32)
    single[0] = bits
    value = np.float64(single.view(np.float32)[0])
    return _bits_of(max(value * (1.0 - (n_steps + 1) * ROUNDING) - rest, 0.0)) - 1


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
    starts, stops = item_offsets[items], item_offsets[items + 1]
    places = np.empty(terms.size, np.int64)
    addends = np.empty(terms.size, np.float32)
    for position in range(items.size):
        ahead = min(position + AHEAD, items.size - 1)
        n_bytes = 4 * (stops[ahead] - starts[ahead]) + LINE
        prefetch(item_terms, starts[ahead], n_bytes)
        prefetch(item_scores, starts[ahead], n_bytes)
        n_found = 0
        for entry in range(starts[position], stops[position]):
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
    return _keys(items, totals.view(np.int32))

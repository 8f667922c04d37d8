"""The best items of a sum over postings, without reading postings that cannot change them: MaxScore, term at a time."""

from __future__ import annotations

import numpy as np

from multirecall.kernels import LINE, Array, kernel, prefetch
from multirecall.rowtable import entry_of, new_table, position_in, slot_of
from multirecall.selection import best_keys, block_peaks, candidates_of, find_at_least, key_of, keys_of, kth_lower_bound

from .columns import add_codes, add_columns, addends_of

# The constants below are ratios of times. They decide which of several equal computations is the fastest, and change
# speed only, except for `ROUNDING`.

TRACKED = 16
"""Items with sums are recorded while they are fewer than this share (1 / 16) of all; beyond, all items are scanned."""

COMPLETION = 200
"""The time to complete one item from its own terms, a cache miss, in postings read."""

AHEAD = 4
"""Items whose terms are prefetched before their use."""

PER_POSTING = 5
"""The time to read one posting, in items to which a column adds in order."""

ROUNDING = 2.0**-23
"""Twice the largest relative error of one float32 addition."""


@kernel
def in_order(terms: Array, weights: Array, limits: Array, columns: Array) -> tuple[Array, Array]:
    """The terms with a weight above 0, int32, distinct, and their weights, in the order in which scores are summed.

    Terms without a column come first, by descending `weight · limit` with ties in the order given; then follow the
    terms of each column.
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
def search_maxscore(
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
    """The `k` best eligible items by `Σ weight · score`, equal to the bit to a sum over all postings.

    MaxScore, term at a time (Turtle & Flood, IP&M 1995, "Query evaluation: strategies and optimizations"). Postings are
    read until the upper bound of the remaining terms is too small to bring another item among the `k` best. The items
    that can still get there are then completed from their own terms. An item holds at most one term of a group, so that
    the upper bound of a group is that of its best remaining term. Groups of few terms, whose postings are long, are
    stored as columns too, and their terms come last. The `k` best items so far are completed first, which gives a lower
    bound of the `k`-th best score. The columns then add to the items that can reach it, or to all items at once.

    Args:
        terms, weights: the result of `in_order`.
        peaks, groups: float32 and int32 (n_terms,), the largest score of each term, and its group, -1 for none.
        offsets, items, scores: the postings of each term, with ascending items and scores > 0 if the peak is > 0.
        item_offsets, item_terms, item_scores: the transpose of the postings.
        columns: int32 (n_terms,), the column of each term's group, -1 for none; a term in a column has equal scores.
        firsts: int32 (n_columns,), the first term of each column.
        codes: uint8 (n_columns, `length_of`(n_items)), in each column the item's term minus its first, or `NO_CODE`.
        totals: float32 (n_items,), zeros; they are zeros again at the end.
        touched: int32, scratch memory.
        k, exclude, allowed: see `topk.top_eligible`.

    Returns:
        Item rows, int32, and scores, float32, best first.
    """
    n = terms.size
    rest = _upper_bounds(terms, weights, peaks, groups)
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
    keys, blocks = np.empty(0, np.int64), np.empty(0, np.int32)
    size, n_read = 0, 0
    complete = False
    while n_read < n_listed or (n_read < n and left * PER_POSTING < totals.size):
        start, stop = offsets[terms[n_read]], offsets[terms[n_read] + 1]
        effort = 4 * size if size >= 0 else totals.size // 4
        if n_read and stop - start > effort:
            most = left // COMPLETION
            blocks = _blocks(bits, size)
            reached = _kth_sum(touched[:size], bits, blocks, k)
            keys, complete = _reachable(touched[:size], bits, blocks, reached, rest[n_read], n - n_read, most)
            if complete:
                keys = add_terms(keys, terms[n_read:], weights[n_read:], item_offsets, item_terms, item_scores)
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
        addends, used = addends_of(terms[n_read:], weights[n_read:], peaks, columns, firsts)
        if size >= 0:
            reached = _kth(add_codes(_largest(touched[:size], bits, blocks, k), addends, used, codes), k)
            keys, complete = _reachable(touched[:size], bits, blocks, reached, rest[n_read], n - n_read, bits.size)
        if complete:
            keys = add_codes(keys, addends, used, codes)
        else:
            blocks = add_columns(addends, used, columns, firsts, codes, totals)
            size = -1
    elif not complete:
        blocks = _blocks(bits, size)
    if not complete:
        keys = _largest(touched[:size], bits, blocks, k)
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
def _blocks(bits: Array, size: int) -> Array:
    """The `block_peaks` of the sums; empty while `size` ≥ 0, since `touched` then records the items with a sum."""
    return np.empty(0, np.int32) if size >= 0 else block_peaks(bits)


@kernel
def _kth(keys: Array, k: int) -> int:
    """The bits of the `k`-th best score in `keys`; 0 if there are fewer than `k` keys."""
    return int(best_keys(keys, k)[k - 1] >> 32) if 0 < k <= keys.size else 0


@kernel
def _kth_sum(touched: Array, bits: Array, blocks: Array, k: int) -> int:
    """A lower bound of the bits of the `k`-th largest sum."""
    return kth_lower_bound(blocks, k) if blocks.size else _kth(keys_of(touched, bits[touched]), k)


@kernel
def _largest(touched: Array, bits: Array, blocks: Array, k: int) -> Array:
    """The sort keys of the items with the `k` largest sums, and of a few more."""
    return _reachable(touched, bits, blocks, _kth_sum(touched, bits, blocks, k), 0.0, 0, bits.size)[0]


@kernel
def _reachable(
    touched: Array, bits: Array, blocks: Array, reached: int, rest: float, n_steps: int, most: int
) -> tuple[Array, bool]:
    """The sort keys of the items whose sums can still reach a threshold, and whether these are all such items.

    Args:
        touched, blocks: the items with a sum, or the result of `_blocks`.
        bits: the sums of all items, read as int32.
        reached: the bits of the threshold.
        rest: an upper bound of what the remaining terms add to a sum.
        n_steps: the number of remaining terms.
        most: the largest number of items to return.

    The second result is False if an item without a sum could reach the threshold, or if more than `most` items can.
    """
    least = _sum_lower_bound(reached, rest, n_steps)
    if not blocks.size:
        keys = keys_of(touched, bits[touched])
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
    return keys_of(places, bits[places]), least > 0 and places.size <= most


@kernel
def _bits_of(value: float) -> int:
    """The bits of `value` ≥ 0, rounded to float32 and read as int32, which keep the order of numbers."""
    single = np.empty(1, np.float32)
    single[0] = value
    return int(single.view(np.int32)[0])


@kernel
def _sum_lower_bound(bits: int, rest: float, n_steps: int) -> int:
    """A strict lower bound of the sums that can still reach a threshold, as bits of a float32 read as int32.

    Args:
        bits: the threshold, as bits.
        rest: an upper bound of the total of the remaining additions.
        n_steps: the number of remaining additions, each of which may round up.

    Returns:
        The bits just below `threshold · (1 - (n_steps + 1) · ROUNDING) - rest`; below 0 if that is not positive.
    """
    single = np.empty(1, np.int32)
    single[0] = bits
    value = np.float64(single.view(np.float32)[0])
    return _bits_of(max(value * (1.0 - (n_steps + 1) * ROUNDING) - rest, 0.0)) - 1


@kernel
def _upper_bounds(terms: Array, weights: Array, peaks: Array, groups: Array) -> Array:
    """The upper bound of what the terms from each position on add to an item, rounding included, float64 (n + 1,)."""
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
def add_terms(
    keys: Array, terms: Array, weights: Array, item_offsets: Array, item_terms: Array, item_scores: Array
) -> Array:
    """New keys of the items of `keys`: the scores of the `terms` that they hold are added, in the order of `terms`."""
    table = new_table(terms.size)
    for place in range(terms.size):
        table[slot_of(terms[place], table)] = entry_of(terms[place], place)
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
            held = table[slot_of(item_terms[entry], table)]
            if held >= 0:
                place = position_in(held)
                at = n_found
                while at > 0 and places[at - 1] > place:
                    places[at], addends[at] = places[at - 1], addends[at - 1]
                    at -= 1
                places[at], addends[at] = place, weights[place] * item_scores[entry]
                n_found += 1
        for found in range(n_found):
            totals[position] += addends[found]
    return keys_of(items, totals.view(np.int32))

"""Selection of the best of many candidates by a radix sort of keys, and lower bounds that leave few to sort.

A key is an integer that orders candidates by the ordering rule of `topk`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from multirecall.kernels import LANES, Array, first_place, kernel, lanes_at_least

DIGIT_BITS = 12
"""Bits of the digit that `best_keys` counts in one pass. 4,096 counters of 4 bytes fit in the first-level cache."""

SLACK = 64
"""Surplus keys that `best_keys` sorts along with the `k` best, and twice `k` where that is more: a pass costs more."""

MOST_BUCKETS = 1 << 14
"""The number of buckets into which a sort spreads keys at most: 16,384 counters fit in a second-level cache."""

FEW = 24
"""Keys that are sorted by insertion."""

BLOCK = LANES
"""Scores in a block, which are compared at once."""

LEVELS = 1024
"""Levels of score below the highest in which a lower bound is searched for."""

NEAR = 10 << 23
"""Distance in bits of a float32 in which a lower bound is searched for first: 10 powers of two."""

FINITE = np.int32(0x7F800000)
"""The bits of infinity. Those of a positive finite float32, read as int32, lie between 0 and this, in score order."""

SIGN = np.int64(-(2**63))
"""Mask that flips the sign bit of a key, so that its digits, read as an unsigned number, order it."""


@kernel
def key_of(bits: int, item: int) -> int:
    """The sort key of a candidate, int64: a larger key comes earlier under the ordering rule.

    `bits` are the bits of its float32 score, read as int32. The score is finite, and not -0.0, since that would not
    tie with 0.0.
    """
    ordered = np.int64(bits) ^ ((np.int64(bits) >> 31) & 0x7FFFFFFF)
    return int((ordered << 32) | (0x7FFFFFFF - item))


@kernel
def keys_of(items: Array, bits: Array) -> Array:
    """The sort keys of items; `bits` are their float32 scores, read as int32."""
    keys = np.empty(items.size, np.int64)
    for position in range(items.size):
        keys[position] = key_of(bits[position], items[position])
    return keys


@kernel
def best_keys(keys: Array, k: int) -> Array:
    """The `k` largest of `keys`, int64 (n,), distinct, in descending order. Overwrites `keys`.

    A radix select: each pass counts one digit of the keys, the highest digit first. Keys whose digit lies above that
    of the k-th largest are chosen; keys that share its digit go on to the next pass. A heap costs more, since it pays
    for each key that enters.
    """
    size = keys.size
    chosen = np.empty(min(k + max(SLACK, 2 * k), size), np.int64)
    n_chosen = 0
    shift = 64
    counts = np.empty(1 << DIGIT_BITS, np.int32)
    while n_chosen + size > chosen.size:
        shift -= DIGIT_BITS
        counts[:] = 0
        for position in range(size):
            counts[_digit(keys[position], shift)] += 1
        edge = counts.size - 1
        reached = n_chosen + counts[edge]
        while reached < k:
            edge -= 1
            reached += counts[edge]
        n_on_edge = 0
        for position in range(size):
            key = keys[position]
            digit = _digit(key, shift)
            chosen[n_chosen] = key
            n_chosen += digit > edge
            keys[n_on_edge] = key
            n_on_edge += digit == edge
        size = n_on_edge
    chosen[n_chosen : n_chosen + size] = keys[:size]
    return _sort_descending(chosen[: n_chosen + size])[:k]


@kernel
def candidates_of(keys: Array) -> tuple[Array, Array]:
    """The items, int32, and the scores, float32, of `keys`: the inverse of `key_of`."""
    items = np.empty(keys.size, np.int32)
    bits = np.empty(keys.size, np.int32)
    for position in range(keys.size):
        high = keys[position] >> 32
        bits[position] = high ^ ((high >> 31) & 0x7FFFFFFF)
        items[position] = 0x7FFFFFFF - (keys[position] & 0x7FFFFFFF)
    return items, bits.view(np.float32)


@kernel
def kth_lower_bound(bits: Array, k: int) -> int:
    """A lower bound of the k-th largest score, as bits of a float32 read as int32.

    Args:
        bits: those of float32 scores, read as int32 (n,), or their `block_peaks`.
        k: the rank.

    Returns:
        A number ≥ 1 that the bits of the `k` best scores reach; 1 where `bits` show fewer than `k` such scores.
    """
    while bits.size >= BLOCK * max(k, 1):
        bits = block_peaks(bits)
    highest, lowest = _ends(bits)
    levels = np.empty(bits.size, np.int32)
    for span in (min(highest - lowest, NEAR), highest - lowest):
        shift = 0
        while span >> shift >= LEVELS - 1:
            shift += 1
        for place in range(bits.size):
            level = (highest - bits[place]) >> shift if bits[place] > 0 else LEVELS - 1
            levels[place] = level if 0 <= level < LEVELS else LEVELS - 1
        counts = np.zeros(LEVELS, np.int32)
        for level in levels:
            counts[level] += 1
        n_reached = 0
        for level in range(LEVELS - 1):
            n_reached += counts[level]
            if n_reached >= k:
                return int(max(highest - ((level + 1) << shift) + 1, 1))
    return 1


@kernel
def _ends(bits: Array) -> tuple[Any, Any]:
    """The largest and the smallest of the positive finite scores, as bits; 0 and `FINITE` where there are none."""
    highest, lowest = np.int32(0), FINITE
    for value in bits:
        is_score = (value > 0) & (value < FINITE)
        highest = max(highest, value if is_score else np.int32(0))
        lowest = min(lowest, value if is_score else FINITE)
    return highest, lowest


@kernel
def find_at_least(bits: Array, peaks: Array, least: int) -> Array:
    """The positions, int32 ascending, of the finite scores whose bits are at least `least`, which is above 0.

    `bits` are those of float32 scores, read as int32 (n,), and `peaks` their `block_peaks`.
    """
    blocks = _places_at_least(peaks, least)
    places = np.empty(blocks.size * BLOCK, np.int32)
    n_places = 0
    for block in blocks:
        start = np.int64(block) * BLOCK
        if start + BLOCK <= bits.size:
            reach = lanes_at_least(bits, start, least)
            while reach:
                place = start + first_place(reach)
                reach &= reach - 1
                places[n_places] = place
                n_places += bits[place] < FINITE
        else:
            for place in range(start, bits.size):
                places[n_places] = place
                n_places += (least <= bits[place]) & (bits[place] < FINITE)
    return places[:n_places]


@kernel
def _places_at_least(values: Array, least: int) -> Array:
    """The places, int32 ascending, of the `values`, int32 (n,), that are at least `least`."""
    places = np.empty(values.size, np.int32)
    n_places = 0
    for start in range(0, values.size - BLOCK + 1, BLOCK):
        reach = lanes_at_least(values, start, least)
        while reach:
            places[n_places] = start + first_place(reach)
            reach &= reach - 1
            n_places += 1
    for place in range(values.size // BLOCK * BLOCK, values.size):
        places[n_places] = place
        n_places += values[place] >= least
    return places[:n_places]


@kernel
def find_best(bits: Array, k: int) -> Array:
    """The positions, int32 ascending, of the `k` largest positive finite scores, and of a few others of these.

    `bits` are those of float32 scores, read as int32 (n,).
    """
    if bits.size > 2 * BLOCK * k:
        peaks = block_peaks(bits)
        return find_at_least(bits, peaks, kth_lower_bound(peaks, k))
    least = kth_lower_bound(bits, k) if 2 * bits.size > 3 * k else 1
    places = np.empty(bits.size, np.int32)
    n_places = 0
    for place in range(bits.size):
        places[n_places] = place
        n_places += (least <= bits[place]) & (bits[place] < FINITE)
    return places[:n_places]


@kernel
def block_peaks(bits: Array) -> Array:
    """The largest positive finite score of each block of `BLOCK`, as bits, int32 (n_blocks,); 0 where a block has none.

    `bits` are those of float32 scores, read as int32 (n,).
    """
    peaks = np.empty((bits.size + BLOCK - 1) // BLOCK, np.int32)
    write_peaks(bits, peaks)
    return peaks


@kernel
def write_peaks(bits: Array, peaks: Array) -> None:
    """Write the `block_peaks` of `bits` into `peaks`, int32 (n_blocks,)."""
    for block in range(bits.size // BLOCK):
        peak = np.int32(0)
        for place in range(block * BLOCK, (block + 1) * BLOCK):
            peak = max(peak, bits[place] if bits[place] < FINITE else np.int32(0))
        peaks[block] = peak
    if bits.size % BLOCK:
        peaks[-1] = 0
    for place in range(bits.size // BLOCK * BLOCK, bits.size):
        peaks[-1] = max(peaks[-1], bits[place] if bits[place] < FINITE else np.int32(0))


@kernel
def _digit(key: int, shift: int) -> int:
    """The digit of `DIGIT_BITS` bits of a key that begins at bit `shift`."""
    return int(((key ^ SIGN) >> max(shift, 0)) & ((1 << DIGIT_BITS) - 1))


@kernel
def _sort_descending(keys: Array) -> Array:
    """`keys`, distinct, in descending order: spread over buckets, twice where many share one, and then by insertion."""
    if keys.size > 4 * MOST_BUCKETS:
        return _sort_by_bytes(keys)
    spread, ends, largest = _spread(keys)
    if largest <= FEW:
        _insert(spread, 0, spread.size)
        return spread
    first = 0
    for last in ends:
        if last - first <= FEW:
            _insert(spread, first, last)
        else:
            again, _, shared = _spread(spread[first:last])
            if shared <= FEW:
                _insert(again, 0, again.size)
            else:
                again = _sort_by_bytes(again)
            spread[first:last] = again
        first = last
    return spread


@kernel
def _spread(keys: Array) -> tuple[Array, Array, Any]:
    """`keys` in buckets of equal range, the largest keys first; where each ends, and the largest size of one."""
    low: Any = keys[0] if keys.size else np.int64(0)
    high = low
    for key in keys:
        low, high = min(low, key), max(high, key)
    n_buckets: int = 64
    shift = np.uint64(0)
    while n_buckets < min(keys.size, MOST_BUCKETS):
        n_buckets *= 2
    span = np.uint64(high) - np.uint64(low)
    while span >> shift >= np.uint64(n_buckets):
        shift += np.uint64(1)
    counts = np.zeros(n_buckets + 1, np.int32)
    for key in keys:
        counts[np.int64((np.uint64(high) - np.uint64(key)) >> shift) + 1] += 1
    largest: Any = np.int32(0)
    for bucket in range(n_buckets):
        largest = max(largest, counts[bucket + 1])
        counts[bucket + 1] += counts[bucket]
    spread = np.empty_like(keys)
    for key in keys:
        of_key = np.int64((np.uint64(high) - np.uint64(key)) >> shift)
        spread[counts[of_key]] = key
        counts[of_key] += 1
    return spread, counts[:-1], largest


@kernel
def _insert(keys: Array, first: int, last: int) -> None:
    """Sort `keys[first:last]` in place, in descending order: quick for few keys, and if they are nearly sorted."""
    for place in range(first + 1, last):
        key, at = keys[place], place
        while at > first and keys[at - 1] < key:
            keys[at] = keys[at - 1]
            at -= 1
        keys[at] = key


@kernel
def _sort_by_bytes(keys: Array) -> Array:
    """`keys` in descending order, by a radix sort from the lowest byte up; a byte that all keys share is skipped."""
    spare = np.empty_like(keys)
    counts = np.empty(256, np.int64)
    varying = np.int64(0)
    for position in range(keys.size):
        varying |= keys[position] ^ keys[0]
    for shift in range(0, 64, 8):
        if (varying >> shift) & 255 == 0:
            continue
        counts[:] = 0
        for position in range(keys.size):
            counts[((keys[position] ^ SIGN) >> shift) & 255] += 1
        place = 0
        for byte in range(255, -1, -1):
            counts[byte], place = place, place + counts[byte]
        for position in range(keys.size):
            byte = ((keys[position] ^ SIGN) >> shift) & 255
            spare[counts[byte]] = keys[position]
            counts[byte] += 1
        keys, spare = spare, keys
    return keys

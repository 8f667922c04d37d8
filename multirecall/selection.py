"""The best of many candidates by counting digits of keys, and bounds that leave few to look at.

A key orders candidates by the ordering rule of `topk`.
"""

from __future__ import annotations

import numpy as np

from multirecall.kernels import Array, kernel

DIGIT_BITS = 12
"""Bits of a key that `best_keys` counts at a time: 4,096 counters stay in the first cache."""

SLACK = 64
"""Keys more than asked for that `best_keys` would rather sort than go over once more."""

BLOCK = 8
"""Scores whose maximum is taken together."""

STEP_BITS = 18
"""Bits of a float32 that a bound on the best does without: scores in one step differ by 3 % at most."""

STEPS = 1024
"""Steps below the highest score in which a bound is looked for: 32 octaves."""

FINITE = np.int32(0x7F800000)
"""The bits of a float32 above 0 and finite, read as int32, lie between 0 and this; so they order as it does."""

SIGN = np.int64(-(2**63))
"""Flips the sign bit of a key, so that its digits order it."""


@kernel
def key_of(bits: int, item: int) -> int:
    """A number, int64, that is the larger the earlier a candidate stands: the ordering rule for `best_keys`.

    `bits` are those of its score, float32 read as int32: finite, and not -0.0, which would not tie with 0.0.
    """
    ordered = np.int64(bits) ^ ((np.int64(bits) >> 31) & 0x7FFFFFFF)
    return int((ordered << 32) | (0x7FFFFFFF - item))


@kernel
def best_keys(keys: Array, k: int) -> Array:
    """The `k` largest of `keys`, int64 (n,), distinct, in falling order; `keys` is used as scratch memory.

    Digits of the keys, the highest first, are counted to tell which keys are surely among the best; those that
    share the digit on the edge are looked at again by their next one. A heap would pay for each key that enters.
    """
    size = keys.size
    chosen = np.empty(min(k + SLACK, size), np.int64)
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
    return _falling(chosen[: n_chosen + size])[:k]


@kernel
def candidates_of(keys: Array) -> tuple[Array, Array]:
    """The items, int32, and scores, float32, that `key_of` made `keys` of."""
    items = np.empty(keys.size, np.int32)
    bits = np.empty(keys.size, np.int32)
    for position in range(keys.size):
        high = keys[position] >> 32
        bits[position] = high ^ ((high >> 31) & 0x7FFFFFFF)
        items[position] = 0x7FFFFFFF - (keys[position] & 0x7FFFFFFF)
    return items, bits.view(np.float32)


@kernel
def reached_by(peaks: Array, k: int) -> int:
    """What at least `k` of the bits reach whose `block_peaks` are given, so that the `k` best do.

    1 where fewer than that are known to.
    """
    while peaks.size >= BLOCK * max(k, 1):
        peaks = block_peaks(peaks)
    highest = np.int64(peaks.max()) if peaks.size else np.int64(0)
    counts = np.zeros(STEPS, np.int32)
    for peak in peaks:
        counts[min((highest - peak) >> STEP_BITS, STEPS - 1)] += 1
    n_reached = 0
    for step in range(STEPS - 1):
        n_reached += counts[step]
        if n_reached >= k:
            return max(int(highest - ((step + 1) << STEP_BITS) + 1), 1)
    return 1


@kernel
def reaching(bits: Array, peaks: Array, least: int) -> Array:
    """Where `bits`, whose `block_peaks` are given, are finite and `least` > 0 or more: places, int32, ascending."""
    blocks = np.empty(peaks.size, np.int32)
    n_blocks = 0
    for block in range(peaks.size):
        blocks[n_blocks] = block
        n_blocks += peaks[block] >= least
    places = np.empty(n_blocks * BLOCK, np.int32)
    n_places = 0
    for block in blocks[:n_blocks]:
        for place in range(block * BLOCK, min((block + 1) * BLOCK, bits.size)):
            places[n_places] = place
            n_places += (least <= bits[place]) & (bits[place] < FINITE)
    return places[:n_places]


@kernel
def block_peaks(bits: Array) -> Array:
    """The largest of each `BLOCK` of `bits` that are above 0 and below `FINITE`, int32, or 0.

    `bits` are those of float32 scores, read as int32 (n,); what is not above 0 and finite does not count.
    """
    peaks = np.zeros((bits.size + BLOCK - 1) // BLOCK, np.int32)
    for block in range(bits.size // BLOCK):
        peak = np.int32(0)
        for place in range(block * BLOCK, (block + 1) * BLOCK):
            peak = max(peak, bits[place] if bits[place] < FINITE else np.int32(0))
        peaks[block] = peak
    for place in range(bits.size // BLOCK * BLOCK, bits.size):
        peaks[-1] = max(peaks[-1], bits[place] if bits[place] < FINITE else np.int32(0))
    return peaks


@kernel
def _digit(key: int, shift: int) -> int:
    return int(((key ^ SIGN) >> max(shift, 0)) & ((1 << DIGIT_BITS) - 1))


@kernel
def _falling(keys: Array) -> Array:
    """`keys` in falling order: sorted by one byte after the other, the lowest first; shared bytes are skipped."""
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

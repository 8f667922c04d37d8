"""The ordering rule and the top-k selection that every retriever and every fusion uses.

Ordering rule: score descending, then item row ascending; non-finite scores are dropped.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from multirecall.kernels import Array, kernel
from multirecall.selection import FINITE, best_keys, candidates_of, find_best, key_of

NO_ROWS: NDArray[np.int32] = np.empty(0, np.int32)
"""Passed to a kernel that takes sorted item rows to exclude: nothing is excluded."""

ALL_ALLOWED: NDArray[np.bool_] = np.empty(0, np.bool_)
"""Passed to a kernel that takes a bitmap over item rows: every item is allowed."""

NEGATIVE_ZERO = np.int32(-(2**31))
"""The bits of the float32 -0.0, read as int32."""

MARK_WORDS = 64
"""Words of 64 bits in the filter of `marks_of`: a few hundred rows set about 5 % of its 4,096 bits."""


@kernel
def precedes(score_a: float, item_a: int, score_b: float, item_b: int) -> bool:
    """Whether candidate `a` comes before candidate `b` under the ordering rule."""
    return score_a > score_b or (score_a == score_b and item_a < item_b)


@kernel
def marks_of(rows: NDArray[np.int32]) -> NDArray[np.uint64]:
    """A Bloom filter of `rows`, uint64 (MARK_WORDS,), whose one hash is a row's low 12 bits.

    A row whose bit is not set is not among `rows`.
    """
    marks = np.zeros(MARK_WORDS, np.uint64)
    for row in rows:
        marks[(row >> 6) % MARK_WORDS] |= np.uint64(1) << np.uint64(row & 63)
    return marks


@kernel
def is_marked(row: int, marks: NDArray[np.uint64]) -> bool:
    """Whether the bit of `row` is set in `marks`: if not, it is not among the rows that they are of."""
    return bool((marks[(row >> 6) % MARK_WORDS] >> np.uint64(row & 63)) & np.uint64(1))


@kernel
def is_among(row: int, rows: NDArray[np.int32]) -> bool:
    """Whether `rows`, sorted, have `row`."""
    low, high = 0, rows.size
    while low < high:
        middle = (low + high) >> 1
        if rows[middle] < row:
            low = middle + 1
        else:
            high = middle
    return low < rows.size and rows[low] == row


@kernel
def is_eligible(item: int, exclude: NDArray[np.int32], marks: NDArray[np.uint64], allowed: NDArray[np.bool_]) -> bool:
    """Whether `item` is absent from `exclude` (sorted rows) and set in `allowed` (bitmap, empty: all).

    `marks` are those of `exclude`, which is looked through for few others than its own rows. Of many items `eligible`
    tells it faster: a call with arrays takes longer than the look.
    """
    if allowed.size and not allowed[item]:
        return False
    return not (is_marked(item, marks) and is_among(item, exclude))


@kernel
def eligible(items: NDArray[np.int32], exclude: NDArray[np.int32], allowed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of `items` (rows, int32 (n,)) `is_eligible`, bool (n,)."""
    marks = marks_of(exclude)
    keep = np.ones(items.size, np.bool_)
    for place in range(items.size):
        item = items[place]
        if (allowed.size and not allowed[item]) or (is_marked(item, marks) and is_among(item, exclude)):
            keep[place] = False
    return keep


@kernel
def all_eligible(items: NDArray[np.int32], exclude: NDArray[np.int32], allowed: NDArray[np.bool_]) -> bool:
    """Whether each of `items` (rows, int32 (n,)) `is_eligible`."""
    marks = marks_of(exclude)
    for item in items:
        if (allowed.size and not allowed[item]) or (is_marked(item, marks) and is_among(item, exclude)):
            return False
    return True


@kernel
def top_eligible(items: Array, scores: Array, k: int, exclude: Array, allowed: Array) -> tuple[Array, Array]:
    """The first `k` eligible candidates under the ordering rule, best first.

    Args:
        items: item rows, int32 (n,), unique.
        scores: (n,), compared as float32, the type of a ranked list; -0.0 comes out as 0.0.
        k: most candidates to return.
        exclude: sorted item rows to leave out, int32; `NO_ROWS` for none.
        allowed: bitmap over item rows, or `ALL_ALLOWED`.

    Returns:
        Item rows, int32, and scores, float32, at most `k` of them.

    Only the best `k + exclude.size` candidates are looked up in `exclude`.
    """
    bits = scores.astype(np.float32).view(np.int32)
    wanted = k + exclude.size
    places = find_best(_ranks(items, bits, allowed), wanted)
    keys = np.empty(places.size, np.int64)
    for position in range(places.size):
        value = bits[places[position]]
        keys[position] = key_of(value if value != NEGATIVE_ZERO else 0, items[places[position]])
    best, best_scores = candidates_of(best_keys(keys, wanted))
    if not exclude.size:
        return best, best_scores
    keep = eligible(best, exclude, np.empty(0, np.bool_))
    size = 0
    for position in range(best.size):
        if size == k:
            break
        best[size], best_scores[size] = best[position], best_scores[position]
        size += int(keep[position])
    return best[:size], best_scores[:size]


@kernel
def find_places(items: Array, scores: Array, k: int, allowed: Array) -> Array:
    """The positions, int32 ascending, of the `k` best finite scores of allowed items, and of a few others of these.

    Arrays are those of `top_eligible`, with float32 scores.
    """
    return find_best(_ranks(items, scores.view(np.int32), allowed), k)


@kernel
def _ranks(items: Array, bits: Array, allowed: Array) -> Array:
    """Positive numbers below `FINITE`, int32 (n,), in the order of the scores; 0 for what is not finite or not allowed.

    `bits` are those of the scores, float32 read as int32. The numbers lose their last two bits, so that scores next to
    each other may share one.
    """
    ranks = np.empty(bits.size, np.int32)
    for place in range(bits.size):
        rank = ((bits[place] ^ ((bits[place] >> 31) & 0x7FFFFFFF)) >> 2) + (1 << 29)
        ranks[place] = rank if bits[place] & FINITE != FINITE else 0
    if allowed.size:
        flags = allowed.view(np.uint8)  # numba would branch on a boolean
        for place in range(bits.size):
            ranks[place] *= np.int32(flags[items[place]])
    return ranks


@kernel
def top_k(items: Array, scores: Array, k: int) -> tuple[Array, Array]:
    """The first `k` candidates under the ordering rule, best first; arrays as in `top_eligible`."""
    return top_eligible(items, scores, k, np.empty(0, np.int32), np.empty(0, np.bool_))

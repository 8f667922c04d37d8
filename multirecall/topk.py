"""The ordering rule and the top-k selection that every retriever and every fusion uses.

Ordering rule: score descending, then item row ascending; non-finite scores are dropped.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from multirecall.kernels import Array, kernel

NO_ROWS: NDArray[np.int32] = np.empty(0, np.int32)
"""Passed to a kernel that takes sorted item rows to exclude: nothing is excluded."""

ALL_ALLOWED: NDArray[np.bool_] = np.empty(0, np.bool_)
"""Passed to a kernel that takes a bitmap over item rows: every item is allowed."""

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
def is_eligible(item: int, exclude: NDArray[np.int32], marks: NDArray[np.uint64], allowed: NDArray[np.bool_]) -> bool:
    """Whether `item` is absent from `exclude` (sorted rows) and set in `allowed` (bitmap, empty: all).

    `marks` are the `marks_of(exclude)`; they spare most other items the binary search in `exclude`.
    """
    if allowed.size and not allowed[item]:
        return False
    if not (marks[(item >> 6) % MARK_WORDS] >> np.uint64(item & 63)) & np.uint64(1):
        return True
    low, high = 0, exclude.size
    while low < high:
        middle = (low + high) >> 1
        if exclude[middle] < item:
            low = middle + 1
        else:
            high = middle
    return low == exclude.size or exclude[low] != item


@kernel
def _sift_down(items: Array, scores: Array, root: int, size: int) -> None:
    """Restore the heap below `root`, in place; the top of the heap is its last candidate under the ordering rule."""
    item, score = items[root], scores[root]
    while True:
        child = 2 * root + 1
        if child >= size:
            break
        if child + 1 < size and precedes(scores[child], items[child], scores[child + 1], items[child + 1]):
            child += 1
        if not precedes(score, item, scores[child], items[child]):
            break
        items[root], scores[root] = items[child], scores[child]
        root = child
    items[root], scores[root] = item, score


@kernel
def top_eligible(items: Array, scores: Array, k: int, exclude: Array, allowed: Array) -> tuple[Array, Array]:
    """The first `k` eligible candidates under the ordering rule, best first.

    Args:
        items: item rows, int32 (n,), unique.
        scores: float32 or float64 (n,).
        k: most candidates to return.
        exclude: sorted item rows to leave out, int32; `NO_ROWS` for none.
        allowed: bitmap over item rows, or `ALL_ALLOWED`.

    Returns:
        Item rows and scores, of the dtypes given, at most `k` of them.

    A bounded heap keeps the best `k`. Only a candidate that would enter the heap is checked for eligibility.
    """
    k = min(k, items.size)
    marks = marks_of(exclude)
    top_items = np.empty(k, items.dtype)
    top_scores = np.empty(k, scores.dtype)
    size = 0
    for position in range(items.size):
        item, score = items[position], scores[position]
        if size == k and (k == 0 or not precedes(score, item, top_scores[0], top_items[0])):
            continue
        if not (np.isfinite(score) and is_eligible(item, exclude, marks, allowed)):
            continue
        if size < k:
            top_items[size], top_scores[size] = item, score
            size += 1
            if size == k:
                for root in range(k // 2 - 1, -1, -1):
                    _sift_down(top_items, top_scores, root, k)
        else:
            top_items[0], top_scores[0] = item, score
            _sift_down(top_items, top_scores, 0, k)
    if size < k:
        for root in range(size // 2 - 1, -1, -1):
            _sift_down(top_items, top_scores, root, size)
    for last in range(size - 1, 0, -1):
        item, score = top_items[0], top_scores[0]
        top_items[0], top_scores[0] = top_items[last], top_scores[last]
        top_items[last], top_scores[last] = item, score
        _sift_down(top_items, top_scores, 0, last)
    return top_items[:size], top_scores[:size]


@kernel
def top_k(items: Array, scores: Array, k: int) -> tuple[Array, Array]:
    """The first `k` candidates under the ordering rule, best first; arrays as in `top_eligible`."""
    return top_eligible(items, scores, k, np.empty(0, np.int32), np.empty(0, np.bool_))

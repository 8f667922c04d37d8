"""The merge of several ranked lists of one user by the best score that an item has in any of them."""

from __future__ import annotations

import numpy as np

from multirecall.kernels import Array, kernel
from multirecall.rowtable import new_table, slot_of
from multirecall.selection import best_keys, candidates_of, key_of


@kernel
def merge_by_best(items: Array, scores: Array, k: int) -> tuple[Array, Array]:
    """The first `k` distinct items under the ordering rule, each with its best score.

    Args:
        items: item rows of all lists, int32 (n,), one list behind the other.
        scores: float32 (n,), finite.
        k: most items to return.

    Returns:
        Item rows, int32, and scores, float32, at most `k` of them.
    """
    bits = (scores + np.float32(0.0)).view(np.int32)
    keys = np.empty(items.size, np.int64)
    for place in range(items.size):
        keys[place] = key_of(bits[place], items[place])
    ordered, ordered_scores = candidates_of(best_keys(keys, keys.size))
    first = np.empty(min(k, items.size), np.int32)
    first_scores = np.empty(first.size, np.float32)
    table = new_table(first.size)
    size = 0
    for place in range(ordered.size):
        if size == first.size:
            break
        slot = slot_of(ordered[place], table, first)
        if table[slot] < 0:
            table[slot] = size
            first[size], first_scores[size] = ordered[place], ordered_scores[place]
            size += 1
    return first[:size], first_scores[:size]

"""Whether what a path returned is a ranked list at all."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.kernels import kernel
from multirecall.lists import RankedList
from multirecall.topk import precedes

FAULTS = (
    None,
    "an item row is out of range",
    "a score is not finite",
    "it is not sorted by score descending, then row ascending",
    "an item stands in it twice",
)


def fault_of(ranked: Any, n_items: int) -> str | None:
    """What is wrong with a path's answer, or None."""
    if not isinstance(ranked, RankedList):
        return f"it is a {type(ranked).__name__}, not a RankedList"
    for name, array, dtype in (("items", ranked.items, np.int32), ("scores", ranked.scores, np.float32)):
        if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != 1:
            return f"its {name} are not a one-dimensional {np.dtype(dtype)} array"
    if ranked.items.size != ranked.scores.size:
        return f"it has {ranked.items.size} items and {ranked.scores.size} scores"
    return FAULTS[_fault_code(np.ascontiguousarray(ranked.items), np.ascontiguousarray(ranked.scores), n_items)]


@kernel
def _fault_code(items: NDArray[np.int32], scores: NDArray[np.float32], n_items: int) -> int:
    size = 16
    while size < 2 * items.size:
        size *= 2
    table = np.full(size, -1, np.int32)
    for position in range(items.size):
        item = items[position]
        if item < 0 or item >= n_items:
            return 1
        if not np.isfinite(scores[position]):
            return 2
        if position and precedes(scores[position], item, scores[position - 1], items[position - 1]):
            return 3
        slot = (np.int64(item) * 0x9E3779B1 >> 7) & (size - 1)
        while table[slot] >= 0:
            if table[slot] == item:
                return 4
            slot = (slot + 1) & (size - 1)
        table[slot] = item
    return 0

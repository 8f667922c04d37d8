"""Whether what a path returned is a ranked list at all."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.kernels import kernel
from multirecall.lists import RankedList
from multirecall.rowtable import new_table, slot_of
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
    table = new_table(items.size)
    for position in range(items.size):
        item = items[position]
        if item < 0 or item >= n_items:
            return 1
        if not np.isfinite(scores[position]):
            return 2
        if position and precedes(scores[position], item, scores[position - 1], items[position - 1]):
            return 3
        slot = slot_of(item, table, items)
        if table[slot] >= 0:
            return 4
        table[slot] = position
    return 0

"""Lists that a kernel finds one after another, as CSR."""

from __future__ import annotations

import numpy as np

from multirecall.kernels import Array, kernel

Lists = tuple[Array, Array, Array]
"""CSR offsets, int64 (n + 1,), items, int32, and scores, float32."""


@kernel
def room_for(n: int, k: int) -> Lists:
    """Room for `n` lists of at most `k` items."""
    return np.zeros(n + 1, np.int64), np.empty(n * k, np.int32), np.empty(n * k, np.float32)


@kernel
def put_list(lists: Lists, number: int, items: Array, scores: Array) -> None:
    """Put list `number` behind those before it, in place."""
    offsets, all_items, all_scores = lists
    start = offsets[number]
    stop = start + items.size
    all_items[start:stop], all_scores[start:stop] = items, scores
    offsets[number + 1] = stop


@kernel
def filled(lists: Lists) -> Lists:
    """The lists without the room that is left, once all have been put."""
    offsets, items, scores = lists
    return offsets, items[: offsets[-1]], scores[: offsets[-1]]

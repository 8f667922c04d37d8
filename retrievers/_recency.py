"""Recency weights over a history."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from multirecall.query import Query


def recent(
    query: Query, n_events: int | None, half_life: float | None
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The newest `n_events` of the history (None: all) and their weights, oldest first.

    A weight is the event's own times `0.5 ** (age / half_life)`, where the newest event has age 0, the one
    before it 1, and so on; `half_life` None: no decay.
    """
    start = 0 if n_events is None else max(0, query.history.size - n_events)
    items, weights = query.history[start:], query.weights[start:]
    if half_life is None:
        return items, weights
    ages = np.arange(items.size - 1, -1, -1, dtype=np.float32)
    return items, weights * np.exp2(-ages / np.float32(half_life))

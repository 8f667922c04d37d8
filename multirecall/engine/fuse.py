"""Fusion for several users, who may be in different segments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from multirecall.engine.state import EngineState
from multirecall.lists import FusedBatch, RankedBatch
from multirecall.query import Query


def fuse_by_segment(state: EngineState, queries: Sequence[Query], batches: Sequence[RankedBatch], k: int) -> FusedBatch:
    """Fuse the lists of all users, segment by segment. `batches` holds one batch for each path."""
    lengths = np.array([query.history.size for query in queries], np.int64)
    segment = np.searchsorted([longest for longest, _ in state.segments], lengths)
    fused, users = [], []
    for number, (_, weights) in enumerate(state.segments):
        own = np.flatnonzero(segment == number)
        if own.size == len(queries):
            return state.fusion.fuse_batch(batches, weights, state.quotas, k)
        users.append(own)
        fused.append(state.fusion.fuse_batch([batch.take(own) for batch in batches], weights, state.quotas, k))
    return FusedBatch.concat(fused).take(np.argsort(np.concatenate(users)))

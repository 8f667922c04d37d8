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
    numbers = np.searchsorted([segment.longest for segment in state.segments], lengths)
    fused, users = [], []
    for number, (_, fusion, weights) in enumerate(state.segments):
        own = np.flatnonzero(numbers == number)
        if own.size == len(queries):
            return fusion.fuse_batch(batches, weights, state.quotas, k)
        users.append(own)
        fused.append(fusion.fuse_batch([batch.take(own) for batch in batches], weights, state.quotas, k))
    return FusedBatch.concat(fused).take(np.argsort(np.concatenate(users)))

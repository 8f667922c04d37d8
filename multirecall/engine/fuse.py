"""Fusion for several users, who may be in different segments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from multirecall.engine.state import EngineState
from multirecall.lists import FusedBatch, RankedBatch


def fuse_by_segment(
    state: EngineState, lengths: NDArray[np.int64], batches: Sequence[RankedBatch], k: int
) -> FusedBatch:
    """Fuse the lists of all users, segment by segment.

    Args:
        state: the state.
        lengths: the length of each user's history, int64 (n_users,).
        batches: one batch for each path.
        k: the most candidates of a user.
    """
    numbers = np.searchsorted([segment.longest for segment in state.segments], lengths)
    fused, users = [], []
    for number, (_, fusion, weights) in enumerate(state.segments):
        own = np.flatnonzero(numbers == number)
        if own.size == lengths.size:
            return fusion.fuse_batch(batches, weights, state.quotas, k)
        users.append(own)
        fused.append(fusion.fuse_batch([batch.take(own) for batch in batches], weights, state.quotas, k))
    return FusedBatch.concat(fused).take(np.argsort(np.concatenate(users)))

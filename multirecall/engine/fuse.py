"""Fusing the lists of several users, who may stand in different segments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from multirecall.engine.state import EngineState
from multirecall.lists import FusedList, RankedBatch
from multirecall.query import Query


def fused_lists(
    state: EngineState, queries: Sequence[Query], batches: Sequence[RankedBatch], k: int
) -> list[FusedList]:
    """The fused list of each user, those of one segment fused together; `batches` holds one batch for each path."""
    lengths = np.array([query.history.size for query in queries], np.int64)
    segment = np.searchsorted([longest for longest, _ in state.segments], lengths)
    lists = [FusedList.empty(len(state.paths))] * len(queries)
    for number in np.unique(segment):
        users = np.flatnonzero(segment == number)
        own = batches if users.size == len(queries) else [batch.taken(users) for batch in batches]
        fused = state.fusion.fuse_batch(own, state.segments[number][1], state.quotas, k)
        for position, user in enumerate(users.tolist()):
            lists[user] = fused[position]
    return lists

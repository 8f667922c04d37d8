"""Backfill: after fusion the filter once more, then the fallback, then any live item, until `k` are there."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from multirecall.engine.deadline import Deadline
from multirecall.engine.runner import run_fallback
from multirecall.engine.state import EngineState
from multirecall.lists import FusedBatch, FusedList
from multirecall.query import Query
from multirecall.query_batch import eligible_in_lists
from multirecall.topk import all_eligible

_log = logging.getLogger("multirecall.engine")


def backfill(state: EngineState, query: Query, fused: FusedList, k: int, deadline: Deadline) -> tuple[FusedList, int]:
    """The fused list brought to `k` items while the catalogue has eligible ones, and how many were added.

    Added items follow the fused ones, have rank -1 in every path, and scores below the lowest fused score, decreasing.
    """
    if not all_eligible(fused.items, *query.filter):
        keep = query.eligible(fused.items)
        fused = FusedList(fused.items[keep], fused.scores[keep], fused.ranks[keep])
    missing = min(k, state.data.n_items) - len(fused)
    if missing <= 0:
        return fused, 0
    added = _fallback_items(state, query, fused.items, missing, deadline)
    if added.size < missing:
        taken = np.concatenate([fused.items, added])
        added = np.concatenate([added, _live_items(state, query, taken, missing - added.size)])
    return append(fused, added), added.size


def append(fused: FusedList, added: NDArray[np.int32]) -> FusedList:
    """The fused list with backfill behind it: item rows, int32 (n,)."""
    floor = fused.scores[-1] if len(fused) else 0.0
    step = max(1.0, 4.0 * np.spacing(abs(floor)))
    return FusedList(
        np.concatenate([fused.items, added]),
        np.concatenate([fused.scores, floor - step * np.arange(1, added.size + 1)]),
        np.concatenate([fused.ranks, np.full((added.size, fused.ranks.shape[1]), -1, np.int32)]),
    )


def backfill_batch(
    state: EngineState, queries: Sequence[Query], fused: FusedBatch, k: int, deadline: Deadline
) -> tuple[FusedBatch, NDArray[np.int64]]:
    """The same for several users; how many were added, int64 (n_users,)."""
    keep = eligible_in_lists(queries, fused.offsets, fused.items)
    if not keep.all():
        fused = fused.keep(keep)
    n_backfilled = np.zeros(len(queries), np.int64)
    short = np.flatnonzero(np.diff(fused.offsets) < min(k, state.data.n_items))
    if short.size:
        full = [backfill(state, queries[user], fused[user], k, deadline) for user in short.tolist()]
        fused = fused.replace(short, FusedBatch.from_lists([one for one, _ in full]))
        n_backfilled[short] = [added for _, added in full]
    return fused, n_backfilled


def _fallback_items(
    state: EngineState, query: Query, taken: NDArray[np.int32], missing: int, deadline: Deadline
) -> NDArray[np.int32]:
    window = min(missing + taken.size, state.data.n_items)
    outcome = run_fallback(state.fallback, window, query, deadline)
    if outcome.ranked is None:
        _log.warning("the fallback %s, any live item takes its place: %s", outcome.state, outcome.detail)
        return taken[:0]
    items = outcome.ranked.items[query.eligible(outcome.ranked.items)]
    return items[~np.isin(items, taken)][:missing]


def _live_items(state: EngineState, query: Query, taken: NDArray[np.int32], missing: int) -> NDArray[np.int32]:
    """The first items by row that are eligible and not yet taken."""
    everything = np.arange(state.data.n_items, dtype=np.int32)
    free = query.eligible(everything)
    free[taken] = False
    return everything[free][:missing]

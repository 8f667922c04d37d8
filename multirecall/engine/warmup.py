"""Warm-up: requests before the first real one, so that no user waits for a kernel to be compiled."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from multirecall.engine.backfill import backfill
from multirecall.engine.deadline import Deadline
from multirecall.engine.request import read_filters, read_query
from multirecall.engine.runner import ask_paths
from multirecall.engine.state import EngineState
from multirecall.lists import RankedList
from multirecall.progress import SILENT, Progress
from multirecall.user import User

DEADLINE_MS = 10_000.0
"""Milliseconds after which the warm-up gives up on a path that does not answer. A failed path is not asked again."""

_log = logging.getLogger("multirecall.engine")


def warm_up(state: EngineState, progress: Progress = SILENT) -> None:
    """Ask for a visitor without history, one with a single item, and the user with the longest history.

    Errors are logged and do not count. The first real request finds every circuit breaker closed and every count 0.
    """
    log = state.data.log.base
    busiest = int(np.diff(log.offsets).argmax())
    users = (
        User(),
        User(history=state.data.items.ids.ids(log.items[:1])),
        User(state.data.users.ids.ids(np.array([busiest]))[0].item()),
    )
    filters = read_filters(state, None, {}, seen=False)
    asked = list(zip((*state.paths, state.fallback), (*state.windows, 1), strict=True))
    failed: set[str] = set()
    with progress.task("compiling what requests need", len(users) * len(asked), steady=False) as advance:
        for user in users:
            query = read_query(state.data, user, filters, {})
            lists = [RankedList.empty()] * len(asked)
            for number, (path, window) in enumerate(asked):
                advance(0, path.name)
                if path.dropped is None and path.name not in failed:
                    # one by one, so that none loses its turn because another had to be compiled
                    deadline = Deadline(DEADLINE_MS)
                    (outcome,) = ask_paths([path], [window], replace(query, deadline=deadline.moment), deadline)
                    if outcome.ranked is None:
                        _log.warning("path %r %s when it was first asked: %s", path.name, outcome.state, outcome.detail)
                        failed.add(path.name)
                    else:
                        lists[number] = outcome.ranked
                advance(1, path.name)
            for segment in state.segments:
                fused = segment.fusion.fuse(lists[:-1], segment.weights, state.quotas, 1)
            backfill(state, query, fused, 2, Deadline(0.0 if state.fallback.name in failed else DEADLINE_MS))
    for path, _ in asked:
        path.breaker.reset()

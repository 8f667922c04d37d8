"""Asking once before anybody does, so that no request waits for a kernel to be compiled."""

from __future__ import annotations

import logging

import numpy as np

from multirecall.engine.deadline import Deadline
from multirecall.engine.refill import refilled
from multirecall.engine.request import read_filters, read_query
from multirecall.engine.runner import ask_paths
from multirecall.engine.state import EngineState
from multirecall.lists import RankedList
from multirecall.query import User

DEADLINE_MS = 10_000.0
"""A path that hangs holds up the start no longer than this: one that was late once is not asked again."""

_log = logging.getLogger("multirecall.engine")


def warm_up(state: EngineState) -> None:
    """Ask for a visitor without history, one with a single item, and the user with the longest history.

    What goes wrong is logged and counts for nothing: the requests begin with every path closed and nothing counted.
    """
    log = state.data.interactions
    busiest = int(np.diff(log.offsets).argmax())
    users = (
        User(),
        User(history=state.data.items.ids.ids(log.items[:1])),
        User(state.data.users.ids.ids(np.array([busiest]))[0].item()),
    )
    filters = read_filters(state.data, None, {}, seen=False)
    awake = dict(zip(state.names, zip(state.paths, state.windows, strict=True), strict=True))
    fallback_deadline = Deadline(2 * DEADLINE_MS)
    for user in users:
        query = read_query(state.data, user, filters)
        paths, windows = [path for path, _ in awake.values()], [window for _, window in awake.values()]
        outcomes = dict(zip(awake, ask_paths(paths, windows, query, Deadline(DEADLINE_MS)), strict=True))
        for name, outcome in outcomes.items():
            if outcome.ranked is None:
                _log.warning("path %r %s when it was first asked: %s", name, outcome.state, outcome.detail)
            if outcome.state == "late":
                del awake[name]
        lists = [(outcomes[name].ranked if name in outcomes else None) or RankedList.empty() for name in state.names]
        weights = state.weights_for(query.history.size)
        refilled(state, query, state.fusion.fuse(lists, weights, state.quotas, 1), 2, fallback_deadline)
    for path in (*state.paths, state.fallback):
        path.breaker.reset()

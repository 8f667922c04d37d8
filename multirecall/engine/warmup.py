"""Asking once before anybody does, so that no request waits for a kernel to be compiled."""

from __future__ import annotations

import numpy as np

from multirecall.engine.deadline import Deadline
from multirecall.engine.refill import refilled
from multirecall.engine.request import read_filters, read_query
from multirecall.engine.runner import run_paths
from multirecall.engine.state import EngineState
from multirecall.lists import RankedList
from multirecall.query import User

DEADLINE_MS = 10_000.0
"""A path that hangs holds up the start no longer than this."""


def warm_up(state: EngineState) -> None:
    """Ask for a visitor without history, one with a single item, and the user with the longest history.

    Raises:
        PathError: a required path failed, or all did.
    """
    log = state.data.interactions
    busiest = int(np.diff(log.offsets).argmax())
    users = (
        User(),
        User(history=state.data.items.ids.ids(log.items[:1])),
        User(state.data.users.ids.ids(np.array([busiest]))[0].item()),
    )
    filters = read_filters(state.data, None, {}, seen=False)
    for user in users:
        query = read_query(state.data, user, filters)
        deadline = Deadline(DEADLINE_MS)
        outcomes = run_paths(state.paths, state.windows, query, deadline)
        lists = [one.ranked or RankedList.empty() for one in outcomes]
        weights = state.weights_for(query.history.size)
        refilled(state, query, state.fusion.fuse(lists, weights, state.quotas, 1), 2, deadline)

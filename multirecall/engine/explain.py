"""Why an item stands where it does for a user."""

from __future__ import annotations

import numpy as np

from multirecall.engine.path import Outcome
from multirecall.engine.request import Filters
from multirecall.engine.runner import run_paths
from multirecall.engine.state import EngineState
from multirecall.lists import FusedList, RankedList
from multirecall.query import Query
from multirecall.result import Explanation, PathExplanation


def explained(state: EngineState, query: Query, filters: Filters, item: int, k: int) -> Explanation:
    """Ask every path, then say for each whether, where and why not it proposes item row `item`."""
    outcomes = run_paths(state.paths, state.windows, query, None)
    lists = [one.ranked or RankedList.empty() for one in outcomes]
    fused = _fuse(state, lists)
    barrier = _barrier(query, filters, item)
    place = np.flatnonzero(fused.items == item)
    rank = int(place[0]) if place.size else None
    if barrier is None and rank is None:
        barrier = "no path proposes it"
    elif barrier is None and rank is not None and rank >= k:
        barrier = f"it stands at rank {rank}, behind the {k} asked for"
    return Explanation(
        state.data.items.ids.ids(np.array([item]))[0].item(),
        rank,
        None if rank is None else float(fused.scores[rank]),
        barrier,
        {
            path.name: _of_path(state, number, outcomes[number], item, _barrier(query, filters, item))
            for number, path in enumerate(state.paths)
        },
    )


def _of_path(
    state: EngineState, number: int, outcome: Outcome[RankedList], item: int, barrier: str | None
) -> PathExplanation:
    if outcome.ranked is None:
        return PathExplanation(None, None, None, f"the path {outcome.state}: {outcome.detail}")
    place = np.flatnonzero(outcome.ranked.items == item)
    if not place.size:
        window = state.windows[number]
        missed = f"not among its first {window} items" if len(outcome.ranked) == window else "not proposed"
        return PathExplanation(None, None, None, barrier or missed)
    alone = [outcome.ranked if other == number else RankedList.empty() for other in range(len(state.paths))]
    fused = _fuse(state, alone)
    contribution = fused.scores[fused.items == item]
    return PathExplanation(
        int(place[0]),
        float(outcome.ranked.scores[place[0]]),
        float(contribution[0]) if contribution.size else None,
        None,
    )


def _fuse(state: EngineState, lists: list[RankedList]) -> FusedList:
    return state.fusion.fuse(lists, state.weights, state.quotas, state.data.n_items)


def _barrier(query: Query, filters: Filters, item: int) -> str | None:
    """Which filter keeps the item out, or None."""
    if item in filters.exclude:
        return "it is in exclude"
    if item in query.exclude:
        return "the user has seen it"
    if query.allowed is not None and not query.allowed[item]:
        return "it does not match where"
    return None

"""The explanation of one item for one user: which paths propose it, at what rank, and why not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from multirecall.engine.backfill import backfill
from multirecall.engine.deadline import Deadline
from multirecall.engine.path import Outcome
from multirecall.engine.request import Filters
from multirecall.engine.runner import run_paths
from multirecall.engine.segments import windows_of
from multirecall.engine.state import EngineState
from multirecall.explanation import Explanation, PathExplanation
from multirecall.lists import FusedList, RankedList
from multirecall.protocols import Fusion
from multirecall.query import Query


def explain_item(state: EngineState, query: Query, filters: Filters, item: int, k: int) -> Explanation:
    """Ask every path, and say for each whether it proposes item row `item`, at what rank, or why not."""
    deadline = Deadline(None)
    outcomes = run_paths(state.paths, state.windows, query, deadline)
    segment = state.segment_of(query.history.size)
    windows = windows_of([segment], state.paths, state.data)
    outcomes = [
        replace(one, ranked=one.ranked and one.ranked.head(window))
        for one, window in zip(outcomes, windows, strict=True)
    ]
    lists = [one.ranked or RankedList.empty() for one in outcomes]
    everything = segment.fusion.fuse(lists, segment.weights, state.quotas, state.data.n_items)
    first = FusedList(everything.items[:k], everything.scores[:k], everything.ranks[:k])
    final, n_backfilled = backfill(state, query, first, k, deadline)
    kept_out = barrier = _barrier(state, query, filters, item)
    place = np.flatnonzero(final.items == item)
    rank = int(place[0]) if place.size else None
    if rank is not None and rank >= len(final) - n_backfilled:
        barrier = "no path proposes it; it comes from the fallback"
    elif rank is None and barrier is None:
        behind = np.flatnonzero(everything.items == item)
        barrier = f"it stands at rank {behind[0]}, behind the {k} asked for" if behind.size else "no path proposes it"
    return Explanation(
        state.data.items.ids.ids(np.array([item]))[0].item(),
        rank,
        None if rank is None else float(final.scores[rank]),
        barrier,
        {
            path.name: _of_path(state, segment.fusion, number, outcomes[number], windows[number], query, item, kept_out)
            for number, path in enumerate(state.paths)
        },
        segment.fusion.intercept,
    )


def _of_path(
    state: EngineState,
    fusion: Fusion,
    number: int,
    outcome: Outcome[RankedList],
    window: int,
    query: Query,
    item: int,
    barrier: str | None,
) -> PathExplanation:
    if outcome.ranked is None:
        is_dropped = "is " if outcome.state == "dropped" else ""
        return PathExplanation(None, None, None, f"the path {is_dropped}{outcome.state}: {outcome.detail}")
    place = np.flatnonzero(outcome.ranked.items == item)
    if not place.size:
        missed = f"not among its first {window} items" if len(outcome.ranked) == window else "not proposed"
        if item >= state.paths[number].n_items:
            missed = "it joined after the path was fitted; refresh() fits it anew"
        return PathExplanation(None, None, None, barrier or missed)
    alone = [outcome.ranked if other == number else RankedList.empty() for other in range(len(state.paths))]
    normalised = fusion.fuse(alone, [1.0] * len(alone), state.quotas, state.data.n_items)
    score = normalised.scores[normalised.items == item]
    said = state.paths[number].explain(query, item)
    return PathExplanation(
        int(place[0]),
        float(outcome.ranked.scores[place[0]]),
        float(score[0]) - fusion.intercept if score.size else None,
        None,
        None if said is None else said.text,
        () if said is None else tuple(state.data.items.ids.ids(said.items).tolist()),
    )


def _barrier(state: EngineState, query: Query, filters: Filters, item: int) -> str | None:
    """Return the name of the filter that excludes the item, or None."""
    if item in filters.exclude:
        return "it is in exclude"
    if item in query.exclude:
        return "the user has seen it"
    if state.allowed is not None and not state.allowed[item]:
        return "it was removed"
    if query.allowed is not None and not query.allowed[item]:
        return "it does not match where"
    return None

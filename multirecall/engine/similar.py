"""Items like an item: each path that compares items proposes some, and the fusion merges them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from multirecall.candidate_features import FIRST, Proposals
from multirecall.engine.deadline import Deadline
from multirecall.engine.neighbours import compares_items
from multirecall.engine.request import read_context, read_filters, read_user
from multirecall.engine.runner import run_paths
from multirecall.engine.state import EngineState
from multirecall.errors import RequestError, UnknownItem
from multirecall.lists import FusedList, RankedList
from multirecall.result import Candidates, PathStatus
from multirecall.user import User
from multirecall.vocabulary import Id

NOT_ASKED = PathStatus("skipped", 0, 0.0, "it compares no items")
"""The status of a path that has no answer to this question."""


def answer_similar(
    state: EngineState,
    item: Id,
    k: int,
    exclude: Iterable[Id] | None,
    where: Mapping[str, Any] | None,
    context: Mapping[str, Any] | None,
    deadline: Deadline,
) -> Candidates:
    """The items most like `item`; arguments and errors as in `Engine.similar`."""
    if state.data.items.ids.row(item) < 0:
        raise UnknownItem(f"similar: no item has the id {item!r}; pass an id of the log or the item table")
    filters = read_filters(state, exclude, where, seen=False)
    query, unknown = read_user(state.data, User(history=[item]), filters, read_context(context), deadline.moment)
    places = [place for place, path in enumerate(state.paths) if compares_items(path)]
    if not places:
        raise RequestError("similar: no path of this engine compares items; add one, such as item_cf or als")
    paths = [replace(state.paths[place], similar=True) for place in places]
    outcomes = run_paths(paths, [state.windows[place] for place in places], query, deadline)
    lists = [RankedList.empty()] * len(state.paths)
    status = dict.fromkeys(state.names, NOT_ASKED)
    for place, path, outcome in zip(places, paths, outcomes, strict=True):
        lists[place] = outcome.ranked or RankedList.empty()
        status[path.name] = outcome.status(path.quota)
    segment = state.segment_of(1)
    fused = segment.fusion.fuse(lists, segment.weights, state.quotas, min(k, state.data.n_items))
    keep = query.eligible(fused.items)
    final = FusedList(fused.items[keep], fused.scores[keep], fused.ranks[keep])
    return Candidates(
        ids=state.data.items.ids.ids(final.items),
        scores=final.scores,
        ranks=final.ranks,
        paths=state.names,
        status=status,
        n_backfilled=0,
        shortfall=k - len(final),
        known=True,
        unknown_items=unknown,
        _proposals=Proposals(lists, state.quotas, state.segments, (1,), FIRST, (query.exclude,), filters.where),
    )

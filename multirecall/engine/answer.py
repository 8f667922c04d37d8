"""The stages of a request, from its arguments to the candidates, for one user and for several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from multirecall.candidate_features import FIRST, Proposals
from multirecall.engine.backfill import backfill, backfill_batch
from multirecall.engine.deadline import Deadline
from multirecall.engine.fuse import fuse_by_segment
from multirecall.engine.lookup import Found
from multirecall.engine.request import read_context, read_filters, read_user
from multirecall.engine.runner import run_batch, run_paths
from multirecall.engine.state import EngineState
from multirecall.lists import RankedBatch, RankedList
from multirecall.result import CandidateBatch, Candidates
from multirecall.user import User
from multirecall.vocabulary import Id


def answer_user(
    state: EngineState,
    user: Id | User,
    k: int,
    exclude: Iterable[Id] | None,
    where: Mapping[str, Any] | None,
    seen: bool,
    context: Mapping[str, Any] | None,
    deadline: Deadline,
    found: Found,
) -> Candidates:
    """The candidates of one user; arguments and errors as in `Engine.retrieve`."""
    filters = read_filters(state, exclude, where, seen)
    query, unknown = read_user(state.data, user, filters, read_context(context), deadline.moment, found)
    outcomes = run_paths(state.paths, state.windows, query, deadline)
    lists = [one.ranked or RankedList.empty() for one in outcomes]
    segment = state.segment_of(query.history.size)
    fused = segment.fusion.fuse(lists, segment.weights, state.quotas, min(k, state.data.n_items))
    final, n_backfilled = backfill(state, query, fused, k, deadline)
    return Candidates(
        ids=state.data.items.ids.ids(final.items),
        scores=final.scores,
        ranks=final.ranks,
        paths=state.names,
        status={path.name: one.status(path.quota) for path, one in zip(state.paths, outcomes, strict=True)},
        n_backfilled=n_backfilled,
        shortfall=k - len(final),
        known=query.user >= 0,
        unknown_items=unknown,
        store=found.state,
        variant=state.variant,
        _proposals=Proposals(lists, state.quotas, state.segments, (query.history.size,), FIRST),
    )


def answer_users(
    state: EngineState,
    users: list[Id | User],
    k: int,
    exclude: Iterable[Id] | None,
    where: Mapping[str, Any] | None,
    seen: bool,
    context: Mapping[str, Any] | None,
    found: Found,
) -> CandidateBatch:
    """The candidates of several users; arguments and errors as in `Engine.retrieve_batch`."""
    filters = read_filters(state, exclude, where, seen)
    given = read_context(context)
    asked = [read_user(state.data, user, filters, given, None, found) for user in users]
    queries = [query for query, _ in asked]
    outcomes = run_batch(state.paths, state.windows, queries)
    batches = [one.ranked or RankedBatch.empty(len(queries)) for one in outcomes]
    lengths = np.array([query.history.size for query in queries], np.int64)
    fused = fuse_by_segment(state, lengths, batches, min(k, state.data.n_items))
    final, n_backfilled = backfill_batch(state, queries, fused, k, Deadline(None))
    return CandidateBatch(
        user_ids=tuple(user.id if isinstance(user, User) else user for user in users),
        user_dtype=state.data.users.ids.dtype,
        catalogue=state.data.items.ids,
        offsets=final.offsets,
        items=final.items,
        scores=final.scores,
        ranks=final.ranks,
        paths=state.names,
        status={path.name: one.status(path.quota) for path, one in zip(state.paths, outcomes, strict=True)},
        n_backfilled=n_backfilled,
        shortfall=k - np.diff(final.offsets),
        known=np.array([query.user >= 0 for query in queries], np.bool_),
        unknown_items=tuple(unknown for _, unknown in asked),
        store=found.state,
        variants=(state.variant,) * len(users),
        _proposals=Proposals(batches, state.quotas, state.segments, lengths, np.arange(len(queries))),
    )

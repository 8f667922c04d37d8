"""The stages of a request, from its arguments to the candidates, for one user and for several."""

from __future__ import annotations

import numpy as np

from multirecall.candidate_features import FIRST, Proposals
from multirecall.draw import Draw
from multirecall.engine.backfill import backfill, backfill_batch
from multirecall.engine.deadline import Deadline
from multirecall.engine.lookup import Found
from multirecall.engine.request import read_context, read_filters, read_user
from multirecall.engine.request_batch import read_users
from multirecall.engine.runner import run_batch, run_paths
from multirecall.engine.state import EngineState
from multirecall.lists import FusedList, RankedBatch, RankedList
from multirecall.online import Request
from multirecall.query_batch import excluded_of, histories_of, rows_of
from multirecall.result import CandidateBatch, Candidates
from multirecall.user import User


def answer_user(state: EngineState, request: Request, k: int, deadline: Deadline, found: Found) -> Candidates:
    """The candidates of the user of a request; errors as in `Engine.retrieve`."""
    filters = read_filters(state, request.exclude, request.where, request.seen)
    context = read_context(request.context)
    query, unknown = read_user(state.data, request.users[0], filters, context, deadline.moment, found)
    outcomes = run_paths(state.paths, state.windows, query, deadline)
    lists = [one.ranked or RankedList.empty() for one in outcomes]
    merged, draw = state.merging.merge(lists, query.history.size, min(k, state.data.n_items), request.ids[0])
    final, n_backfilled = backfill(state, query, merged, k, deadline)
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
        level=state.level,
        draw=draw and _draw_of_final(draw, merged, final, n_backfilled),
        _proposals=Proposals(
            lists,
            state.quotas,
            state.segments,
            (query.history.size,),
            FIRST,
            (query.exclude,),
            filters.where,
            state.rivals is None,
        ),
    )


def answer_users(state: EngineState, request: Request, k: int, found: Found) -> CandidateBatch:
    """The candidates of the users of a request; errors as in `Engine.retrieve_batch`."""
    filters = read_filters(state, request.exclude, request.where, request.seen)
    context = read_context(request.context)
    queries, unknown = read_users(state.data, request.users, filters, context, found)
    outcomes = run_batch(state.paths, state.windows, queries)
    batches = [one.ranked or RankedBatch.empty(len(queries)) for one in outcomes]
    lengths = np.diff(histories_of(queries).offsets)
    merged, draws = state.merging.merge_batch(batches, lengths, min(k, state.data.n_items), request.ids)
    final, n_backfilled = backfill_batch(state, queries, merged, k, Deadline(None))
    return CandidateBatch(
        user_ids=tuple(user.id if isinstance(user, User) else user for user in request.users),
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
        known=rows_of(queries) >= 0,
        unknown_items=unknown,
        store=found.state,
        variants=(state.variant,) * len(queries),
        draws=tuple(
            draw and _draw_of_final(draw, merged[user], final[user], int(n_backfilled[user]))
            for user, draw in enumerate(draws)
        ),
        level=state.level,
        _proposals=Proposals(
            batches,
            state.quotas,
            state.segments,
            lengths,
            np.arange(len(queries)),
            excluded_of(queries),
            filters.where,
            state.rivals is None,
        ),
    )


def _draw_of_final(draw: Draw, merged: FusedList, final: FusedList, n_backfilled: int) -> Draw:
    """What chance decided about the final candidates: those of the merged list that passed the filter, and backfill."""
    if len(final) - n_backfilled < len(merged):
        draw = draw.take(np.isin(merged.items, final.items[: len(final) - n_backfilled]))
    return draw.pad(n_backfilled)

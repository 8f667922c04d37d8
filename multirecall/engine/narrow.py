"""Queries without the items and users that joined after a retriever was fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from multirecall.csr import offsets_of
from multirecall.query import Query
from multirecall.query_batch import QueryBatch


def narrow(queries: Sequence[Query], n_items: int, n_users: int) -> Sequence[Query]:
    """Drop from queries every row that is not among the first `n_items` items and `n_users` users.

    Queries of one request share `allowed`, and go on sharing it.
    """
    if isinstance(queries, QueryBatch):
        return _narrow_batch(queries, n_items, n_users)
    bitmaps = {id(query.allowed): _first(query.allowed, n_items) for query in queries}
    return [_narrow(query, n_items, n_users, bitmaps[id(query.allowed)]) for query in queries]


def _first(allowed: NDArray[np.bool_] | None, n_items: int) -> NDArray[np.bool_] | None:
    return None if allowed is None else allowed[:n_items]


def _narrow_batch(queries: QueryBatch, n_items: int, n_users: int) -> QueryBatch:
    kept, shown = queries.items < n_items, queries.exclude < n_items
    shared = queries.shared
    return replace(
        queries,
        users=np.where(queries.users < n_users, queries.users, np.int32(-1)),
        offsets=offsets_of(kept.view(np.int8))[queries.offsets],
        items=queries.items[kept],
        weights=queries.weights[kept],
        times=None if queries.times is None else queries.times[kept],
        exclude_offsets=offsets_of(shown.view(np.int8))[queries.exclude_offsets],
        exclude=queries.exclude[shown],
        shared=replace(
            shared,
            removed=shared.removed[: shared.removed.searchsorted(n_items)],
            allowed=_first(shared.allowed, n_items),
        ),
    )


def _narrow(query: Query, n_items: int, n_users: int, allowed: NDArray[np.bool_] | None) -> Query:
    keep = query.history < n_items
    return replace(
        query,
        user=query.user if query.user < n_users else -1,
        history=query.history[keep],
        weights=query.weights[keep],
        times=None if query.times is None else query.times[keep],
        exclude=query.exclude[: query.exclude.searchsorted(n_items)],
        removed=query.removed[: query.removed.searchsorted(n_items)],
        allowed=allowed,
    )

"""From several users and the filters of a request to queries: as arrays, where nothing but ids is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Dataset
from multirecall.engine.lookup import Found
from multirecall.engine.request import Filters, read_user, sorted_union
from multirecall.errors import IdTypeError
from multirecall.kernels import Array, kernel
from multirecall.query import Query
from multirecall.query_batch import QueryBatch
from multirecall.topk import NO_ROWS
from multirecall.user import User
from multirecall.vocabulary import Id

Asked = tuple[Sequence[Query], tuple[tuple[Id, ...], ...]]
"""The query of each user, and the ids of history and filters that the catalogue does not have."""


def read_users(
    data: Dataset, users: Sequence[Id | User], filters: Filters, context: Mapping[str, Any], found: Found
) -> Asked:
    """What `read_user` gives for each of several users, without a deadline; raises as it does."""
    rows = None if found.latest else _rows_of(data, users)
    if rows is None:
        asked = [read_user(data, user, filters, context, None, found) for user in users]
        return [query for query, _ in asked], tuple(unknown for _, unknown in asked)
    offsets, (items, weights, times) = data.log.histories(rows)
    seen_offsets, seen = (np.zeros_like(offsets), NO_ROWS) if filters.seen else (offsets, items)
    exclude_offsets, exclude = _unions(filters.exclude, seen_offsets, seen)
    shared = Query(
        user=-1,
        history=NO_ROWS,
        weights=weights[:0],
        allowed=filters.allowed,
        now=data.now,
        where=filters.where,
        removed=filters.removed,
        context=context,
        effort=filters.effort,
    )
    ordered = (np.diff(offsets) == 0) | data.log.base.ordered
    arrays = rows, offsets, items, weights, times, ordered, exclude_offsets, exclude
    queries = QueryBatch(*arrays, profiles=rows, features=data.users.values, shared=shared)
    return queries, (filters.unknown,) * len(users)


def _rows_of(data: Dataset, users: Sequence[Id | User]) -> NDArray[np.int32] | None:
    """The rows of users who are plain ids of the right type; None where they have to be read one by one."""
    ids = data.users.ids
    kind = str if ids.holds_text else int
    if not users or not len(ids) or not all(type(user) is kind for user in users):
        return None
    try:
        return ids.rows(users)  # type: ignore[arg-type]
    except IdTypeError:  # of a number beyond 64 bits, which is unknown
        return None


@kernel
def _unions(common: Array, offsets: Array, rows: Array) -> tuple[Array, Array]:
    """The union of `common` and the rows of each user, sorted, as CSR."""
    bounds = np.zeros(offsets.size, np.int64)
    merged = np.empty(rows.size + common.size * (offsets.size - 1), np.int32)
    for user in range(offsets.size - 1):
        own = sorted_union(common, rows[offsets[user] : offsets[user + 1]])
        bounds[user + 1] = bounds[user] + own.size
        merged[bounds[user] : bounds[user + 1]] = own
    return bounds, merged[: bounds[-1]]

"""From a user and the filters of a request to a `Query`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from time import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Dataset, Table
from multirecall.engine.deadline import Deadline
from multirecall.engine.latest import Latest, known_rows, merge_history
from multirecall.engine.lookup import NOTHING, Found
from multirecall.engine.state import EngineState
from multirecall.engine.terms import refuse_words
from multirecall.engine.values import plain_value
from multirecall.engine.where import known_field, read_where
from multirecall.errors import RequestError
from multirecall.kernels import kernel
from multirecall.online import Request
from multirecall.query import Query, Where
from multirecall.topk import NO_ROWS
from multirecall.user import User
from multirecall.vocabulary import Id

LONGEST_ID = 256
"""The most characters of the id of a request."""

ID_ONLY = User()
"""What a request says about a user of whom it gives the id alone."""

MAPPINGS = (dict, Mapping)
"""Mappings; a `dict` is told at once, any other class takes longer."""

_numbers = Random()
"""The numbers of request ids, apart from those that a caller may seed."""

os.register_at_fork(after_in_child=_numbers.seed)


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of a request, as item rows. They hold for all its users. Removed items are not allowed.

    `allowed` was made from `where` and `removed`, see `Query`.
    """

    exclude: NDArray[np.int32]
    allowed: NDArray[np.bool_] | None
    where: Where
    removed: NDArray[np.int32]
    seen: bool
    unknown: tuple[Id, ...] = ()
    """The excluded ids that the catalogue does not have."""

    effort: float = 1.0
    """As in `Query`."""


def read_size(k: int | None, default: int) -> int:
    """Return the number of candidates to return; raise `RequestError` if it is invalid."""
    if k is None:
        return default
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise RequestError(f"k must be a whole number > 0, got {k!r}")
    return int(k)


def read_request_id(request_id: str | None) -> str:
    """Return the id of a request, a new one where none is given; raise `RequestError` if it is invalid."""
    if request_id is None:
        return f"{_numbers.getrandbits(128):032x}"
    if not isinstance(request_id, str) or not 0 < len(request_id) <= LONGEST_ID:
        raise RequestError(f"request_id must be text of 1 to {LONGEST_ID} characters, got {request_id!r}")
    return request_id


def read_request(
    users: Sequence[Id | User],
    ids: Sequence[str],
    exclude: Iterable[Id] | None,
    where: Mapping[str, Any] | None,
    seen: bool,
    context: Mapping[str, Any] | None,
    item: Id | None = None,
) -> Request:
    """What a call was given; `ids` are those of the request for each user, and `exclude` is read once."""
    excluded = None if exclude is None else list_ids(exclude, "exclude")
    return Request(tuple(users), tuple(ids), time(), excluded, where, seen, context, item)


def number_ids(request_id: str | None, n: int) -> list[str]:
    """The id of a request for each of its `n` users; raises as `read_request_id`."""
    whole = read_request_id(request_id)
    return [f"{whole}/{number}" for number in range(n)]


def read_deadline(deadline_ms: float | None, default: float | None) -> Deadline:
    """Return a deadline that begins now; raise `RequestError` if it is invalid."""
    if deadline_ms is None:
        return Deadline(default)
    if isinstance(deadline_ms, bool) or not isinstance(deadline_ms, int | float) or not 0 < deadline_ms < 1e9:
        raise RequestError(f"deadline_ms must be a number of milliseconds between 0 and 1e9, got {deadline_ms!r}")
    return Deadline(float(deadline_ms), hasty=default is not None and deadline_ms < default)


def read_filters(
    state: EngineState, exclude: Iterable[Id] | None, where: Mapping[str, Any] | None, seen: bool
) -> Filters:
    """Check the filters and translate them into rows. Excluded ids that are unknown are listed, not refused.

    Raises:
        RequestError: an unusable filter.
        IdTypeError: an id of the wrong type.
    """
    items, rows, allowed, conditions = state.data.items, NO_ROWS, state.allowed, Where()
    unknown: tuple[Id, ...] = ()
    if exclude is not None:
        rows, unknown, _ = known_rows(list_ids(exclude, "exclude"), items)
    if where is not None:
        meeting, conditions = read_where(where, items)
        allowed = meeting if allowed is None else meeting & allowed
    return Filters(rows, allowed, conditions, state.removed, seen, unknown, state.effort)


def read_context(context: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Copy the top level of the context, which the caller may change under a late path; raises `RequestError`."""
    if context is None:
        return {}
    if not isinstance(context, Mapping) or not all(isinstance(key, str) for key in context):
        raise RequestError(f"context: got {context!r}; pass a mapping whose keys are text")
    return dict(context)


def read_queries(
    data: Dataset, users: Sequence[Id | User], filters: Filters, context: Mapping[str, Any], found: Found = NOTHING
) -> list[Query]:
    """The queries of several users; raises as `read_query`."""
    return [read_query(data, user, filters, context, found) for user in users]


def read_query(
    data: Dataset, user: Id | User, filters: Filters, context: Mapping[str, Any], found: Found = NOTHING
) -> Query:
    """The query of one user; raises as `read_user`."""
    return read_user(data, user, filters, context, None, found)[0]


def read_user(
    data: Dataset,
    user: Id | User,
    filters: Filters,
    context: Mapping[str, Any],
    deadline: float | None,
    found: Found = NOTHING,
) -> tuple[Query, tuple[Id, ...]]:
    """The query of one user, and the ids of history and filters that the catalogue does not have.

    Args:
        data: the dataset.
        user: who asks.
        filters: of the request.
        context: of the request, as `read_context` gives it.
        deadline: as in `Query`.
        found: what a source of history said about the users of the request.

    Raises:
        RequestError: an unknown feature or a value of the wrong type.
        IdTypeError: an id of the wrong type.
    """
    asked, id_ = (user, user.id) if isinstance(user, User) else (ID_ONLY, user)
    row = -1 if id_ is None else data.users.ids.row(id_)
    stored, latest, unknown = data.history(row), found.of(user), filters.unknown
    ordered = data.log.base.ordered or asked.history is not None or not stored.items.size
    if latest is not None:
        stored, unknown = merge_history(data, stored, latest), latest.unknown + unknown
    seen = NO_ROWS if filters.seen else stored.items
    if asked.history is None:
        history, weights, times = stored
    else:
        history, absent, _ = known_rows(list_ids(asked.history, "history"), data.items)
        times, unknown = None, absent + unknown
        weights = np.ones(history.size, np.float32)
        if not filters.seen:
            seen = np.concatenate([seen, history])
    query = Query(
        user=row,
        history=history,
        weights=weights,
        times=times,
        ordered=ordered,
        features=_features(data, row, latest, asked.features),
        terms=_terms(data, asked.terms),
        exclude=sorted_union(filters.exclude, seen),
        allowed=filters.allowed,
        now=data.now,
        where=filters.where,
        removed=filters.removed,
        context=context,
        deadline=deadline,
        effort=filters.effort,
    )
    return query, unknown


def list_ids(values: Any, place: str) -> list[Any]:
    """The ids of a list, tuple, set, array or other iterable.

    Raises:
        RequestError: it is not an iterable, or it is a text (whose letters would become ids).
    """
    if isinstance(values, np.ndarray):
        return list(values.ravel().tolist())
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise RequestError(f"{place}: got {values!r}; pass a list of ids")
    return list(values)


def _features(data: Dataset, row: int, latest: Latest | None, given: Any) -> dict[str, Any]:
    known = data.users.values(row)
    if latest is not None:
        known |= latest.features
    return known | _values(data.users, given, "features", "user")


def _terms(data: Dataset, given: Any) -> Mapping[str, Any]:
    terms = _values(data.items, given, "terms", "item")
    refuse_words(terms, data.items)
    return terms


def _values(table: Table, given: Any, place: str, what: str) -> dict[str, Any]:
    if not isinstance(given, MAPPINGS):
        raise RequestError(f"{place}: got {given!r}; pass a mapping from {what} feature to value")
    return {
        field: plain_value(known_field(field, table, place, what), field, value, place)
        for field, value in given.items()
    }


@kernel
def sorted_union(first: NDArray[np.int32], second: NDArray[np.int32]) -> NDArray[np.int32]:
    """The distinct rows of both, ascending, int32."""
    rows = np.empty(first.size + second.size, np.int32)
    rows[: first.size], rows[first.size :] = first, second
    rows.sort()
    n = 0
    for row in rows:
        if not n or row != rows[n - 1]:
            rows[n] = row
            n += 1
    return rows[:n]

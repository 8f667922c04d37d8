"""From a user and the filters of a request to a `Query`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Dataset
from multirecall.engine.where import allowed_by, check_value, known_field
from multirecall.errors import RequestError
from multirecall.query import Query, User
from multirecall.topk import NO_ROWS
from multirecall.vocabulary import Id


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of a request, in rows: what no user of it may get."""

    exclude: NDArray[np.int32]
    allowed: NDArray[np.bool_] | None
    seen: bool


def read_filters(data: Dataset, exclude: Iterable[Id] | None, where: Mapping[str, Any] | None, seen: bool) -> Filters:
    """Check and translate the filters. Excluded ids that the catalogue does not have are passed over.

    Raises:
        RequestError: an unusable filter.
        IdTypeError: an id of the wrong type.
    """
    rows = NO_ROWS
    if exclude is not None:
        if isinstance(exclude, str):
            raise RequestError(f"exclude: got the text {exclude!r}; pass a list of item ids")
        rows = _known(data.items.ids.rows(exclude))
    return Filters(rows, None if where is None else allowed_by(where, data.items), seen)


def read_queries(data: Dataset, users: Sequence[Id | User], filters: Filters) -> list[Query]:
    """The queries of several users; raises as `read_query`."""
    return [read_query(data, user, filters) for user in users]


def read_query(data: Dataset, user: Id | User, filters: Filters) -> Query:
    """The query of one user.

    Raises:
        RequestError: an unknown feature or a value of the wrong type.
        IdTypeError: an id of the wrong type.
    """
    asked = user if isinstance(user, User) else User(user)
    row = -1 if asked.id is None else data.users.ids.row(asked.id)
    log = data.interactions
    stored = log.of_user(row)
    seen = [filters.exclude]
    if not filters.seen:
        seen.append(log.items[stored])
    if asked.history is None:
        history, weights = log.items[stored], log.weights[stored]
        times = None if log.times is None else log.times[stored]
    else:
        history, times = _known(data.items.ids.rows(asked.history)), None
        weights = np.ones(history.size, np.float32)
        if not filters.seen:
            seen.append(history)
    return Query(
        user=row,
        history=history,
        weights=weights,
        times=times,
        ordered=log.ordered or asked.history is not None,
        features=_features(data, row, asked.features),
        terms=_terms(data, asked.terms),
        exclude=np.unique(np.concatenate(seen)),
        allowed=filters.allowed,
        now=log.now,
    )


def _features(data: Dataset, row: int, given: Mapping[str, Any]) -> dict[str, Any]:
    for field, value in given.items():
        check_value(known_field(field, data.users, "features", "user"), field, value, "features")
    return {**data.users.values(row), **given}


def _terms(data: Dataset, given: Mapping[str, Any]) -> Mapping[str, Any]:
    for field, value in given.items():
        check_value(known_field(field, data.items, "terms", "item"), field, value, "terms")
    return given


def _known(rows: NDArray[np.int32]) -> NDArray[np.int32]:
    return rows[rows >= 0]

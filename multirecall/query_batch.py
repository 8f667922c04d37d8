"""The queries of several users as arrays, for retrievers that answer a batch in one go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from multirecall.csr import offsets_of
from multirecall.kernels import Array, kernel
from multirecall.query import Query, runs_of_one_bitmap
from multirecall.topk import NO_ROWS, eligible


@dataclass(frozen=True, slots=True)
class QueryBatch(Sequence[Query]):
    """The queries of one request for several known or unknown users of whom nothing but the id is given.

    A sequence of `Query`, each made when it is asked for, over the same arrays. `histories_of` and `filters_of` take
    the arrays of all users at once.

    Attributes:
        users: rows of the users, int32 (n_users,), -1 where unknown.
        offsets: int64 (n_users + 1,), the CSR offsets of the histories.
        items: item rows, int32 (offsets[-1],).
        weights: float32 (offsets[-1],), as in `Query`.
        times: int64 (offsets[-1],), as in `Query`, or None.
        ordered: bool (n_users,), as in `Query`.
        exclude_offsets: int64 (n_users + 1,), the CSR offsets of `exclude`.
        exclude: sorted item rows of each user, int32 (exclude_offsets[-1],).
        profiles: int32 (n_users,), the row in the user table whose features each has, -1 for none.
        features: gives the features of such a row.
        shared: what is equal in all queries.
    """

    users: NDArray[np.int32]
    offsets: NDArray[np.int64]
    items: NDArray[np.int32]
    weights: NDArray[np.float32]
    times: NDArray[np.int64] | None
    ordered: NDArray[np.bool_]
    exclude_offsets: NDArray[np.int64]
    exclude: NDArray[np.int32]
    profiles: NDArray[np.int32]
    features: Callable[[int], Mapping[str, Any]]
    shared: Query

    def __len__(self) -> int:
        return self.users.size

    @overload
    def __getitem__(self, user: int) -> Query: ...

    @overload
    def __getitem__(self, user: slice) -> Sequence[Query]: ...

    def __getitem__(self, user: int | slice) -> Query | Sequence[Query]:
        if isinstance(user, slice):
            return [self[one] for one in range(len(self))[user]]
        user = range(len(self))[user]
        own = slice(self.offsets.item(user), self.offsets.item(user + 1))
        shared = self.shared
        return Query(
            self.users.item(user),
            self.items[own],
            self.weights[own],
            None if self.times is None else self.times[own],
            self.ordered.item(user),
            self.features(self.profiles.item(user)),
            shared.terms,
            self.exclude[self.exclude_offsets.item(user) : self.exclude_offsets.item(user + 1)],
            shared.allowed,
            shared.now,
            shared.where,
            shared.removed,
            shared.context,
            shared.deadline,
            shared.effort,
        )

    def __iter__(self) -> Iterator[Query]:
        return (self[user] for user in range(len(self)))


class Histories(NamedTuple):
    """The histories of several users as CSR.

    Attributes:
        offsets: int64 (n_users + 1,).
        items: item rows, int32 (offsets[-1],), oldest first.
        weights: float32 (offsets[-1],).
        ordered: bool (n_users,), whether each history is in order of time.
    """

    offsets: NDArray[np.int64]
    items: NDArray[np.int32]
    weights: NDArray[np.float32]
    ordered: NDArray[np.bool_]


class SharedFilter(NamedTuple):
    """The filters of consecutive users who share their bitmap.

    Attributes:
        users: their positions.
        offsets: int64 (n + 1,), the CSR offsets of `exclude`.
        exclude: sorted item rows that each must not get, int32 (offsets[-1],).
        allowed: bool (n_items,), what all of them may get; empty for all items.
    """

    users: slice
    offsets: NDArray[np.int64]
    exclude: NDArray[np.int32]
    allowed: NDArray[np.bool_]


def histories_of(queries: Sequence[Query]) -> Histories:
    """The histories of several users."""
    if not queries:
        return Histories(np.zeros(1, np.int64), NO_ROWS, np.empty(0, np.float32), np.empty(0, np.bool_))
    if isinstance(queries, QueryBatch):
        return Histories(queries.offsets, queries.items, queries.weights, queries.ordered)
    return Histories(
        offsets_of([query.history.size for query in queries]),
        np.concatenate([query.history for query in queries]),
        np.concatenate([query.weights for query in queries]),
        np.array([query.ordered for query in queries]),
    )


def filters_of(queries: Sequence[Query]) -> list[SharedFilter]:
    """The filters of several users, cut where their bitmap changes; those of a request of the engine share theirs."""
    if isinstance(queries, QueryBatch):
        allowed = queries.shared.filter[1]
        return [SharedFilter(slice(0, len(queries)), queries.exclude_offsets, queries.exclude, allowed)]
    filters = [query.filter for query in queries]
    found = []
    for run in runs_of_one_bitmap(filters):
        exclude = [rows for rows, _ in filters[run]]
        offsets = offsets_of([rows.size for rows in exclude])
        found.append(SharedFilter(run, offsets, np.concatenate(exclude), filters[run.start][1]))
    return found


def rows_of(queries: Sequence[Query]) -> NDArray[np.int32]:
    """The rows of several users, int32 (n,), -1 where unknown."""
    return queries.users if isinstance(queries, QueryBatch) else np.array([one.user for one in queries], np.int32)


def has_terms(queries: Sequence[Query]) -> bool:
    """Whether any user brings search terms."""
    return not isinstance(queries, QueryBatch) and any(query.terms for query in queries)


def excluded_of(queries: Sequence[Query]) -> tuple[NDArray[np.int32], ...]:
    """The sorted item rows that each user must not get, int32."""
    if isinstance(queries, QueryBatch):
        return tuple(np.split(queries.exclude, queries.exclude_offsets[1:-1]))
    return tuple(query.exclude for query in queries)


def eligible_in_lists(
    queries: Sequence[Query], offsets: NDArray[np.int64], items: NDArray[np.int32]
) -> NDArray[np.bool_]:
    """Whether each item of several users' lists may be returned, bool (n,), one for each of `items`.

    Args:
        queries: one for each user.
        offsets: int64 (n_users + 1,), the CSR offsets of the users' lists.
        items: item rows, int32 (offsets[-1],).
    """
    keep = np.ones(items.size, np.bool_)
    for users, bounds, exclude, allowed in filters_of(queries):
        _mark_eligible(offsets[users.start : users.stop + 1], items, bounds, exclude, allowed, keep)
    return keep


@kernel
def _mark_eligible(offsets: Array, items: Array, bounds: Array, exclude: Array, allowed: Array, keep: Array) -> None:
    """Write into `keep`, bool (n,), whether each item of the lists between `offsets` may be returned."""
    for user in range(bounds.size - 1):
        own = slice(offsets[user], offsets[user + 1])
        keep[own] = eligible(items[own], exclude[bounds[user] : bounds[user + 1]], allowed)

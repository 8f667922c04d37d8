"""Queries without the items and users that joined after a retriever was fitted."""

from __future__ import annotations

from dataclasses import replace

from multirecall.query import Query


def narrow(query: Query, n_items: int, n_users: int) -> Query:
    """Drop from the query every row that is not among the first `n_items` items and `n_users` users."""
    keep = query.history < n_items
    return replace(
        query,
        user=query.user if query.user < n_users else -1,
        history=query.history[keep],
        weights=query.weights[keep],
        times=None if query.times is None else query.times[keep],
        exclude=query.exclude[: query.exclude.searchsorted(n_items)],
        removed=query.removed[: query.removed.searchsorted(n_items)],
        allowed=None if query.allowed is None else query.allowed[:n_items],
    )

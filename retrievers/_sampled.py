"""Queries as they will come, for what measures itself at a fit."""

from __future__ import annotations

import numpy as np

from multirecall.data import Dataset
from multirecall.query import Query

N_QUERIES = 200


def sampled_queries(data: Dataset) -> list[Query]:
    """The queries of about 200 users who have a history, spread evenly over the rows."""
    users = np.flatnonzero(np.diff(data.interactions.offsets))
    return [query_of(data, int(user)) for user in users[:: max(1, users.size // N_QUERIES)][:N_QUERIES]]


def query_of(data: Dataset, user: int) -> Query:
    """What a request of this user row asks without filters."""
    history = data.history(user)
    return Query(
        user=user,
        history=history.items,
        weights=history.weights,
        times=history.times,
        ordered=data.log.base.ordered,
        features=data.users.values(user),
        now=data.now,
    )

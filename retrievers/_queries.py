"""Queries of the users in the log, for measurements during a fit."""

from __future__ import annotations

import numpy as np

from multirecall.data import Dataset
from multirecall.query import Query

N_QUERIES = 200
"""Users in a sample. More make measurements steadier and the fit slower."""


def sample_queries(data: Dataset) -> list[Query]:
    """The queries of at most `N_QUERIES` users who have a history, spread evenly over the user rows."""
    users = np.flatnonzero(np.diff(data.interactions.offsets))
    return [query_of(data, int(user)) for user in users[:: max(1, users.size // N_QUERIES)][:N_QUERIES]]


def query_of(data: Dataset, user: int) -> Query:
    """The query of a request without filters for this user row."""
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

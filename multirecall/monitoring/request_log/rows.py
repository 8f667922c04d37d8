"""From an answer that an observer is shown to rows of the log."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.draw import Draw
from multirecall.lists import RankedBatch, RankedList
from multirecall.monitoring.request_log.tables import Needed, TableWriter
from multirecall.monitoring.request_log.user_names import UserNames
from multirecall.online import Observation, Proposed, Request, Served
from multirecall.result import CandidateBatch, Candidates, PathStatus
from multirecall.user import User

OVERHEAD = 2_000
"""Bytes of a row beside its arrays, about."""


@dataclass(frozen=True, slots=True)
class Row:
    """One request of one user.

    Attributes:
        values: by column of `REQUEST`.
        paths: for each path the values by field of `PATH`.
        size: bytes that it takes in memory, about.
    """

    values: Mapping[str, Any]
    paths: Sequence[Mapping[str, Any]]
    size: int


def rows_of(
    observation: Observation, users: NDArray[np.int64], names: UserNames, tables: TableWriter, needed: Needed
) -> list[Row]:
    """The rows of some users of a call.

    Args:
        observation: the answer.
        users: the positions of the users in the call, int64 (n,), ascending.
        names: of users.
        tables: of the log.
        needed: gets the tables that the rows need.
    """
    answer, rows = observation.answer, []
    for part in observation.parts:
        members = np.flatnonzero(np.isin(part.users, users)) if part.users.size > 1 else np.arange(part.users.size)
        lists = part.lists
        if part.users.size > 1:
            lists = tuple(batch.take(members) for batch in lists)  # a slice would keep the arrays of all users
        shared = _shared_values(observation, part, tables, needed)
        for place, member in enumerate(members.tolist()):
            user = int(part.users[member])
            given = _of_one(answer, lists, place, part) if isinstance(answer, Candidates) else _of_many(answer, user)
            values = {
                **shared,
                **_user_values(observation.request, user, names),
                **given,
                "length": int(part.lengths[member]),
                "segment": int(observation.segments[user]) if observation.segments.size else 0,
                "excluded": part.excluded[member] if part.excluded else None,
            }
            paths = [
                _path_values(answer.status[name], part.served, path, lists[path][place])
                for path, name in enumerate(part.served.paths)
            ]
            rows.append(Row(values, paths, _size(values) + sum(map(_size, paths)) + OVERHEAD))
    return rows


def _shared_values(observation: Observation, part: Proposed, tables: TableWriter, needed: Needed) -> dict[str, Any]:
    request, served = observation.request, part.served
    catalogue, late, config = tables.names(served, needed)
    asked = {"exclude": request.exclude, "where": request.where}
    given = {key: value for key, value in asked.items() if value}
    conditions = part.conditions.to_dict()
    return {
        "time": int(request.time * 1e6),
        "call": observation.call,
        "item": None if request.item is None else served.catalogue.row(request.item),
        "k": observation.k,
        "version": served.version,
        "data_version": served.data_version,
        "last_change": served.last_change,
        "config": config,
        "catalogue": catalogue,
        "late": late,
        "n_items": len(served.catalogue),
        "level": served.level,
        "cached": observation.cached,
        "ms": observation.ms,
        "seen": request.seen,
        "asked": json.dumps(given, default=str) if given else None,
        "where": json.dumps(conditions) if conditions else None,
    }


def _user_values(request: Request, place: int, names: UserNames) -> dict[str, Any]:
    asked = request.users[place] if request.users else None
    user = asked.id if isinstance(asked, User) else asked
    return {
        "id": request.ids[place],
        "user": None if user is None else names.name(user),
        "salt": None if user is None else names.salt,
        "visitor": bool(request.users) and user is None,
    }


def _of_one(answer: Candidates, lists: Sequence[RankedBatch], place: int, part: Proposed) -> dict[str, Any]:
    """What was answered to a single user.

    Their item rows are taken from the lists that proposed them, because ids are slow to look up.
    """
    rows = np.full(len(answer), -1, np.int32)
    for path, batch in enumerate(lists):
        ranks, own = answer.ranks[:, path], batch[place].items
        here = np.flatnonzero((ranks >= 0) & (ranks < own.size))
        rows[here] = own[ranks[here]]
    left = np.flatnonzero(rows < 0)
    if left.size:
        rows[left] = part.served.catalogue.rows(answer.ids[left])
    return {
        "known": answer.known,
        "variant": answer.variant,
        "store": answer.store,
        "n_backfilled": answer.n_backfilled,
        "shortfall": answer.shortfall,
        **_candidates(rows, answer.scores, answer.ranks, answer.draw),
    }


def _of_many(answer: CandidateBatch, user: int) -> dict[str, Any]:
    """What was answered to one user of a batch; copied, so that the arrays of the others can be freed."""
    own = slice(int(answer.offsets[user]), int(answer.offsets[user + 1]))
    return {
        "known": bool(answer.known[user]),
        "variant": answer.variants[user] if answer.variants else None,
        "store": answer.store,
        "n_backfilled": int(answer.n_backfilled[user]),
        "shortfall": int(answer.shortfall[user]),
        **_candidates(
            answer.items[own].copy(),
            answer.scores[own].copy(),
            answer.ranks[own].copy(),
            answer.draws[user] if answer.draws else None,
        ),
    }


def _candidates(
    rows: NDArray[np.int32], scores: NDArray[np.float64], ranks: NDArray[np.int32], draw: Draw | None
) -> dict[str, Any]:
    return {
        "items": rows,
        "scores": scores,
        "ranks": np.ascontiguousarray(ranks).ravel(),
        "propensity": None if draw is None else draw.propensity,
        "place": None if draw is None else draw.place,
        "team": None if draw is None else draw.team,
    }


def _path_values(status: PathStatus, served: Served, path: int, own: RankedList) -> dict[str, Any]:
    return {
        "path": served.paths[path],
        "state": status.state,
        "ms": status.ms,
        "detail": status.detail,
        "window": served.windows[path],
        "quota": served.quotas[path],
        "items": own.items,
        "scores": own.scores,
    }


def _size(values: Mapping[str, Any]) -> int:
    return sum(value.nbytes for value in values.values() if isinstance(value, np.ndarray))

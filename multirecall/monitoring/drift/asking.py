"""What the paths of an engine answer to users of a window: which are empty, what they add, how they score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multirecall.engine import Engine
from multirecall.lists import RankedBatch
from multirecall.monitoring.drift.distances import Values
from multirecall.monitoring.drift.timeline import Timeline, Window
from multirecall.user import User

FIRST = 10
"""Scores of a list that count: those of its first items."""


@dataclass(frozen=True, slots=True)
class PathShares:
    """What a path does for the users who were asked for.

    Attributes:
        empty: the share of users for whom it finds nothing.
        contribution: the share of the candidates that are among its own first k.
        overlap: of these, the share that are among the first k of another path too; 0 without any.
    """

    empty: float
    contribution: float
    overlap: float


@dataclass(frozen=True, slots=True)
class Asked:
    """The answers of an engine to the users of a window.

    Attributes:
        n_users: the number of users who were asked for.
        paths: by path, what it does.
        scores: by path, the scores of the first items of its lists.
    """

    n_users: int
    paths: Mapping[str, PathShares]
    scores: Mapping[str, Values]


def shares_of(ranks: NDArray[np.int32], k: int, empty: NDArray[np.float64]) -> list[PathShares]:
    """What each path does.

    Args:
        ranks: the ranks of the candidates, int32 (n, n_paths), -1 where a path did not propose them.
        k: the number of candidates of a request.
        empty: the share of users for whom each path found nothing, float64 (n_paths,).
    """
    proposed = (ranks >= 0) & (ranks < k)
    counts = proposed.sum(axis=0)
    shared = (proposed & (proposed.sum(axis=1) > 1)[:, None]).sum(axis=0)
    contributions = counts / max(len(ranks), 1)
    overlaps = shared / np.maximum(counts, 1)
    return [PathShares(*map(float, one)) for one in zip(empty, contributions, overlaps, strict=True)]


def first_scores(batch: RankedBatch) -> Values:
    """The scores of the first items of each list."""
    heads = batch.heads(FIRST)
    owners = np.repeat(np.arange(heads.offsets.size - 1, dtype=np.int32), np.diff(heads.offsets))
    return Values(heads.scores.astype(np.float64), owners)


def ask(engine: Engine, timeline: Timeline, window: Window, k: int, n_users: int, seed: int) -> Asked:
    """Ask for a seeded sample of the users of a window, with their histories as of its end.

    Args:
        engine: the engine.
        timeline: the events.
        window: whose users are asked for.
        k: the number of candidates for each user.
        n_users: the most users.
        seed: the seed of the sample.
    """
    users = requests(engine, timeline, sample_users(timeline, window, n_users, seed), window.end)
    lists = engine.path_lists(users)
    answer = engine.retrieve_batch(users, k)
    kept = [number for number, name in enumerate(answer.paths) if answer.status[name].state != "dropped"]
    names = [answer.paths[number] for number in kept]
    empty = np.array([float((np.diff(lists[name].offsets) == 0).mean()) for name in names])
    shares = shares_of(answer.ranks[:, kept], k, empty)
    return Asked(
        len(users),
        dict(zip(names, shares, strict=True)),
        {name: first_scores(lists[name]) for name in names},
    )


def sample_users(timeline: Timeline, window: Window, n_users: int, seed: int) -> NDArray[np.int32]:
    """At most `n_users` of the users with an event in a window, as rows, int32 ascending; `seed` draws them."""
    users = np.unique(timeline.users[timeline.inside(window)])
    if users.size <= n_users:
        return users
    return np.sort(np.random.default_rng(seed).choice(users, n_users, replace=False))


def requests(engine: Engine, timeline: Timeline, users: NDArray[np.int32], until: int) -> list[User]:
    """Users as they would ask the engine at the time `until`: their id, their history, and features that it lacks."""
    before, now = timeline.user_tables
    fields = engine.data.users.stored
    asked = []
    for user in users.tolist():
        history = timeline.item_tables[0].ids.ids(timeline.history(user, until))
        fresh = now is not before and until > timeline.fit
        features = {field: one for field, one in now.values(user).items() if field in fields} if fresh else {}
        asked.append(User(before.ids.id(user), history.tolist(), features))
    return asked

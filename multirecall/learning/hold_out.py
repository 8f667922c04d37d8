"""Holding events out of a fit: requests whose answers are known, on which fusion and settings are learned.

What is held out depends on the goal:

- `next`: the newest events of a sample of users. Each event is asked for with the history before it.
- `while`: the newest period. Each user who is active in it is asked for with the history before it.
- A log without order: some items of a sample of users, drawn at random.

Only items that are new to the user are targets, since these are what a request returns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multirecall.csr import offsets_of
from multirecall.data import Changes, Dataset, Interactions
from multirecall.data.set_aside import set_events_aside
from multirecall.learning.spent import Spent

Goal = Literal["next", "while"]
"""What a fused list should hold: the next event of a user, or all events of the next period."""

MOST_USERS = 2_000
MOST_USERS_SHARE = 0.1
MOST_EVENTS_SHARE = 0.02
"""Limits on what is held out. More gives steadier coefficients and paths that know less until the next refit."""

MOST_TRIAL_EVENTS_SHARE = 0.1
"""The limit on events that are held out for trials alone, which no path is fitted without."""

FEWEST_TRIAL_USERS = 300
"""With fewer users, trials choose by chance; a search of settings compares dozens of them."""

MOST_REQUESTS = 2_500
"""Most events that `next` holds out; more steady the coefficients little, and take longer to ask for."""

FEWEST_USERS = 50
"""With fewer users, what is learned is mostly noise, so nothing is held out."""

EVENTS_OF_A_USER = 4
"""Most events of a user that `next` holds out. Four give twice as steady coefficients as one, at no cost in users."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Events held out of a fit, as requests with known answers. Rows are those of the whole dataset and of the rest.

    Attributes:
        goal: what was held out; None: items of a log without order.
        rest: the dataset without these events.
        back: the change that gives them back to `rest`.
        owners: the user row that each request belongs to, int32 (n,), ascending.
        askers: the user row that asks, int32 (n,): the owner, or -1 where the owner was new and asks as a visitor.
        histories: for each request, the positions in `log` of the events of its history, oldest first.
        offsets: CSR offsets of the targets, int64 (n + 1,).
        targets: item rows, int32, ascending within a request.
        log: all events, decayed to `now` as a request sees them.
        spent: what this and all earlier fits have held out.
    """

    goal: Goal | None
    rest: Dataset
    back: Changes
    owners: NDArray[np.int32]
    askers: NDArray[np.int32]
    histories: tuple[NDArray[np.int64], ...]
    offsets: NDArray[np.int64]
    targets: NDArray[np.int32]
    log: Interactions
    spent: Spent

    def __len__(self) -> int:
        return self.owners.size


class Limits(NamedTuple):
    """Limits on a hold-out: the most users, their share, the share of events, and the fewest users."""

    users: int
    users_share: float
    events_share: float
    fewest_users: int


def hold_out(
    data: Dataset, goal: Goal | None, seed: int, spent: Spent | None = None, *, for_trials: bool = False
) -> HeldOut | None:
    """Hold out at most 2,000 users, 10 % of the users and 2 % of the events; None where the log is too small.

    No user and no item loses its only event. The draw depends on the seed and on the size of the log.

    Args:
        data: the dataset.
        goal: what to hold out; None: `while` if the log has times and enough users in its newest period, else `next`.
            A log without times has no `while`, and a log without order has neither.
        seed: the seed of the draw.
        spent: what earlier fits have held out; it is not held out again.
        for_trials: whether no path that serves is fitted on the rest. Then any users and 10 % of the events are taken.
    """
    log, spent = data.interactions, (spent or Spent()).among(data.users.ids)
    if goal is None and log.times is not None:
        period = hold_out(data, "while", seed, spent, for_trials=for_trials)
        return period or hold_out(data, "next", seed, spent, for_trials=for_trials)
    limits = Limits(MOST_USERS, MOST_USERS_SHARE, MOST_EVENTS_SHARE, FEWEST_USERS)
    if for_trials:
        limits = Limits(MOST_USERS, 1.0, MOST_TRIAL_EVENTS_SHARE, FEWEST_TRIAL_USERS)
    rng = np.random.default_rng([seed, len(log), data.n_users])
    if goal == "while" and log.times is not None:
        held_out = _hold_out_period(data, spent, limits)
    elif log.ordered:
        held_out = _hold_out_newest(data, spent, limits, rng)
    else:
        held_out = _hold_out_items(data, spent, limits, rng)
    enough = held_out is not None and np.unique(held_out.owners).size >= limits.fewest_users
    return held_out if enough else None


def _hold_out_newest(data: Dataset, spent: Spent, limits: Limits, rng: np.random.Generator) -> HeldOut | None:
    log = data.interactions
    counts = np.minimum(EVENTS_OF_A_USER, np.diff(log.offsets) // 2)
    users = _draw_users(data, counts, spent, limits, rng)
    events = _leave_each_item_one(
        log,
        np.concatenate([np.arange(log.offsets[user + 1] - counts[user], log.offsets[user + 1]) for user in users])
        if users.size
        else np.empty(0, np.int64),
    )
    owners = log.users[events]
    histories = [np.arange(log.offsets[user], event) for user, event in zip(owners, events, strict=True)]
    new = np.array(
        [log.items[event] not in log.items[past] for event, past in zip(events, histories, strict=True)], np.bool_
    )
    kept = np.flatnonzero(new).tolist()
    return _held_out(
        data,
        "next",
        events,
        owners[kept],
        owners[kept],
        [histories[one] for one in kept],
        [log.items[events[one]][None] for one in kept],
        spent.with_users(data.users.ids.ids(users)),
    )


def _hold_out_period(data: Dataset, spent: Spent, limits: Limits) -> HeldOut | None:
    log = data.interactions
    assert log.times is not None
    newest = np.argsort(-log.times, kind="stable")[: int(limits.events_share * len(log)) + 1]
    firsts = np.zeros(newest.size, np.bool_)
    firsts[np.unique(log.users[newest], return_index=True)[1]] = True
    too_many = np.flatnonzero(np.cumsum(firsts) > _most_users(data, limits))
    boundary = int(log.times[newest[too_many[0] if too_many.size else -1]])
    start = max(boundary, spent.until)
    inside = log.times > start
    whole = np.bincount(log.users[~inside], minlength=log.n_users) == 0
    starts = np.append(0, np.flatnonzero(np.diff(log.users)) + 1) if len(log) else np.empty(0, np.int64)
    first_events = np.zeros(len(log), np.bool_)
    first_events[starts] = True
    events = _leave_each_item_one(log, np.flatnonzero(inside & ~(first_events & whole[log.users])))
    owners, histories, targets = [], [], []
    for user in np.unique(log.users[events]).tolist():
        own = events[slice(*np.searchsorted(log.users[events], [user, user + 1]))]
        past = np.arange(log.offsets[user], log.offsets[user + 1])
        past = past[~inside[past]]
        wanted = np.setdiff1d(log.items[own], log.items[past])
        if wanted.size:
            owners.append(user)
            histories.append(past)
            targets.append(wanted)
    rows = np.array(owners, np.int32)
    askers = np.where(whole[rows], -1, rows).astype(np.int32) if rows.size else rows
    return _held_out(data, "while", events, rows, askers, histories, targets, spent.with_period(int(log.times.max())))


def _hold_out_items(data: Dataset, spent: Spent, limits: Limits, rng: np.random.Generator) -> HeldOut | None:
    log = data.interactions
    pairs = log.matrix
    n_pairs = np.diff(pairs.indptr)
    owners_of_pairs = np.repeat(np.arange(data.n_users), n_pairs)
    shuffled = np.lexsort((rng.random(pairs.nnz), owners_of_pairs))
    place = np.arange(pairs.nnz) - np.repeat(pairs.indptr[:-1], n_pairs)
    drawn = np.zeros(pairs.nnz, np.bool_)
    drawn[shuffled[place < np.repeat(np.minimum(EVENTS_OF_A_USER, n_pairs // 2), n_pairs)]] = True
    keys = owners_of_pairs * np.int64(data.n_items) + pairs.indices
    inside = drawn[np.searchsorted(keys, log.users * np.int64(data.n_items) + log.items)]
    users = _draw_users(data, np.bincount(log.users[inside], minlength=data.n_users), spent, limits, rng)
    events = np.flatnonzero(inside & np.isin(log.users, users))
    events = _leave_each_item_one(log, events)
    held = np.zeros(len(log), np.bool_)
    held[events] = True
    owners, histories, targets = [], [], []
    for user in np.unique(log.users[events]).tolist():
        own = np.arange(log.offsets[user], log.offsets[user + 1])
        wanted = np.setdiff1d(log.items[own[held[own]]], log.items[own[~held[own]]])
        if wanted.size:
            owners.append(user)
            histories.append(own[~held[own]])
            targets.append(wanted)
    rows = np.array(owners, np.int32)
    return _held_out(data, None, events, rows, rows, histories, targets, spent.with_users(data.users.ids.ids(users)))


def _held_out(
    data: Dataset,
    goal: Goal | None,
    events: NDArray[np.int64],
    owners: NDArray[np.int32],
    askers: NDArray[np.int32],
    histories: list[NDArray[np.int64]],
    targets: list[NDArray[np.int32]],
    spent: Spent,
) -> HeldOut | None:
    if not owners.size:
        return None
    held = np.zeros(data.n_events, np.bool_)
    held[events] = True
    rest, back = set_events_aside(data, held)
    return HeldOut(
        goal,
        rest,
        back,
        owners,
        askers,
        tuple(histories),
        offsets_of([own.size for own in targets]),
        np.concatenate(targets).astype(np.int32),
        data.interactions,
        spent,
    )


def _draw_users(
    data: Dataset, counts: NDArray[np.int64], spent: Spent, limits: Limits, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw users, stratified by the length of their histories, until a limit is reached; rows, ascending.

    `counts` holds the number of events that each user would give, integers (n_users,).
    """
    candidates = np.flatnonzero(counts > 0)
    candidates = candidates[~spent.knows_users(data.users.ids.ids(candidates))]
    lengths = np.diff(data.interactions.offsets)[candidates]
    candidates = candidates[np.lexsort((rng.random(candidates.size), lengths))]
    most = min(MOST_REQUESTS, int(limits.events_share * data.n_events))
    n_users = min(_most_users(data, limits), candidates.size)
    if n_users:
        n_users = min(n_users, int(most / max(1.0, float(counts[candidates].mean()))))
    places = ((np.arange(n_users) + rng.random()) * candidates.size / max(n_users, 1)).astype(np.int64)
    drawn = rng.permutation(candidates[places])
    return np.sort(drawn[np.cumsum(counts[drawn]) <= most])


def _most_users(data: Dataset, limits: Limits) -> int:
    active = int((np.diff(data.interactions.offsets) > 0).sum())
    return min(limits.users, int(limits.users_share * active))


def _leave_each_item_one(log: Interactions, events: NDArray[np.int64]) -> NDArray[np.int64]:
    """The positions `events`, ascending, without the oldest event of each item that would lose all its events.

    The other events of such an item are held out: what is new in the catalogue is then nearly unknown to the paths, as
    it is when an engine serves.
    """
    left = np.bincount(log.items, minlength=log.n_items) - np.bincount(log.items[events], minlength=log.n_items)
    bare = events[left[log.items[events]] == 0]
    if log.times is not None:
        bare = bare[np.argsort(log.times[bare], kind="stable")]
    oldest = bare[np.unique(log.items[bare], return_index=True)[1]]
    return np.setdiff1d(events, oldest)

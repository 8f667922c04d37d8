"""Splits of a log into a training part and the targets of test users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from multirecall.config import EngineConfig
from multirecall.csr import offsets_of
from multirecall.data import Dataset, remedies
from multirecall.errors import DataError, IdTypeError, RequestError
from multirecall.user import User
from multirecall.vocabulary import Id


@dataclass(frozen=True, slots=True)
class Split:
    """A training part, and for each test user the items that they chose afterwards.

    Attributes:
        name: a text that says how the split was made.
        train: the training part; it lacks users and items that only occur in the held-out events.
        users: external ids of the test users, (n_users,).
        offsets: CSR offsets, int64 (n_users + 1,): the targets of user `u` are `offsets[u]:offsets[u + 1]`.
        targets: item rows of `train`, int32, ascending within a user; -1 for an item that `train` lacks.
        seen: whether items that the user had before count as targets and may be retrieved.
        n_unknown_users: the number of test users that are not in the training log.
        n_held_out: the number of events that are not in the training part.
        n_repeats: the number of held-out pairs of user and item that are not targets, because the user had the item
            before.
        concurrent: the share of held-out events that are not newer than the whole training part, so that training
            events leak from their time; 0 in a split by time, None without timestamps.
        asked: the data that histories are taken from in a request, where these are longer than in the training part;
            None: `train`.
    """

    name: str
    train: Dataset
    users: NDArray[Any]
    offsets: NDArray[np.int64]
    targets: NDArray[np.int32]
    seen: bool
    n_unknown_users: int
    n_held_out: int = 0
    n_repeats: int = 0
    concurrent: float | None = None
    asked: Dataset | None = None

    def requests(self, users: NDArray[Any]) -> Sequence[Id | User]:
        """The users, external ids (n,), as a request names them: by id, or with the histories of `asked`."""
        ids: list[Id] = users.tolist()
        return ids if self.asked is None else [User(user, history=self.history(user)) for user in ids]

    def history(self, user: Id) -> NDArray[Any]:
        """The item ids of a user's events at the time of the request, (n,), oldest first."""
        asked = self.train if self.asked is None else self.asked
        return asked.items.ids.ids(asked.history(asked.users.ids.row(user)).items)

    @property
    def unreachable(self) -> float:
        """The share of targets that the training catalogue lacks; metrics count them as missed."""
        return float((self.targets < 0).mean())

    def describe(self) -> str:
        """The numbers of events, users and targets of the split, in one line."""
        parts = [
            f"{self.name}: {len(self.train.interactions):,} events train, {self.n_held_out:,} are left out",
            f"{self.users.size:,} users ({self.n_unknown_users:,} not in the training log) with "
            f"{self.targets.size:,} targets, of which {self.unreachable:.2%} are not in the training catalogue",
        ]
        if self.n_repeats:
            parts.append(f"{self.n_repeats:,} repeats are no targets")
        if self.concurrent is not None:
            parts.append(f"{self.concurrent:.1%} of the events left out are not newer than the training part")
        return "; ".join(parts)

    def take(self, chosen: NDArray[np.integer], name: str) -> Split:
        """The split with some of its test users; `chosen` holds their positions, integers (n,), ascending."""
        lengths = np.diff(self.offsets)[chosen]
        offsets = offsets_of(lengths)
        places = np.arange(offsets[-1]) + np.repeat(self.offsets[chosen] - offsets[:-1], lengths)
        known = self.train.users.ids.rows(self.users[chosen])
        active = np.append(np.diff(self.train.interactions.offsets) > 0, False)
        return replace(
            self,
            name=name,
            users=self.users[chosen],
            offsets=offsets,
            targets=self.targets[places],
            n_unknown_users=int((~active[known]).sum()),
        )


SplitKind = Literal["time", "user-time", "last", "random"]
"""The kinds of splits of one log, by their names on the command line."""


def aim_at(kind: SplitKind, config: EngineConfig) -> EngineConfig:
    """The config with the goal of its fusion set to what a split of this kind asks, if it sets none.

    The next events of users are asked by `last` and `user-time`, the next period by `time`.
    """
    if config.fusion.goal is not None or kind == "random":
        return config
    fusion = config.fusion.model_copy(update={"goal": "while" if kind == "time" else "next"})
    return config.model_copy(update={"fusion": fusion})


def make_split(
    data: Dataset,
    kind: SplitKind,
    *,
    fraction: float = 0.1,
    last: int = 1,
    validation: int = 0,
    seen: bool = False,
    seed: int = 0,
) -> Split:
    """Make a split of this kind.

    Args:
        data: the whole log.
        kind: the split to make: `time` (`time_split`), `user-time` (`user_time_split`), `last` (`leave_last_n`) or
            `random` (`random_split`).
        fraction: the share to hold out, for all kinds but `last`.
        last: for `last`, the number of events of each user to hold out.
        validation: for `last`, the number of events before these that are not in the training part either, but stand
            in the history of a request.
        seen: whether items that the user had before count as targets; not for `random`, which holds out all events of
            a pair.
        seed: for `random`, the seed.

    Raises:
        RequestError: an argument is out of range.
        DataError: the log cannot be split like that; see the function of the kind.
    """
    if kind == "time":
        return time_split(data, fraction, seen=seen)
    if kind == "user-time":
        return user_time_split(data, fraction, seen=seen)
    if kind == "last":
        return leave_last_n(data, last, validation=validation, seen=seen)
    if kind != "random":
        raise RequestError(f"split: got {kind!r}; choose one of {', '.join(get_args(SplitKind))}")
    if seen:
        raise RequestError(
            "a random split cannot use seen, because it holds out all events of a user and an item; leave seen out"
        )
    return random_split(data, fraction, seed=seed)


def time_split(data: Dataset, fraction: float = 0.1, *, seen: bool = False) -> Split:
    """Hold out the newest `fraction` of all events; events of equal time stay together.

    Targets are the distinct items that a user chose in the test part: all of them with `seen`, else only items that
    are new to the user. Users without a target are left out.

    Raises:
        DataError: the log has no timestamps, or one part would be empty.
    """
    _check_fraction(fraction)
    log = data.interactions
    if log.times is None:
        raise DataError(
            "a time split needs a column 'timestamp' in the log; name yours with "
            f"{remedies.columns('timestamp')}, or split by last event or at random (command line: --split last)"
        )
    cut = np.sort(log.times)[min(int(len(log) * (1 - fraction)), len(log) - 1)]
    past = log.times < cut
    if past.all() or not past.any():
        raise DataError(
            f"a time split of {fraction:g} leaves one part empty: too many events share one time; "
            "change fraction, or use another split (command line: --fraction, --split)"
        )
    return _from_events(f"last {fraction:.0%} of events by time", data, past, seen)


def split_at(data: Dataset, moment: int, *, seen: bool = False) -> Split:
    """Hold out the events at and after a moment, in epoch seconds; otherwise as `time_split`.

    Raises:
        DataError: the log has no timestamps, or one part would be empty.
    """
    log = data.interactions
    if log.times is None:
        raise DataError("a split at a moment needs a column 'timestamp' in the log, which this log was read without")
    past = log.times < moment
    day = np.datetime_as_string(np.datetime64(moment, "s"), "m")
    if past.all() or not past.any():
        raise DataError(f"a split at {day} leaves one part empty; the log has {data!r}; choose a moment within it")
    return _from_events(f"events since {day}", data, past, seen)


def user_time_split(data: Dataset, fraction: float = 0.2, *, seen: bool = False) -> Split:
    """Hold out the newest `fraction` of each user's events, at least one and never all of them.

    Raises:
        DataError: the log has neither timestamps nor positions, or no user has two events.
    """
    _check_fraction(fraction)
    lengths = np.diff(data.interactions.offsets)
    counts = np.minimum(np.maximum(np.round(lengths * fraction), 1), lengths - 1).astype(np.int64)
    return _newest_of_each(data, counts, f"newest {fraction:.0%} of each user's events", seen)


def leave_last_n(data: Dataset, n: int = 1, *, validation: int = 0, seen: bool = False) -> Split:
    """Hold out the newest `n` events of each user; users with fewer events are in the training part only.

    Args:
        data: the whole log.
        n: the number of events of each user to hold out as targets.
        validation: the number of events of each user before these that are not in the training part either, but stand
            in the history of a request. Published results by last event use 1: the models were chosen on that event.
            An engine in use has learnt from it, so that 0 is closer to what users see.
        seen: whether items that the user had before count as targets.

    Raises:
        DataError: the log has neither timestamps nor positions, or no user has more than `n + validation` events.
    """
    for name, number, least in (("n", n, 1), ("validation", validation, 0)):
        if not isinstance(number, int) or number < least:
            raise RequestError(f"leave-last-n: {name} must be a whole number ≥ {least}, got {number}")
    lengths = np.diff(data.interactions.offsets)
    name = "each user's last event" if n == 1 else f"each user's last {n} events"
    if validation:
        name += f", {validation} more before them for validation"
    return _newest_of_each(data, np.where(lengths > n + validation, n, 0), name, seen, validation)


def leave_last_out(data: Dataset, *, validation: int = 0, seen: bool = False) -> Split:
    """Hold out the newest event of each user: `leave_last_n` with `n` = 1."""
    return leave_last_n(data, 1, validation=validation, seen=seen)


def random_split(data: Dataset, fraction: float = 0.2, *, seed: int = 0) -> Split:
    """Hold out a random `fraction` of each user's items, with all events of the pair; never all items of a user.

    Raises:
        DataError: no user has two items.
    """
    _check_fraction(fraction)
    log = data.interactions
    matrix = log.matrix
    lengths = np.diff(matrix.indptr)
    owners = np.repeat(np.arange(log.n_users), lengths)
    order = np.lexsort((np.random.default_rng(seed).random(owners.size), owners))
    places = np.arange(owners.size) - np.repeat(matrix.indptr[:-1], lengths)
    drawn = order[places < np.minimum(np.round(lengths * fraction), lengths - 1)[owners]]
    pairs = owners.astype(np.int64) * log.n_items + matrix.indices
    past = ~np.isin(log.users.astype(np.int64) * log.n_items + log.items, pairs[drawn])
    if past.all():
        raise DataError(f"a random split of {fraction:g} leaves nothing out: no user has enough items; raise it")
    return _from_events(f"random {fraction:.0%} of each user's items", data, past, seen=False)


def split_of_logs(train: Dataset, test: Dataset, *, seen: bool = False) -> Split:
    """The split of two logs that are split already.

    Args:
        train: the training part, with the catalogue.
        test: the events after it; only its interactions are used.
        seen: whether items that a user has in the training part count as targets.

    Raises:
        DataError: ids of the two logs differ in type, or no target is left.
    """
    users, items = test.users.ids.ids(), test.items.ids.ids()
    try:
        user_rows, item_rows = train.users.ids.rows(users), train.items.ids.rows(items)
    except IdTypeError as fault:
        raise DataError(
            f"given split: the ids of the two logs differ in type: {fault}; read both with {remedies.ids()}"
        ) from None
    log, past = test.interactions, train.interactions
    known = user_rows[log.users].astype(np.int64)
    had = np.unique(past.users.astype(np.int64) * train.n_items + past.items)
    rows = item_rows[log.items]
    repeated = np.isin(known * train.n_items + rows, had) & (known >= 0) & (rows >= 0)
    concurrent = None
    if past.now is not None and log.times is not None:
        concurrent = float((log.times <= past.now).mean())
    active = np.append(np.diff(past.offsets) > 0, False)
    return _from_pairs(
        "given files",
        train,
        users,
        log.users.astype(np.int64) * test.n_items + log.items,
        repeated & (not seen),
        item_rows,
        seen,
        active[user_rows],
        len(log),
        concurrent,
    )


def _newest_of_each(data: Dataset, counts: NDArray[np.int64], name: str, seen: bool, validation: int = 0) -> Split:
    """Hold out the newest `counts` events of each user as targets, and `validation` more for users with targets."""
    log = data.interactions
    if not log.ordered:
        raise DataError(
            f"a split by {name} needs a column 'timestamp' or 'position' in the log; name yours with "
            f"{remedies.columns('timestamp')}, or split at random (command line: --split random)"
        )
    if not (counts > 0).any():
        raise DataError(
            f"a split by {name} needs users with at least two events, and more events than are held out; hold out "
            "fewer, or use another split (command line: --last, --split)"
        )
    from_end = log.offsets[1:][log.users] - np.arange(len(log))
    left_out = counts + validation * (counts > 0)
    future = from_end <= counts[log.users]
    split = _from_events(name, data, from_end > left_out[log.users], seen, future)
    return replace(split, asked=data.filter_events(~future)) if validation else split


def _from_events(
    name: str, data: Dataset, past: NDArray[np.bool_], seen: bool, future: NDArray[np.bool_] | None = None
) -> Split:
    """The split with the events of `past` as training part and those of `future`, by default all others, as targets."""
    log = data.interactions
    future = ~past if future is None else future
    train = data.filter_events(past)
    pairs = log.users.astype(np.int64) * data.n_items + log.items
    concurrent = None
    if log.times is not None and train.now is not None:
        concurrent = float((log.times[~past] <= train.now).mean())
    return _from_pairs(
        name,
        train,
        data.users.ids.ids(),
        pairs[future],
        np.isin(pairs[future], pairs[~future]) & (not seen),
        train.items.ids.rows(data.items.ids.ids()),
        seen,
        np.bincount(log.users[past], minlength=data.n_users) > 0,
        int((~past).sum()),
        concurrent,
    )


def _from_pairs(
    name: str,
    train: Dataset,
    user_ids: NDArray[Any],
    pairs: NDArray[np.int64],
    dropped: NDArray[np.bool_],
    train_rows: NDArray[np.int32],
    seen: bool,
    known: NDArray[np.bool_],
    n_held_out: int,
    concurrent: float | None,
) -> Split:
    """The split with targets `pairs` (user row · n_items + item row, may repeat), except those marked in `dropped`."""
    kept = np.unique(pairs[~dropped])
    if not kept.size:
        raise DataError("no user has a target that is new to them; pass seen=True (command line: --seen)")
    owners, rows = np.divmod(kept, train_rows.size)
    users, counts = np.unique(owners, return_counts=True)
    targets = train_rows[rows]
    return Split(
        name=f"{name}, {'all items' if seen else 'items new to the user'}",
        train=train,
        users=user_ids[users],
        offsets=offsets_of(counts),
        targets=targets[np.lexsort((targets, owners))],
        seen=seen,
        n_unknown_users=int((~known[users]).sum()),
        n_held_out=n_held_out,
        n_repeats=int(np.unique(pairs[dropped]).size),
        concurrent=concurrent,
    )


def _check_fraction(fraction: float) -> None:
    if not isinstance(fraction, int | float) or not 0 < fraction < 1:
        raise RequestError(f"fraction must be a number between 0 and 1, got {fraction!r}")

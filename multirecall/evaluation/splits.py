"""Splits: what an engine may learn from, and what it is then asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Dataset
from multirecall.errors import DataError, RequestError
from multirecall.lists import offsets_of


@dataclass(frozen=True, slots=True)
class Split:
    """A training part, and for each test user the items that he chose afterwards.

    Attributes:
        name: how it was made.
        train: the past; users and items of the future alone are not in it.
        users: external ids of the test users, (n_users,).
        offsets: int64 (n_users + 1,), the targets of user `u` are `offsets[u]:offsets[u + 1]`.
        targets: item rows of `train`, int32, ascending within a user; -1 for an item that it does not have.
        seen: whether items that the user had before count as targets, and may be retrieved.
        n_unknown_users: test users that are not in the training log.
    """

    name: str
    train: Dataset
    users: NDArray[Any]
    offsets: NDArray[np.int64]
    targets: NDArray[np.int32]
    seen: bool
    n_unknown_users: int

    @property
    def unreachable(self) -> float:
        """The share of targets that the training catalogue does not have; they stay in every denominator."""
        return float((self.targets < 0).mean())


def time_split(data: Dataset, fraction: float = 0.1, *, seen: bool = False) -> Split:
    """The newest `fraction` of events as test, everything before as training; events of one time stay together.

    Targets are the distinct items that a user chose in the test part: all of them with `seen`, else those that
    are new to the user. Users without a target are left out.

    Raises:
        DataError: the log has no timestamps, or one part would be empty.
    """
    if not 0 < fraction < 1:
        raise RequestError(f"fraction must be between 0 and 1, got {fraction}")
    log = data.interactions
    if log.times is None:
        raise DataError("a time split needs a column 'timestamp' in the log")
    cut = np.sort(log.times)[int(len(log) * (1 - fraction))]
    past = log.times < cut
    if past.all() or not past.any():
        raise DataError(f"a time split of {fraction:g} leaves one part empty: too many events share one time")
    name = f"last {fraction:.0%} of events by time, {'all items' if seen else 'items new to the user'}"
    return _split(name, data, past, seen)


def leave_last_out(data: Dataset, *, seen: bool = False) -> Split:
    """The newest event of each user as test, everything before as training; users with one event only train.

    Raises:
        DataError: the log has neither timestamps nor positions, or no user has two events.
    """
    log = data.interactions
    if not log.ordered:
        raise DataError("leave-last-out needs a column 'timestamp' or 'position' in the log")
    last = log.offsets[1:][np.diff(log.offsets) > 1] - 1
    if not last.size:
        raise DataError("leave-last-out needs users with at least two events")
    past = np.ones(len(log), np.bool_)
    past[last] = False
    return _split(f"each user's last event, {'all items' if seen else 'items new to the user'}", data, past, seen)


def _split(name: str, data: Dataset, past: NDArray[np.bool_], seen: bool) -> Split:
    log = data.interactions
    train = data.restricted(past)
    pairs = np.unique(log.users[~past].astype(np.int64) * data.n_items + log.items[~past])
    if not seen:
        pairs = np.setdiff1d(pairs, np.unique(log.users[past].astype(np.int64) * data.n_items + log.items[past]))
    if not pairs.size:
        raise DataError("no user has a target that is new to him; pass seen=True")
    owners, rows = np.divmod(pairs, data.n_items)
    users, counts = np.unique(owners, return_counts=True)
    targets = train.items.ids.rows(data.items.ids.ids(rows))
    order = np.lexsort((targets, owners))
    known = np.bincount(log.users[past], minlength=data.n_users) > 0
    return Split(
        name,
        train,
        data.users.ids.ids(users),
        offsets_of(counts),
        targets[order],
        seen,
        int((~known[users]).sum()),
    )

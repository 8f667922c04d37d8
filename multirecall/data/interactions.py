"""The interactions of a log as sorted arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from multirecall.csr import offsets_of
from multirecall.data.horizon import Times, now_of

SECONDS_PER_DAY = 86_400


@dataclass(frozen=True)
class Interactions:
    """Events of a log, sorted by user, then time, position (each where the log has it) and input order.

    Attributes:
        users: user rows, int32 (n,), ascending.
        items: item rows, int32 (n,).
        times: epoch seconds, int64 (n,), or None where the log has no timestamps.
        weights: float32 (n,), ≥ 0.
        n_users: the number of users, with or without events.
        n_items: the number of items, with or without events.
        ordered: whether the log has times or positions, which order the events of a user.
        micros: microseconds within the second, int32 (n,), or None where all times are whole seconds.
        positions: int64 (n,), or None where the log has no positions.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    times: NDArray[np.int64] | None
    weights: NDArray[np.float32]
    n_users: int
    n_items: int
    ordered: bool
    micros: NDArray[np.int32] | None = None
    positions: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return self.users.size

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """int64 (n_users + 1,): the events of user `u` are `offsets[u]:offsets[u + 1]`."""
        return offsets_of(np.bincount(self.users, minlength=self.n_users))

    @cached_property
    def now(self) -> int | None:
        """Epoch seconds of the newest event that is not far beyond the rest, or None without timestamps."""
        return None if self.newest is None else now_of([self.newest])

    @cached_property
    def newest(self) -> Times | None:
        """The newest times, from which `now` is found; None without timestamps."""
        return None if self.times is None else Times.of(self.times)

    def of_user(self, user: int) -> slice:
        """The slice of the events of user row `user`, oldest first; an empty slice for an unknown user (-1)."""
        return slice(0, 0) if user < 0 else slice(int(self.offsets[user]), int(self.offsets[user + 1]))

    def at(self, events: slice | NDArray[np.integer] | NDArray[np.bool_]) -> Interactions:
        """Some of the events: a slice, positions, or a bool mask (n,); the result must stay sorted."""

        def pick(column: NDArray[Any] | None) -> Any:
            return None if column is None else column[events]

        return replace(
            self,
            users=self.users[events],
            items=self.items[events],
            times=pick(self.times),
            weights=self.weights[events],
            micros=pick(self.micros),
            positions=pick(self.positions),
        )

    @property
    def order(self) -> list[NDArray[np.integer]]:
        """The sort keys of a user's events, each (n,), most significant first; equal events keep input order."""
        return [column for column in (self.times, self.micros, self.positions) if column is not None]

    @cached_property
    def matrix(self) -> csr_array:
        """The CSR matrix users × items, float32: the largest weight of each pair, sorted by item within a user."""
        keys = self.users.astype(np.int64) * self.n_items + self.items
        order = np.argsort(keys, kind="stable")
        starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
        pairs = order[starts]
        values = np.maximum.reduceat(self.weights[order], starts) if len(self) else self.weights
        offsets = offsets_of(np.bincount(self.users[pairs], minlength=self.n_users))
        return csr_array((values, self.items[pairs], offsets), shape=(self.n_users, self.n_items))


def halvings(times: NDArray[np.int64], now: int, half_life_days: float) -> NDArray[np.float64]:
    """The number of half-lives from each of `times` to `now`, both in epoch seconds; 0 for times after `now`."""
    ages: NDArray[np.float64] = np.maximum(now - times, 0) / (half_life_days * SECONDS_PER_DAY)
    return ages

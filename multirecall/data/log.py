"""A log that grows: the sorted events of a load, and a few sorted runs of later events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multirecall.csr import offsets_of, take_runs
from multirecall.data.horizon import Times, now_of
from multirecall.data.interactions import Interactions, halvings

GROWTH = 32
"""Each run has at least this many times the events of the next run. A larger number means fewer runs to search for a
history, and more copies of an event: about this many for each run that it is merged into. Changes only speed."""

FAINTEST = 60.0
"""Half-lives. The newest event of a history is decayed by at most this many, so that the events of an old history keep
their weights relative to each other; float32 products could not hold smaller weights."""


class History(NamedTuple):
    """The interactions of a user, oldest first.

    Attributes:
        items: item rows, int32 (n,).
        weights: float32 (n,), decayed to `EventLog.now`. Where the newest event is older than `FAINTEST` half-lives,
            they are decayed to that many half-lives after it instead.
        times: epoch seconds, int64 (n,), or None where the log has no timestamps.
    """

    items: NDArray[np.int32]
    weights: NDArray[np.float32]
    times: NDArray[np.int64] | None


@dataclass(frozen=True)
class EventLog:
    """A log that accepts events without sorting the whole again: a log-structured merge (O'Neil et al. 1996).

    Attributes:
        base: the events of the load, sorted; weights without decay.
        later: sorted runs of later events, oldest arrivals first, each far shorter than the run before; weights
            without decay. Events that are equal in user, time and position keep their order of arrival.
        half_life_days: the half-life of weights; see `DataConfig`.
    """

    base: Interactions
    later: tuple[Interactions, ...] = ()
    half_life_days: float | None = None

    def __len__(self) -> int:
        return len(self.base) + sum(map(len, self.later))

    @cached_property
    def now(self) -> int | None:
        """Epoch seconds of the newest event that is not far beyond the rest, or None without timestamps."""
        return now_of(self.newest)

    @property
    def newest(self) -> list[Times]:
        """The newest times of each run, from which `now` is found; empty without timestamps."""
        return [run.newest for run in self.all if run.newest is not None]

    @property
    def all(self) -> tuple[Interactions, ...]:
        """The base and the later runs."""
        return (self.base, *self.later)

    @property
    def has_far(self) -> bool:
        """Whether an event is far beyond the rest."""
        return any(part.n > 0 and part.newest[-1] > self.now for part in self.newest)

    def with_run(self, run: Interactions) -> EventLog:
        """A copy with a sorted run of new events; runs of similar size are merged."""
        later = [*self.later, run]
        while len(later) > 1 and len(later[-2]) < GROWTH * len(later[-1]):
            later[-2:] = [merge(*later[-2:])]
        runs = replace(self, later=tuple(later))
        if len(self.base) >= GROWTH * len(later[0]):
            return runs
        merged = runs._merge_first_run()
        _ = merged.base.offsets  # computed here, so that no request waits for them
        return merged

    def without(self, taken: Sequence[NDArray[np.bool_]]) -> EventLog:
        """A copy without the events that `taken` marks, one mask bool (len(run),) for each run of `all`."""
        base, *later = [run.at(~marks) if marks.any() else run for run, marks in zip(self.all, taken, strict=True)]
        return replace(self, base=base, later=tuple(run for run in later if len(run)))

    def whole(self, n_users: int, n_items: int) -> Interactions:
        """All events as one sorted log with this number of users and items; weights without decay."""
        log = self.base
        if self.later:
            log = replace(self, later=(reduce(merge, self.later),))._merge_first_run().base
        same = (log.n_users, log.n_items) == (n_users, n_items)
        return log if same else replace(log, n_users=n_users, n_items=n_items)

    def _merge_first_run(self) -> EventLog:
        """A copy in which the first later run is merged into the base."""
        return replace(self, base=merge(self.base, self.later[0]), later=self.later[1:])

    def history(self, user: int) -> History:
        """The events of user row `user`, oldest first; none for an unknown user (-1)."""
        stored = self.base.of_user(user) if user < self.base.n_users else slice(0, 0)
        pieces = [(run, found) for run in self.later if (found := _of_user(run, user)) is not None]
        if not pieces:
            times = None if self.base.times is None else self.base.times[stored]
            return History(self.base.items[stored], self._decay_history(self.base.weights[stored], times), times)
        parts = [(self.base, stored), *pieces]
        times, micros, positions = (_concat_column(parts, column) for column in ("times", "micros", "positions"))
        keys = [column for column in (positions, micros, times) if column is not None]
        order = np.lexsort(keys) if keys else slice(None)
        times = None if times is None else times[order]
        weights = np.concatenate([run.weights[at] for run, at in parts])[order]
        return History(
            np.concatenate([run.items[at] for run, at in parts])[order], self._decay_history(weights, times), times
        )

    def histories(self, users: NDArray[np.int32]) -> tuple[NDArray[np.int64], History]:
        """`history` of each of `users`, int32 (n,), behind each other: CSR offsets, int64 (n + 1,), and the events."""
        if self.later or (self.half_life_days is not None and self.base.times is not None):
            each = [self.history(user) for user in users.tolist()] or [self.history(-1)]
            ages = [one.times for one in each if one.times is not None]
            items, weights = (np.concatenate([getattr(one, name) for one in each]) for name in ("items", "weights"))
            offsets = offsets_of([one.items.size for one in each][: users.size])
            return offsets, History(items, weights, np.concatenate(ages) if ages else None)
        offsets, places = take_runs(self.base.offsets, np.where(users < self.base.n_users, users, -1))
        times = None if self.base.times is None else self.base.times[places]
        return offsets, History(self.base.items[places], self.base.weights[places], times)

    def decay(self, weights: NDArray[np.float32], times: NDArray[np.int64] | None) -> NDArray[np.float32]:
        """Decay weights (n,) of events at `times` to `now`; float32 rounds to 0 after about 149 half-lives."""
        if self.half_life_days is None or times is None or self.now is None:
            return weights
        return _halve(weights, halvings(times, self.now, self.half_life_days))

    def decay_factor(self, since: int | None) -> float:
        """The factor that decays a weight from time `since` to `now`; 1 where `now` is earlier, or without decay."""
        if self.half_life_days is None or self.now is None or since is None:
            return 1.0
        return float(np.exp2(-halvings(np.array(since), self.now, self.half_life_days)))

    def _decay_history(self, weights: NDArray[np.float32], times: NDArray[np.int64] | None) -> NDArray[np.float32]:
        """Decay the weights of one history as `History.weights` describes."""
        if self.half_life_days is None or times is None or self.now is None or not times.size:
            return weights
        ages = halvings(times, self.now, self.half_life_days)
        return _halve(weights, ages - max(0.0, ages.min() - FAINTEST))


def merge(first: Interactions, second: Interactions) -> Interactions:
    """Merge two sorted logs; among events equal in user, time and position, those of `first` come first."""
    if first.micros is not None or (second.micros is not None and second.micros.any()):
        first, second = _with_micros(first), _with_micros(second)
    else:
        first, second = replace(first, micros=None), replace(second, micros=None)
    places = _places(first, second)

    def merge_column(name: str) -> Any:
        columns = getattr(first, name), getattr(second, name)
        return None if columns[0] is None else np.insert(columns[0], places, columns[1])

    names = ("users", "items", "times", "weights", "micros", "positions")
    return replace(second, **{name: merge_column(name) for name in names})


def _places(first: Interactions, second: Interactions) -> NDArray[np.int64]:
    """The place in `first` of each event of `second`, after equal events, int64; one binary search for all events."""
    low = first.users.searchsorted(second.users, "left")
    high = first.users.searchsorted(second.users, "right")
    if not first.order:
        return high
    while (unsettled := low < high).any():
        middle = (low + high) // 2
        at = np.minimum(middle, len(first) - 1)
        is_later = np.zeros(len(second), np.bool_)
        for old, new in zip(first.order[::-1], second.order[::-1], strict=True):
            is_later = (old[at] > new) | ((old[at] == new) & is_later)
        low = np.where(unsettled & ~is_later, middle + 1, low)
        high = np.where(unsettled & is_later, middle, high)
    return low


def _of_user(run: Interactions, user: int) -> slice | None:
    """The slice of a user's events in a run, None where there are none; a run has no offsets over all users."""
    start = int(run.users.searchsorted(np.int32(user)))
    if start == len(run) or run.users[start] != user:
        return None
    return slice(start, int(run.users.searchsorted(np.int32(user), "right")))


def _concat_column(parts: list[tuple[Interactions, slice]], name: str) -> NDArray[Any] | None:
    """Concatenate a column of slices of several runs; runs without it give 0. None where no run has the column."""
    columns = [(getattr(run, name), at) for run, at in parts]
    if all(column is None for column, _ in columns):
        return None
    return np.concatenate(
        [np.zeros(at.stop - at.start, np.int32) if column is None else column[at] for column, at in columns]
    )


def _with_micros(log: Interactions) -> Interactions:
    if log.times is None or log.micros is not None:
        return log
    return replace(log, micros=np.zeros(len(log), np.int32))


def _halve(weights: NDArray[np.float32], times: NDArray[np.float64]) -> NDArray[np.float32]:
    """Halve each weight `times` times, computed in float64 and rounded once."""
    halved: NDArray[np.float32] = (weights.astype(np.float64) * np.exp2(-times)).astype(np.float32)
    return halved

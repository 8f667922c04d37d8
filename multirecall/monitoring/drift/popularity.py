"""The items of the events since a fit beside those before it, while an engine takes events."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Dataset
from multirecall.monitoring.drift.distances import Distance, Values, distance

FEWEST_EVENTS = 100
"""Events since the fit from which a distance is told; fewer show hardly anything but chance."""


class EventsSince:
    """The events that an engine takes after this is made, beside the newest ones before.

    Args:
        data: the data that the engine serves now.
        most: the most events on either side.
    """

    def __init__(self, data: Dataset, most: int) -> None:
        self._most = most
        self._since = data.now
        self._n_fitted = data.items.ids.fitted.size
        self._before = None if data.now is None else _newest(data, None, data.now, most)

    def compare(self, data: Dataset) -> tuple[float, Distance | None]:
        """The share of the events since then that are of items that the fit lacks, and how far their items are off.

        It reads the times of all events once. The share is NaN without events, and the distance None with fewer than
        100.

        Args:
            data: a later state of the data, of the same fit.
        """
        if self._since is None or self._before is None:
            return math.nan, None
        since = _newest(data, self._since, None, self._most)
        if not since.content.size:
            return math.nan, None
        unknown = float((since.content >= self._n_fitted).mean())
        if min(since.content.size, self._before.content.size) < FEWEST_EVENTS:
            return unknown, None
        return unknown, distance(self._before, since)


def _newest(data: Dataset, after: int | None, until: int | None, most: int) -> Values:
    """The items and users of the newest events after one time and up to another one."""
    times, items, users = [], [], []
    for run in data.log.all:
        if run.times is None:
            continue
        inside = np.ones(len(run), np.bool_)
        if after is not None:
            inside &= run.times > after
        if until is not None:
            inside &= run.times <= until
        places = np.flatnonzero(inside)
        times.append(run.times[places])
        items.append(run.items[places])
        users.append(run.users[places])
    when: NDArray[np.int64] = np.concatenate(times)
    start = max(0, when.size - most)
    chosen = np.argpartition(when, start)[start:] if start else np.arange(when.size)
    return Values(np.concatenate(items)[chosen].astype(np.int64), np.concatenate(users)[chosen])

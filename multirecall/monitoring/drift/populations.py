"""The events of a window as samples that can be compared: items, users, lengths of histories and features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multirecall.csr import take_runs
from multirecall.data import Categorical, Numeric, Table, Tags
from multirecall.data.features import Feature
from multirecall.data.interactions import SECONDS_PER_DAY
from multirecall.monitoring.drift.distances import Values
from multirecall.monitoring.drift.timeline import Timeline, Window

POPULARITY = "item popularity"
LENGTH = "history length"


@dataclass(frozen=True, slots=True)
class Population:
    """The events of a window.

    Attributes:
        n_events: the number of events.
        n_users: the number of users with an event.
        unknown_items: the share of events on items that had no event when the window began; after the fit, none in it.
        unknown_users: the same share of users.
        values: samples by name: the items of the events, the lengths of the users' histories at the end of the window,
            each item feature over the events and each user feature over the users. Texts are left out, and so are
            items and users that no table lists.
    """

    n_events: int
    n_users: int
    unknown_items: float
    unknown_users: float
    values: Mapping[str, Values]


class Populations:
    """Makes the populations of the windows of a timeline."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._item_firsts = timeline.firsts(timeline.items, len(timeline.item_tables[0]))
        self._user_firsts = timeline.firsts(timeline.users, len(timeline.user_tables[0]))

    def of(self, window: Window) -> Population:
        """The population of a window."""
        timeline = self._timeline
        events = timeline.inside(window)
        items, owners, times = timeline.items[events], timeline.users[events], timeline.times[events]
        users = np.unique(owners)
        starts = np.searchsorted(timeline.users, users)
        lasts = np.append(np.flatnonzero(np.diff(owners)), owners.size - 1) if owners.size else np.empty(0, np.int64)
        lengths = (events[lasts] - starts + 1).astype(np.float64)
        now, known = int(window.end > timeline.fit), min(window.start, timeline.fit)
        values = {POPULARITY: Values(items.astype(np.int64), owners), LENGTH: Values(lengths, users)}
        values |= _features("item", timeline.item_tables[now], items, owners, times)
        values |= _features("user", timeline.user_tables[now], users, users, np.full(users.size, window.end))
        return Population(
            events.size,
            users.size,
            _share(self._item_firsts[items] > known),
            _share(self._user_firsts[users] > known),
            values,
        )


def _features(
    of: str,
    table: Table,
    rows: NDArray[np.int32],
    owners: NDArray[np.int32],
    times: NDArray[np.int64],
) -> dict[str, Values]:
    listed = table.listed[rows]
    rows, owners, times = rows[listed], owners[listed], times[listed]
    found = {}
    for field in table.stored:
        values = _values(table.column(field, rows), owners, times)
        if values is not None:
            found[f"{of} {field}"] = values
    return found


def _values(feature: Feature, owners: NDArray[np.int32], times: NDArray[np.int64]) -> Values | None:
    """The values of a feature; times as ages in days. None for a text."""
    if isinstance(feature, Categorical):
        return Values(feature.codes.astype(np.int64) + 1, owners)
    if isinstance(feature, Numeric):
        ages = feature.kind == "datetime"
        return Values((times - feature.values) / SECONDS_PER_DAY if ages else feature.values, owners)
    if isinstance(feature, Tags):
        lengths = np.diff(feature.offsets)
        bare = owners[lengths == 0]
        _, places = take_runs(feature.offsets, np.arange(len(feature)))
        codes = np.concatenate([feature.codes[places].astype(np.int64) + 1, np.zeros(bare.size, np.int64)])
        return Values(codes, np.concatenate([np.repeat(owners, lengths), bare]))
    return None


def _share(marks: NDArray[np.bool_]) -> float:
    return float(marks.mean()) if marks.size else 0.0

"""What a source of history says about a user, read into rows and merged with what the dataset knows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Categorical, Dataset, Feature, History, Numeric, Table, Tags
from multirecall.engine.values import plain_value
from multirecall.errors import DataError
from multirecall.online import Recent
from multirecall.vocabulary import Id


@dataclass(frozen=True, slots=True)
class Latest:
    """A user's newest events, oldest first, and features, checked against a dataset.

    Attributes:
        items: item rows, int32 (n,).
        times: epoch seconds, int64 (n,).
        weights: float32 (n,), without decay.
        features: user features by field, as `plain_value` gives them.
        unknown: ids of events that the catalogue does not have.
    """

    items: NDArray[np.int32]
    times: NDArray[np.int64]
    weights: NDArray[np.float32]
    features: Mapping[str, Any]
    unknown: tuple[Id, ...]

    @property
    def key(self) -> tuple[Any, ...]:
        """All of it as plain values and arrays, for the key of the result cache."""
        return self.items, self.times, self.weights, dict(self.features), self.unknown


def read_latest(data: Dataset, recent: Recent) -> Latest:
    """Check and translate what a source says.

    Raises:
        MultirecallError, ValueError, TypeError: it is not what `Recent` says.
    """
    if not len(recent.items) == len(recent.times) == len(recent.events):
        raise DataError("a source of history gave items, times and events of different lengths; give one of each")
    times = np.asarray(recent.times, np.float64)
    if not (np.isfinite(times) & (np.abs(times) < 1e11)).all():
        raise DataError("a source of history gave a time that is none; give epoch seconds")
    factors = data.config.event_weights
    weights = np.array([1.0 if name is None else factors.get(name, 1.0) for name in recent.events], np.float32)
    ids = [data.items.ids.parse(one) if isinstance(one, str) else one for one in recent.items]
    rows, unknown, known = known_rows(ids, data.items)
    order = np.argsort(times[known], kind="stable")
    return Latest(
        rows[order],
        np.floor(times[known][order]).astype(np.int64),
        weights[known][order],
        {
            field: plain_value(feature, field, parse_value(feature, value), "features of the source of history")
            for field, value in recent.features.items()
            if (feature := data.users.features.get(field)) is not None
        },
        unknown,
    )


def known_rows(ids: Sequence[Id], table: Table) -> tuple[NDArray[np.int32], tuple[Id, ...], NDArray[np.bool_]]:
    """The rows of the ids that a table has, the other ids, and which of them it has; raises `IdTypeError`."""
    rows = table.ids.rows(ids)
    known = rows >= 0
    if known.all():
        return rows, (), known
    return rows[known], tuple(ids[place] for place in np.flatnonzero(~known).tolist()), known


def merge_history(data: Dataset, stored: History, latest: Latest) -> History:
    """A user's stored history and their latest events, oldest first.

    An event with the item and the second of a stored one is that event. Latest events do not move the dataset's `now`:
    those after it count as of now. Without times in the log, they come after the stored events.
    """
    items, weights = latest.items, data.log.decay(latest.weights, latest.times)
    if stored.times is None:
        return History(np.append(stored.items, items), np.append(stored.weights, weights), None)
    n = data.n_items
    new = ~np.isin(latest.times * n + items, stored.times * n + stored.items)
    times = np.append(stored.times, latest.times[new])
    order = np.argsort(times, kind="stable")
    return History(
        np.append(stored.items, items[new])[order], np.append(stored.weights, weights[new])[order], times[order]
    )


def parse_value(feature: Feature, value: Any) -> Any:
    """A value in the type of its feature, where a source has it as text; raises `ValueError` where it is none."""
    if not isinstance(value, str):
        return value
    if isinstance(feature, Tags):
        value = json.loads(value) if value.startswith("[") else [value]
        return [_parsed_category(feature, one) for one in value]
    if isinstance(feature, Categorical):
        return _parsed_category(feature, value)
    if isinstance(feature, Numeric) and feature.kind == "number":
        return float(value)
    return value


def _parsed_category(feature: Categorical | Tags, value: Any) -> Any:
    return int(value) if isinstance(value, str) and not feature.categories.holds_text else value

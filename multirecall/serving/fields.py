"""Item features beside candidates: from the table of the bundle, and from the store where the deployment says so.

The store is asked once for a request, within its deadline. Whatever it does, the table of the bundle answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Categorical, Dataset, Feature, Numeric, Tags
from multirecall.engine.latest import parse_value
from multirecall.engine.lookup import LONGEST_S
from multirecall.engine.where import known_field
from multirecall.engine.workers import Workers
from multirecall.result import StoreState
from multirecall.serving.store import RedisStore

Answer = tuple[StoreState, Sequence[Mapping[str, str]]]


@dataclass(frozen=True, slots=True)
class Fields:
    """Item features of candidates.

    Attributes:
        columns: by field, a value for each candidate; None for none.
        state: how the store answered; None: it was not asked.
    """

    columns: Mapping[str, Any]
    state: StoreState | None = None


class FieldReader:
    """Reads item features, those of `stored` from a store as well."""

    def __init__(self, store: RedisStore | None, stored: Sequence[str]) -> None:
        self._store, self._stored = store, frozenset(stored)
        self._workers: Workers[Answer] = Workers("fields")

    def read(self, ids: NDArray[Any], data: Dataset, fields: Sequence[str], left_ms: float | None) -> Fields:
        """The features `fields` of the items `ids`, (n,), within `left_ms` milliseconds; None: within a second.

        Raises:
            RequestError: the item table has no such field.
        """
        if not fields:
            return Fields({})
        rows = data.items.ids.rows(ids)
        columns = {field: _column(data, field, rows) for field in fields}
        wanted = [field for field in columns if field in self._stored]
        if self._store is None or not wanted:
            return Fields(columns)
        state, found = self._ask(self._store, ids.tolist(), wanted, left_ms)
        if state == "ok":
            for field in wanted:
                columns[field] = _overlaid(data.items.stored[field], columns[field], field, found)
        return Fields(columns, state)

    def close(self) -> None:
        """Let the threads end."""
        self._workers.close()

    def _ask(self, store: RedisStore, ids: list[Any], fields: list[str], left_ms: float | None) -> Answer:
        wait = LONGEST_S if left_ms is None else min(LONGEST_S, left_ms / 1e3)
        if wait <= 0:
            return "late", ()
        if self._workers.clogged:
            return "failed", ()
        call = self._workers.submit(partial(store.read_items, ids, fields), lambda _: ("failed", ()))
        try:
            return call.result(wait)
        except TimeoutError:
            self._workers.abandon(call)
            return "late", ()


def _column(data: Dataset, field: str, rows: NDArray[np.int32]) -> Any:
    known_field(field, data.items, "fields", "item")
    taken = data.items.column(field, rows)
    if isinstance(taken, Numeric):
        return taken.values.astype(taken.precision)  # orjson writes the fewest digits that are that number
    return [taken.value(place) for place in range(len(taken))]


def _overlaid(feature: Feature, column: Any, field: str, found: Sequence[Mapping[str, str]]) -> list[Any]:
    """A column in which what the store has takes the place of the bundle's value, unless it is of another kind."""
    values = [float(str(one)) for one in column] if isinstance(column, np.ndarray) else list(column)
    for place, own in enumerate(found):
        if field in own:
            try:
                values[place] = _value(feature, own[field])
            except (ValueError, TypeError, OverflowError):
                continue  # what another service wrote must not fail a request
    return values


def _value(feature: Feature, text: str) -> Any:
    """A text of the store in the kind of its feature; raises `ValueError` or `TypeError` where it is none."""
    value = float(text) if isinstance(feature, Numeric) else parse_value(feature, text)
    if isinstance(value, float) and not isfinite(value):
        raise ValueError(text)
    if isinstance(feature, Categorical | Tags):
        kind = str if feature.categories.holds_text else int
        if not all(type(one) is kind for one in (value if isinstance(value, list) else [value])):
            raise TypeError(text)
    return value

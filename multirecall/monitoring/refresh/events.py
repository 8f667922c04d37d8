"""Taking in exports that overlap: an event that the engine has already does not count twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multirecall.data import Change, ChangeKind, Dataset
from multirecall.data.files import find_files, read
from multirecall.data.horizon import MICROSECONDS
from multirecall.data.read_change import read_change
from multirecall.engine import Engine
from multirecall.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Intake:
    """What exports brought.

    Attributes:
        events: the number of events in them.
        known: how many of these the engine had already.
        new_items: the number of items that the item tables add.
        updated_items: the number of known items in them, whose features are updated.
    """

    events: int = 0
    known: int = 0
    new_items: int = 0
    updated_items: int = 0

    @property
    def new(self) -> int:
        """The number of events that the engine did not have."""
        return self.events - self.known


def take_in(engine: Engine, events: Any, items: Any) -> tuple[Intake, list[Change]]:
    """Make live changes of item tables and exports of events; returns what they brought, and the changes.

    Args:
        engine: takes the changes.
        events: a file, a glob pattern, a frame, or a list of these. Each file or frame is an export of its own.
        items: the same, of item tables.

    Raises:
        DataError: a file cannot be read, or a row is faulty. What was taken before it stays.
        BundleError: the journal cannot be written.
    """
    intake, taken = Intake(), []

    def take(change: Change) -> None:
        engine.take_changes([change])
        taken.append(change)

    for table in _exports(items, "items"):
        known, unknown = _read_items(engine.data, table)
        take(known)
        take(unknown)
        intake = replace(
            intake,
            new_items=intake.new_items + unknown.frame.height,
            updated_items=intake.updated_items + known.frame.height,
        )
    for export in _exports(events, "events"):
        given = read_change(engine.data, "add_interactions", export)
        fresh = without_known(engine.data, given)
        take(fresh)
        intake = replace(
            intake,
            events=intake.events + given.frame.height,
            known=intake.known + given.frame.height - fresh.frame.height,
        )
    return intake, taken


def without_known(data: Dataset, change: Change) -> Change:
    """An addition of events without those that `data` has already.

    Events are the same if they are equal in user, item, time, position and weight. An export that has an event `n`
    times, of which the data has `m`, brings `n - m` of them, the last ones.
    """
    frame = change.frame
    if frame.is_empty():
        return change
    keys = ["user_id", "item_id", *(name for name in ("timestamp", "position") if name in frame.columns), "weight"]
    weights = frame["weight"] if "weight" in frame.columns else pl.repeat(1.0, frame.height, eager=True)
    weights = weights.cast(pl.Float32).alias("weight")
    nth = frame.with_columns(weights).select(nth=pl.int_range(pl.len()).over(keys))["nth"]
    asked = frame.with_columns(
        weights, user_id=_rows(data.users.ids, frame["user_id"]), item_id=_rows(data.items.ids, frame["item_id"])
    ).select(keys)
    counts = asked.join(_counts(data, asked), on=keys, how="left", maintain_order="left")["count"].fill_null(0)
    return replace(change, frame=frame.filter(nth >= counts))


def _counts(data: Dataset, asked: pl.DataFrame) -> pl.DataFrame:
    """How often the log has each event, in rows, of the users and the time of those that are asked for."""
    users = np.zeros(data.n_users + 1, np.bool_)  # the last one is for unknown users, whose row is -1
    users[asked["user_id"].to_numpy()] = True
    since = None if "timestamp" not in asked.columns else int(asked["timestamp"].min() or 0) // MICROSECONDS  # type: ignore[arg-type]
    parts = []
    for run in data.log.all:
        events: NDArray[np.bool_] = users[run.users]
        if since is not None and run.times is not None:
            events &= run.times >= since
        found = run.at(events)
        columns: dict[str, Any] = {"user_id": found.users, "item_id": found.items, "weight": found.weights}
        if found.times is not None:
            micros = 0 if found.micros is None else found.micros
            columns["timestamp"] = found.times * MICROSECONDS + micros
        if found.positions is not None:
            columns["position"] = found.positions
        parts.append(pl.DataFrame(columns).select(asked.columns))
    return pl.concat(parts).group_by(asked.columns).agg(count=pl.len())


def _read_items(data: Dataset, table: Any) -> tuple[Change, Change]:
    """The known items of a table, whose features are updated, and the unknown ones. Removed items stay removed."""
    change = read_change(data, "add_items", table)
    known = pl.Series(data.items.ids.rows(change.frame["item_id"].to_numpy()) >= 0, dtype=pl.Boolean)

    def part(kind: ChangeKind, rows: pl.Series) -> Change:
        return Change(kind, change.frame.filter(rows), change.notes)

    return part("update_items", known), part("add_items", ~known)


def _exports(given: Any, what: str) -> Iterator[Any]:
    """Each file as a source, and each frame as it is."""
    parts = [] if given is None else given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    for one in parts:
        if isinstance(one, str | Path):
            yield from (read(file, what) for file in find_files(one, what))
        else:
            yield one


def _rows(known: Vocabulary, ids: pl.Series) -> pl.Series:
    return pl.Series(known.rows(ids.to_numpy()), dtype=pl.Int32)

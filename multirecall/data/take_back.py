"""Live changes that remove events, or users with all their events."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multirecall.data.changes import Changes
from multirecall.data.horizon import MICROSECONDS
from multirecall.data.interactions import Interactions
from multirecall.data.log import EventLog, merge
from multirecall.vocabulary import Vocabulary

if TYPE_CHECKING:
    from multirecall.data.dataset import Dataset


def without_events(data: Dataset, frame: pl.DataFrame) -> Changes:
    """Remove all events that equal a row of `frame` in all columns of `frame`."""
    wanted = frame.with_columns(
        user_id=_rows(data.users.ids, frame["user_id"]), item_id=_rows(data.items.ids, frame["item_id"])
    ).unique()
    wanted = wanted.filter((pl.col("user_id") >= 0) & (pl.col("item_id") >= 0))
    users = np.zeros(data.n_users, np.bool_)
    users[wanted["user_id"].to_numpy()] = True
    marks = []
    for run in data.log.all:
        taken = users[run.users]
        of_them = np.flatnonzero(taken)
        found = _columns(run.at(of_them), wanted.columns).join(wanted, on=wanted.columns, how="semi")
        taken[:] = False
        taken[of_them[found["event"].to_numpy()]] = True
        marks.append(taken)
    return _without_marked(data, marks)


def without_users(data: Dataset, frame: pl.DataFrame) -> Changes:
    """Remove users with their events and features; their rows stay in place without an id."""
    rows = np.unique(data.users.ids.rows(frame["user_id"].to_numpy()))
    rows = rows[rows >= 0]
    if not rows.size:
        return Changes(data)
    gone = np.zeros(data.n_users, np.bool_)
    gone[rows] = True
    changes = _without_marked(data, [gone[run.users] for run in data.log.all])
    return replace(changes, data=replace(changes.data, users=data.users.without(rows)), forgotten=rows)


def _without_marked(data: Dataset, marks: list[NDArray[np.bool_]]) -> Changes:
    """Remove the events that `marks` names, one mask bool (len(run),) for each run of the log."""
    taken = [run.at(gone) for run, gone in zip(data.log.all, marks, strict=True) if gone.any()]
    if not taken:
        return Changes(data)
    log: EventLog = data.log.without(marks)
    events: Interactions = reduce(merge, taken)
    events = replace(events, weights=log.decay(events.weights, events.times))
    return Changes(replace(data, log=log), shifted=log.now != data.now, taken=events)


def _rows(known: Vocabulary, ids: pl.Series) -> pl.Series:
    return pl.Series(known.rows(ids.to_numpy()))


def _columns(events: Interactions, names: list[str]) -> pl.DataFrame:
    """The columns `names` of events, and the position of each event in the column `event`."""
    columns = {"user_id": events.users, "item_id": events.items, "position": events.positions}
    if events.times is not None:
        micros = 0 if events.micros is None else events.micros
        columns["timestamp"] = events.times * MICROSECONDS + micros
    frame = pl.DataFrame({name: columns[name] for name in names})
    return frame.with_row_index("event")

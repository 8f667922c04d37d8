"""Applying a live change to a dataset. `read_change` has checked the change before."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multirecall.data.build import seconds_and_micros
from multirecall.data.changes import Change, Changes
from multirecall.data.frames import wrap
from multirecall.data.inference import feature
from multirecall.data.interactions import Interactions
from multirecall.data.take_back import without_events, without_users
from multirecall.errors import DataError

if TYPE_CHECKING:
    from multirecall.data.dataset import Dataset

_log = logging.getLogger("multirecall.data")


def apply_change(data: Dataset, change: Change) -> Changes:
    """Apply `change` to `data`; returns the next dataset and a list of what changed. `data` stays as it is.

    Unknown users and items of events are appended. `add_items` updates an item that is known already, and makes it
    retrievable again if it was removed. `update_items` and events do not make a removed item retrievable.

    Raises:
        DataError: the change was read for another dataset, whose log has other columns.
    """
    notes = tuple(note for note in change.notes if note not in data.notes)
    for note in notes:
        _log.warning(note)
    data = replace(data, notes=data.notes + notes) if notes else data
    if change.frame.is_empty():
        return Changes(data)
    if change.kind == "add_interactions":
        return _with_events(data, change.frame)
    if change.kind == "remove_items":
        return _without_items(data, change.frame)
    if change.kind == "remove_interactions":
        return without_events(data, change.frame)
    if change.kind == "remove_users":
        return without_users(data, change.frame)
    return _with_items(data, change)


def _with_events(data: Dataset, frame: pl.DataFrame) -> Changes:
    user_ids, item_ids = frame["user_id"].to_numpy(), frame["item_id"].to_numpy()
    users, items = data.users.with_ids(user_ids), data.items.with_ids(item_ids)
    times, micros, weights, stored = None, None, np.ones(frame.height, np.float32), data.log.base
    for column, needed in (("timestamp", stored.times is not None), ("position", stored.positions is not None)):
        if needed and column not in frame.columns:
            raise DataError(
                f"add_interactions: the change has no {column}, but the log has; the change belongs to other data"
            )
    if stored.times is not None:
        times, micros = seconds_and_micros(frame["timestamp"].to_numpy())
    if "weight" in frame.columns:
        weights = frame["weight"].to_numpy().astype(np.float32)
    events = Interactions(
        users.ids.rows(user_ids),
        items.ids.rows(item_ids),
        times,
        weights,
        len(users),
        len(items),
        stored.ordered,
        micros,
        frame["position"].to_numpy() if stored.positions is not None else None,
    )
    log = data.log.with_run(events.at(np.lexsort((*events.order[::-1], events.users))))
    return Changes(
        replace(data, log=log, users=users, items=items, removed=_pad(data.removed, len(items))),
        events.users,
        events.items,
        times,
        log.decay(events.weights, times),
        events.weights,
        log.decay_factor(data.now),
        log.now != data.now and (data.log.has_far or log.has_far),
        touched=np.arange(len(data.items), len(items), dtype=np.int32),
    )


def _with_items(data: Dataset, change: Change) -> Changes:
    items, frame = data.items, change.frame
    if change.kind == "add_items":
        items = items.with_ids(frame["item_id"].to_numpy())
    known = items.ids.rows(frame["item_id"].to_numpy()) >= 0
    frame = frame.filter(pl.Series(known))
    rows = items.ids.rows(frame["item_id"].to_numpy())
    source = wrap(frame, change.kind)
    features = {
        field: feature(source, field, column.kind) for field, column in items.stored.items() if field in frame.columns
    }
    items = items.with_features(rows, features)
    removed, revived = _pad(data.removed, len(items)), rows[:0]
    if removed is not None and change.kind == "add_items":
        revived = np.sort(rows[removed[rows]])
        removed = _mark(removed, revived, False)
    return Changes(replace(data, items=items, removed=removed), touched=np.sort(rows), revived=revived)


def _without_items(data: Dataset, frame: pl.DataFrame) -> Changes:
    rows = np.unique(data.items.ids.rows(frame["item_id"].to_numpy()))
    removed = np.zeros(data.n_items, np.bool_) if data.removed is None else data.removed
    gone = rows[(rows >= 0) & ~removed[rows]]
    return Changes(replace(data, removed=_mark(removed, gone, True)), removed=gone) if gone.size else Changes(data)


def _pad(removed: NDArray[np.bool_] | None, n: int) -> NDArray[np.bool_] | None:
    if removed is None or removed.size == n:
        return removed
    return np.append(removed, np.zeros(n - removed.size, np.bool_))


def _mark(removed: NDArray[np.bool_], rows: NDArray[np.int32], mark: bool) -> NDArray[np.bool_] | None:
    """A copy of the bitmap in which `rows` are set to `mark`; None where no bit is set any more."""
    if not rows.size:
        return removed
    marked = removed.copy()
    marked[rows] = mark
    return marked if marked.any() else None

"""Parsing the interaction log: the names of its columns, and a check of every cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import polars as pl

from multirecall.data import remedies
from multirecall.data.config import Column, DataConfig
from multirecall.data.ids import Type, read_ids
from multirecall.data.interactions import Interactions
from multirecall.data.source import Source, comma_hint
from multirecall.data.times import times
from multirecall.errors import DataError
from multirecall.validation import nearest

COLUMNS = ("user_id", "item_id", "timestamp", "position", "weight", "event")
ALIASES: dict[str, Column] = {"datetime": "timestamp", "rating": "weight"}
"""Other common names of columns, which are accepted where the own name is absent."""

LARGEST_WEIGHT = 1e9
"""The largest accepted event weight; float32 sums of squares of larger weights could overflow."""

LARGEST_POSITION = 2**53
"""The largest accepted position; float64 skips whole numbers above it."""


Reader = Callable[[Source, str], pl.Series]
"""A function that reads and checks the column of that name."""


def prepare_log(source: Source, columns: Mapping[Column, str], notes: list[str]) -> Source:
    """Rename the columns of a log to the names of this library; notes name the aliases that were accepted.

    Raises:
        DataError: the log has no rows, or lacks a column.
    """
    source = _rename_columns(source, columns)
    notes += [
        f"{source.name}: column {theirs!r} is read as {ours}"
        for ours, theirs in source.theirs.items()
        if ours not in columns
    ]
    source.require("user_id", "item_id")
    if source.frame.is_empty():
        raise DataError(f"{source.name}: the interaction log is empty; it needs at least one row")
    return source


def read_log(source: Source, config: DataConfig, types: Mapping[str, Type], notes: list[str]) -> pl.DataFrame:
    """Check and convert the log; rows stay in input order.

    Args:
        source: the result of `prepare_log`.
        config: the settings for reading.
        types: the type of the ids by column.
        notes: a list to which notes for the reader are added.

    Returns:
        Columns `user_id`, `item_id` (integer or String) and, where the log has them, `timestamp` (Int64 epoch
        microseconds), `position` (Int64) and `weight` (Float64, event weights applied).

    Raises:
        DataError: a cell is faulty; the message names file, column, row and remedy.
    """
    _name_ignored(source, COLUMNS, notes)
    readers: dict[str, Reader] = {name: partial(read_ids, type_=type_) for name, type_ in types.items()}
    return _parse(source, config, COLUMNS, readers, notes)


def read_events(
    source: Source, config: DataConfig, log: Interactions, id_readers: Mapping[str, Reader], notes: list[str]
) -> pl.DataFrame:
    """Check and convert events that are to be added to `log`; the result has the columns of `read_log`.

    Columns may have the caller's names or those of this library. If the log has both timestamps and positions, an
    event without a position comes last among the events of its time.

    Raises:
        DataError: a cell is faulty, or a column that the log has is missing; the message names file, column, row and
            remedy.
    """
    theirs = source.frame.columns
    source = _rename_columns(source, {ours: name for ours, name in config.columns.items() if name in theirs})
    by_time, by_position = log.times is not None, log.positions is not None
    needed = ["user_id", "item_id", "timestamp"] if by_time else ["user_id", "item_id"]
    for column in [*needed, "position"] if by_position and not by_time else needed:
        if column not in source.frame.columns:
            name = config.columns.get(column, column)  # type: ignore[call-overload]
            raise DataError(f"{source.name}: column {name!r} is missing, but the log has it; {nearest(name, theirs)}")
    absent = {"timestamp": not by_time, "position": not by_position}
    used = tuple(column for column in COLUMNS if not absent.get(column, False))
    _name_ignored(source, used, notes)
    events = _parse(source, config, used, id_readers, [])
    if by_position and "position" not in events.columns:
        events = events.with_columns(position=pl.lit(LARGEST_POSITION, pl.Int64))
    return events


def read_matches(
    source: Source, config: DataConfig, log: Interactions, id_readers: Mapping[str, Reader]
) -> pl.DataFrame:
    """Check the columns that identify events: `user_id`, `item_id` and, where given, `timestamp` and `position`.

    Raises:
        DataError: as `read_events`, and for any other column, because it identifies no event.
    """
    theirs = source.frame.columns
    source = _rename_columns(source, {ours: name for ours, name in config.columns.items() if name in theirs})
    source.require("user_id", "item_id")
    usable = {
        "user_id": True,
        "item_id": True,
        "timestamp": log.times is not None,
        "position": log.positions is not None,
    }
    names = [name for name, usable_here in usable.items() if usable_here]
    for column in source.frame.columns:
        if column not in names:
            raise DataError(
                f"{source.name}: column {column!r} does not identify events of the log; pass only {', '.join(names)}"
            )
    return _parse(source, config.model_copy(update={"event_weights": {}}), tuple(names), id_readers, [])


def _rename_columns(source: Source, mapped: Mapping[Column, str]) -> Source:
    present = source.frame.columns
    aliases: dict[Column, str] = {
        ours: alias
        for alias, ours in ALIASES.items()
        if alias in present and ours not in present and ours not in mapped and alias not in mapped.values()
    }
    return source.rename({**mapped, **aliases})


def _name_ignored(source: Source, used: Sequence[str], notes: list[str]) -> None:
    ignored = [column for column in source.frame.columns if column not in used]
    if ignored:
        notes.append(f"{source.name}: columns not used: {', '.join(ignored)}")


def _parse(
    source: Source, config: DataConfig, used: Sequence[str], id_readers: Mapping[str, Reader], notes: list[str]
) -> pl.DataFrame:
    readers: dict[str, Reader] = {"timestamp": _times, "position": _positions, "weight": _weights}
    for name in readers:
        source.refuse_mixed(name)
    columns = {
        name: read(source, name)
        for name, read in {**id_readers, **readers}.items()
        if name in source.frame.columns and name in used
    }
    factor = _event_factor(source, config, notes)
    if factor is not None:
        columns["weight"] = (factor * columns["weight"] if "weight" in columns else factor).alias("weight")
    return pl.DataFrame(columns)


def _times(source: Source, column: str) -> pl.Series:
    values = source.frame[column]
    source.refuse(column, values.is_null(), "the timestamp is null; fill it or drop the row")
    if values.dtype.is_float():
        source.refuse(column, ~values.is_finite(), "the timestamp is {value}; fill it or drop the row")
    moments = times(source, column)
    source.refuse(column, moments.is_null(), "the timestamp is {value}; fill it or drop the row")
    return moments


def _positions(source: Source, column: str) -> pl.Series:
    values = source.numbers(column, POSITION_REMEDY)
    whole = values.is_finite() & (values == values.floor()) & (values.abs() <= LARGEST_POSITION)
    source.refuse(column, ~whole.fill_null(False), "{value} is not a whole number; " + POSITION_REMEDY)
    return values.cast(pl.Int64)


POSITION_REMEDY = "positions count 0, 1, 2 … within a history"


def _weights(source: Source, column: str) -> pl.Series:
    values = source.numbers(column, WEIGHT_REMEDY)
    fits = values.is_between(0, LARGEST_WEIGHT)
    source.refuse(column, ~fits.fill_null(False), _no_weight)
    return values


def _no_weight(value: Any) -> str:
    return f"the weight is {value!r}; {comma_hint(value)}{WEIGHT_REMEDY}"


WEIGHT_REMEDY = f"it must be a number from 0 to {LARGEST_WEIGHT:g}, fill it or drop the row"


def _event_factor(source: Source, config: DataConfig, notes: list[str]) -> pl.Series | None:
    if not config.event_weights:
        return None
    if "event" not in source.frame.columns:
        raise DataError(
            f"{source.name}: event_weights are given, but there is no column 'event'; "
            f"map your column with {remedies.columns('event')}"
        )
    events = source.texts("event", "use names of events")
    present = set(events.unique().drop_nulls().to_list())
    absent = sorted(config.event_weights.keys() - present)
    if absent:
        notes.append(
            f"{source.name}: event_weights name {', '.join(absent)}, which no row has; "
            f"the events of the log are {', '.join(sorted(present)) or 'all null'}"
        )
    return events.replace_strict(config.event_weights, default=1.0, return_dtype=pl.Float64)

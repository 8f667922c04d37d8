"""The interaction log: every cell checked, rows sorted by user and time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from multirecall.data.config import Column, DataConfig
from multirecall.data.interactions import Interactions
from multirecall.data.source import TEXTS, Source
from multirecall.errors import DataError
from multirecall.validation import nearest
from multirecall.vocabulary import MAX_ID_CHARACTERS

COLUMNS = ("user_id", "item_id", "timestamp", "position", "weight", "event")
ALIASES: dict[str, Column] = {"datetime": "timestamp", "rating": "weight"}
"""Names of others that are taken for ours where ours is absent."""

LARGEST_EPOCH_SECONDS = 1e11
"""About the year 5138; a larger value counts milliseconds or a finer unit."""

LARGEST_WEIGHT = 1e9
"""float32 sums of squares of larger ones would overflow."""

LARGEST_POSITION = 2**53
"""Above it a Float64 skips whole numbers."""

INTEGERS = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)


def read_log(source: Source, config: DataConfig, notes: list[str]) -> pl.DataFrame:
    """The checked log, in input order.

    Returns:
        Columns `user_id`, `item_id` (integer or String) and, where the log has them, `timestamp` (Int64 epoch
        microseconds), `position` (Int64) and `weight` (Float64, event weights applied).

    Raises:
        DataError: names file, column, row and remedy.
    """
    source = _renamed(source, config.columns)
    source.require("user_id", "item_id")
    if source.frame.is_empty():
        raise DataError(f"{source.name}: the interaction log is empty; it needs at least one row")
    _name_ignored(source, COLUMNS, notes)
    return _parsed(source, config, COLUMNS, notes)


def read_events(source: Source, config: DataConfig, log: Interactions, notes: list[str]) -> pl.DataFrame:
    """Checked events that join `log`, in input order, in the form of `read_log`.

    Columns have the caller's names or ours. Where the log has positions beside timestamps, an event without one
    comes last among those of its time.

    Raises:
        DataError: names file, column, row and remedy.
    """
    theirs = source.frame.columns
    source = _renamed(source, {ours: name for ours, name in config.columns.items() if name in theirs})
    by_time, by_position = log.times is not None, log.positions is not None
    needed = ["user_id", "item_id", "timestamp"] if by_time else ["user_id", "item_id"]
    for column in [*needed, "position"] if by_position and not by_time else needed:
        if column not in source.frame.columns:
            name = config.columns.get(column, column)  # type: ignore[call-overload]
            raise DataError(f"{source.name}: column {name!r} is missing, which the log has; {nearest(name, theirs)}")
    absent = {"timestamp": not by_time, "position": not by_position}
    used = tuple(column for column in COLUMNS if not absent.get(column, False))
    _name_ignored(source, used, notes)
    events = _parsed(source, config, used, [])
    if by_position and "position" not in events.columns:
        events = events.with_columns(position=pl.lit(LARGEST_POSITION, pl.Int64))
    return events


def _renamed(source: Source, mapped: Mapping[Column, str]) -> Source:
    present = source.frame.columns
    aliases: dict[Column, str] = {
        ours: alias
        for alias, ours in ALIASES.items()
        if alias in present and ours not in present and ours not in mapped and alias not in mapped.values()
    }
    return source.renamed({**mapped, **aliases})


def _name_ignored(source: Source, used: Sequence[str], notes: list[str]) -> None:
    ignored = [column for column in source.frame.columns if column not in used]
    if ignored:
        notes.append(f"{source.name}: columns not used: {', '.join(ignored)}")


def _parsed(source: Source, config: DataConfig, used: Sequence[str], notes: list[str]) -> pl.DataFrame:
    parsers = {"user_id": ids, "item_id": ids, "timestamp": times, "position": _positions, "weight": _weights}
    columns = {
        name: parse(source, name) for name, parse in parsers.items() if name in source.frame.columns and name in used
    }
    factor = _event_factor(source, config, notes)
    if factor is not None:
        columns["weight"] = (factor * columns["weight"] if "weight" in columns else factor).alias("weight")
    return pl.DataFrame(columns)


def ids(source: Source, column: str) -> pl.Series:
    """An id column as integers or String.

    Raises:
        DataError: a null, or a type that is neither integer nor text.
    """
    values = source.frame[column]
    source.refuse(column, values.is_null(), "the id is null; fill it or drop the row")
    if values.dtype in INTEGERS:
        return values
    if values.dtype in TEXTS:
        texts = values.cast(pl.String)
        unfit = (texts.str.len_chars() > MAX_ID_CHARACTERS) | texts.str.contains("\0", literal=True)
        source.refuse(column, unfit, f"the id is longer than {MAX_ID_CHARACTERS} characters or holds NUL; shorten it")
        return _narrowed(texts) if source.untyped else texts
    raise DataError(
        f"{source.name}: column {column!r} has type {values.dtype}; ids are integers or text, cast the column"
    )


def times(source: Source, column: str) -> pl.Series:
    """A time column as Int64 epoch microseconds.

    Raises:
        DataError: null, NaN, infinite or unparseable values, or a unit finer than seconds.
    """
    values = source.frame[column]
    source.refuse(column, values.is_null(), "the timestamp is null; fill it or drop the row")
    if values.dtype == pl.Date or isinstance(values.dtype, pl.Datetime):
        return moments(source, column, values)
    if values.dtype in TEXTS:
        parsed = parsed_times(values.cast(pl.String))
        source.refuse(column, parsed.is_null(), "{value} is no time; write epoch seconds or ISO 8601, " + ISO_EXAMPLE)
        if isinstance(parsed.dtype, pl.Datetime):
            return parsed.to_physical().cast(pl.Int64)
        dates = values.cast(pl.String).str.contains(r"^(19|20)\d{6}$")
        source.refuse(
            column, dates, "{value} may be a date or epoch seconds; write the date as ISO 8601, " + ISO_EXAMPLE
        )
    seconds = source.numbers(column, "use datetimes or epoch seconds")
    source.refuse(column, ~seconds.is_finite(), "the timestamp is {value}; fill it or drop the row")
    source.refuse(
        column,
        seconds.abs() > LARGEST_EPOCH_SECONDS,
        "{value} is too large for epoch seconds, it looks like milliseconds or finer; divide it, or use datetimes",
    )
    if values.dtype.is_integer():
        return values.cast(pl.Int64) * 1_000_000
    return (seconds * 1e6).round().cast(pl.Int64)


def moments(source: Source, column: str, values: pl.Series) -> pl.Series:
    """Dates or datetimes as Int64 epoch microseconds, null where they are.

    Raises:
        DataError: one is thousands of years away, which polars can neither show nor convert.
    """
    per_second = 1 / 86_400 if values.dtype == pl.Date else TICKS[values.dtype.time_unit]  # type: ignore[attr-defined]
    seconds = values.to_physical().cast(pl.Float64) / per_second
    row = source.first(column, seconds.abs() > LARGEST_EPOCH_SECONDS)
    if row is not None:
        raise DataError(
            f"{source.place(column, row)}: the time is {seconds[row]:.6g} s from 1970, past the year 5138; "
            "mend the cell, or use null for a missing value"
        )
    return values.cast(pl.Datetime("us")).to_physical().cast(pl.Int64)


TICKS = {"ms": 1e3, "us": 1e6, "ns": 1e9}
"""Ticks of a datetime column in a second."""


def parsed_times(texts: pl.Series) -> pl.Series:
    """Texts as Float64 seconds where all are numbers, else as Datetime; null where one is neither."""
    numbers = texts.cast(pl.Float64, strict=False)
    if numbers.null_count() == texts.null_count():
        return numbers
    frame = texts.str.replace(r"[zZ]$", "+00:00").to_frame("text")
    local = [pl.col("text").str.to_datetime(form, time_unit="us", strict=False) for form in TIME_FORMATS]
    zoned = [
        pl.col("text").str.to_datetime(f"{form}%:z", time_unit="us", strict=False).dt.replace_time_zone(None)
        for form in ZONED_FORMATS
    ]
    return frame.select(pl.coalesce(*local, *zoned).alias(texts.name)).to_series()


ISO_EXAMPLE = "like 2026-01-31T12:00:00"
ZONED_FORMATS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f")
TIME_FORMATS = (*ZONED_FORMATS, "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d")


def _positions(source: Source, column: str) -> pl.Series:
    values = source.numbers(column, POSITION_REMEDY)
    whole = values.is_finite() & (values == values.floor()) & (values.abs() <= LARGEST_POSITION)
    source.refuse(column, ~whole.fill_null(False), "{value} is no whole number; " + POSITION_REMEDY)
    return values.cast(pl.Int64)


POSITION_REMEDY = "positions count 0, 1, 2 … within a history"


def _weights(source: Source, column: str) -> pl.Series:
    values = source.numbers(column, WEIGHT_REMEDY)
    fits = values.is_between(0, LARGEST_WEIGHT)
    source.refuse(column, ~fits.fill_null(False), "the weight is {value}; " + WEIGHT_REMEDY)
    return values


WEIGHT_REMEDY = f"it must be a number from 0 to {LARGEST_WEIGHT:g}, fill it or drop the row"


def _event_factor(source: Source, config: DataConfig, notes: list[str]) -> pl.Series | None:
    if not config.event_weights:
        return None
    if "event" not in source.frame.columns:
        raise DataError(
            f"{source.name}: event_weights are given, but there is no column 'event'; "
            "map yours with columns={'event': 'your name'}"
        )
    events = source.texts("event", "use names of events")
    present = set(events.unique().drop_nulls().to_list())
    absent = sorted(config.event_weights.keys() - present)
    if absent:
        notes.append(
            f"{source.name}: event_weights name {', '.join(absent)}, which no row has; "
            f"its events are {', '.join(sorted(present)) or 'all null'}"
        )
    return events.replace_strict(config.event_weights, default=1.0, return_dtype=pl.Float64)


def _narrowed(texts: pl.Series) -> pl.Series:
    """Text ids as Int64 where every one is the plain spelling of an integer, so that "007" stays text."""
    numbers = texts.cast(pl.Int64, strict=False)
    if numbers.null_count() == 0 and (numbers.cast(pl.String) == texts).all():
        return numbers
    return texts

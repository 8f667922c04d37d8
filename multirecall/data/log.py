"""The interaction log: every cell checked, rows sorted by user and time."""

from __future__ import annotations

import polars as pl

from multirecall.data.config import DataConfig
from multirecall.data.source import Source
from multirecall.errors import DataError

COLUMNS = ("user_id", "item_id", "timestamp", "position", "weight", "event")
LARGEST_EPOCH_SECONDS = 1e11
"""About the year 5138; a larger value counts milliseconds or a finer unit."""

INTEGERS = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)
TEXTS = (pl.String, pl.Categorical, pl.Enum)


def read_log(source: Source, config: DataConfig, notes: list[str]) -> pl.DataFrame:
    """The checked log, in input order.

    Returns:
        Columns `user_id`, `item_id` (integer or String) and, where the log has them, `timestamp` (Int64 epoch
        microseconds), `position` (Int64) and `weight` (Float64, event weights applied).

    Raises:
        DataError: names file, column, row and remedy.
    """
    source = source.renamed(config.columns, ("user_id", "item_id"))
    if source.frame.is_empty():
        raise DataError(f"{source.name}: the interaction log is empty; it needs at least one row")
    ignored = [column for column in source.frame.columns if column not in COLUMNS]
    if ignored:
        notes.append(f"{source.name}: columns not used: {', '.join(ignored)}")
    parsers = {"user_id": ids, "item_id": ids, "timestamp": times, "position": _positions, "weight": _weights}
    columns = {name: parse(source, name) for name, parse in parsers.items() if name in source.frame.columns}
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
    if values.dtype in TEXTS:
        return _narrowed(values.cast(pl.String)) if source.untyped else values.cast(pl.String)
    if values.dtype in INTEGERS:
        return values
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
        return values.cast(pl.Datetime("us")).to_physical().cast(pl.Int64)
    if values.dtype in TEXTS:
        parsed = parsed_times(values.cast(pl.String))
        source.refuse(
            column,
            parsed.is_null(),
            "{value} is no time; write epoch seconds or ISO 8601 like 2026-01-31T12:00:00",
        )
        if isinstance(parsed.dtype, pl.Datetime):
            return parsed.to_physical().cast(pl.Int64)
        values = parsed
    if not values.dtype.is_numeric():
        raise DataError(f"{source.name}: column {column!r} has type {values.dtype}; use datetimes or epoch seconds")
    seconds = values.cast(pl.Float64)
    source.refuse(column, ~seconds.is_finite(), "the timestamp is {value}; fill it or drop the row")
    source.refuse(
        column,
        seconds.abs() > LARGEST_EPOCH_SECONDS,
        "{value} is too large for epoch seconds, it looks like milliseconds or finer; divide it, or pass datetimes",
    )
    if values.dtype.is_integer():
        return values.cast(pl.Int64) * 1_000_000
    return (seconds * 1e6).round().cast(pl.Int64)


def parsed_times(texts: pl.Series) -> pl.Series:
    """Texts as Float64 seconds where all are numbers, else as Datetime; null where one is neither."""
    numbers = texts.cast(pl.Float64, strict=False)
    if numbers.null_count() == texts.null_count():
        return numbers
    frame = texts.to_frame("text")
    zoned = pl.col("text").str.to_datetime(time_unit="us", time_zone="UTC", strict=False).dt.replace_time_zone(None)
    candidates = [pl.col("text").str.to_datetime(form, time_unit="us", strict=False) for form in _TIME_FORMATS]
    return frame.select(pl.coalesce(*candidates, zoned).alias(texts.name)).to_series()


_TIME_FORMATS = (
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d",
)


def _positions(source: Source, column: str) -> pl.Series:
    values = source.frame[column].cast(pl.Int64, strict=False)
    source.refuse(column, values.is_null(), "{value} is no whole number; positions count 0, 1, 2 … in a history")
    return values


def _weights(source: Source, column: str) -> pl.Series:
    values = source.frame[column].cast(pl.Float64, strict=False)
    bad = values.is_null() | ~values.is_finite() | (values < 0)
    source.refuse(column, bad, "the weight is {value}; it must be a number ≥ 0, fill it or drop the row")
    return values


def _event_factor(source: Source, config: DataConfig, notes: list[str]) -> pl.Series | None:
    if not config.event_weights:
        return None
    if "event" not in source.frame.columns:
        raise DataError(
            f"{source.name}: event_weights are given, but there is no column 'event'; "
            "map yours with columns={'event': 'your name'}"
        )
    events = source.frame["event"].cast(pl.String)
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

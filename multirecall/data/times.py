"""Parsing times, for the cells of tables and for the values of filters.

A time becomes an integer number of microseconds since 1970-01-01 UTC. A time without an offset is in UTC.
"""

from __future__ import annotations

import re
from typing import Any

import polars as pl

from multirecall.data.source import TEXTS, Source
from multirecall.errors import DataError

MICROS = 1_000_000

LARGEST_EPOCH_SECONDS = 1e11
"""Seconds, about the year 5138; a larger value is in milliseconds or a finer unit."""

ISO_EXAMPLE = "like 2026-01-31T12:00:00"
ISO = (
    r"^(?P<day>\d{4}-\d{2}-\d{2})"
    r"(?:[Tt ](?P<hour>\d{2})(?::(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?)?"
    r" ?(?:[Zz]|UTC|(?P<sign>[+-])(?P<hours>\d{2})(?::?(?P<minutes>\d{2})(?::?(?P<seconds>\d{2})(?:\.\d+)?)?)?)?)?$"
)
"""ISO 8601 in its extended form, as Python, pandas and PostgreSQL write it: any offset, any precision."""

LIMITS = {"hour": 23, "minute": 59, "second": 59, "hours": 23, "minutes": 59, "seconds": 59}
TICKS = {"ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
"""Ticks per second of a datetime column, by its unit."""


def parse_times(texts: pl.Series) -> pl.Series:
    """Parse ISO 8601 texts into epoch microseconds, Int64; null where a text is not a time.

    Digits below a microsecond are cut off.
    """
    parts = texts.str.strip_chars().str.extract_groups(ISO).struct.unnest()
    numbers = parts.select(
        pl.col("day").str.to_date("%Y-%m-%d", strict=False).cast(pl.Int64) * 86_400,
        pl.when(pl.col("day") >= "0001").then(0).alias("year"),
        pl.col("fraction").str.pad_end(6, "0").str.slice(0, 6).cast(pl.Int64).fill_null(0),
        pl.col("sign").replace_strict({"+": 1, "-": -1}, default=0, return_dtype=pl.Int64),
        *(
            pl.when(pl.col(name).is_null()).then(0).otherwise(_at_most(name, limit)).alias(name)
            for name, limit in LIMITS.items()
        ),
    )
    offset = pl.col("sign") * (pl.col("hours") * 3_600 + pl.col("minutes") * 60 + pl.col("seconds"))
    local = pl.col("day") + pl.col("year") + pl.col("hour") * 3_600 + pl.col("minute") * 60 + pl.col("second")
    return numbers.select(((local - offset) * MICROS + pl.col("fraction")).alias(texts.name)).to_series()


def _at_most(name: str, limit: int) -> pl.Expr:
    number = pl.col(name).cast(pl.Int64)
    return pl.when(number <= limit).then(number)


def complaint(text: Any) -> str:
    """Why `parse_times` does not accept a value, and what to write instead."""
    text = str(text).strip()
    if re.match(r"^\d{4}-?W\d", text):
        why = "is a week date"
    elif re.match(r"^\d{4}-\d{3}\b", text):
        why = "is a date by the day of the year"
    elif re.match(r"^\d{8}T?\d*", text):
        why = "is a time in compact form"
    elif re.search(r"[T ]24(:|$)", text):
        why = "has hour 24, which is hour 0 of the next day"
    elif re.search(r":\d\d:60", text):
        why = "has a leap second, which epoch time does not count"
    elif re.match(ISO, text):
        why = "is not a date of the calendar"
    else:
        return f"{text!r} is not a time; write epoch seconds or ISO 8601, {ISO_EXAMPLE}"
    return f"{text!r} {why}; write it as {ISO_EXAMPLE.removeprefix('like ')}"


def times(source: Source, column: str) -> pl.Series:
    """Convert a column of datetimes, dates, epoch seconds, or texts of these to epoch microseconds, Int64.

    Null and NaN become null.

    Raises:
        DataError: a cell is not a time, or is a number that may be a compact date or a unit finer than seconds.
    """
    values = source.frame[column]
    if values.dtype == pl.Date or isinstance(values.dtype, pl.Datetime):
        return _of_calendar(source, column, values)
    if values.dtype in TEXTS:
        texts = values.cast(pl.String).str.strip_chars()
        if texts.cast(pl.Float64, strict=False).null_count() > texts.null_count():
            moments = parse_times(texts)
            source.refuse(column, moments.is_null() & texts.is_not_null(), complaint)
            return _within_reach(source, column, moments, MICROS)
    seconds = source.numbers(column, "use datetimes or epoch seconds")
    source.refuse(column, seconds.is_infinite(), "the time is {value}; use null for a missing value")
    source.refuse(column, seconds.abs() > LARGEST_EPOCH_SECONDS, _too_large)
    dates = compact_dates(seconds)
    if 2 * int(dates.sum() or 0) >= seconds.drop_nans().count() > 0:
        source.refuse(column, dates, _compact)
    if values.dtype.is_integer():
        return values.cast(pl.Int64) * MICROS
    return (seconds.fill_nan(None) * MICROS).round().cast(pl.Int64)


def compact_dates(seconds: pl.Series) -> pl.Series:
    """Whether each number reads as a date of the years 1900 to 2100, like 20260131; bool (n,).

    As epoch seconds these numbers are days of the year 1970.
    """
    numbers = seconds.fill_null(0.0).to_numpy()
    near = (numbers >= 19_000_101) & (numbers <= 21_001_231)
    if not near.any():
        return pl.Series(near)
    digits = seconds.set(pl.Series(~(near & (numbers % 1 == 0))), None).cast(pl.Int64).cast(pl.String)
    return digits.str.to_date("%Y%m%d", strict=False).is_not_null()


def _compact(value: Any) -> str:
    return f"{value!r} may be a date or epoch seconds; write the date as ISO 8601, {ISO_EXAMPLE}"


def _too_large(value: Any) -> str:
    if re.match(r"^(19|20)\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])([01]\d|2[0-3])[0-5]\d([0-5]\d)?(\.0)?$", str(value)):
        return _compact(value)
    return (
        f"{value!r} is too large for epoch seconds, it looks like milliseconds or a finer unit; divide it, or use "
        "datetimes"
    )


def number_complaint(seconds: float) -> str | None:
    """Why a number cannot be epoch seconds; None where it can."""
    if abs(seconds) > LARGEST_EPOCH_SECONDS:
        return _too_large(seconds)
    return _compact(seconds) if compact_dates(pl.Series([float(seconds)]))[0] else None


def _of_calendar(source: Source, column: str, values: pl.Series) -> pl.Series:
    """Convert dates or datetimes by their stored integers, which needs no knowledge of their time zone."""
    ticks = values.to_physical().cast(pl.Int64)
    if values.dtype == pl.Date:
        return _within_reach(source, column, ticks, 1 / 86_400) * (86_400 * MICROS)
    per_second = TICKS[values.dtype.time_unit]  # type: ignore[attr-defined]
    ticks = _within_reach(source, column, ticks, per_second)
    return ticks * (MICROS // per_second) if per_second < MICROS else ticks // (per_second // MICROS)


def _within_reach(source: Source, column: str, ticks: pl.Series, per_second: float) -> pl.Series:
    """Return the ticks; refuse times past the year 5138, which polars may neither show nor convert."""
    seconds = ticks.cast(pl.Float64) / per_second
    row = source.first(column, seconds.abs() > LARGEST_EPOCH_SECONDS)
    if row is not None:
        raise DataError(
            f"{source.place(column, row)}: the time is {seconds[row]:.6g} s from 1970, past the year 5138; "
            "correct the cell, or use null for a missing value"
        )
    return ticks

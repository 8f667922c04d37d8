"""Reading tables from memory: frames of polars, pandas or Arrow, and rows given as mappings."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from multirecall.data.source import Source
from multirecall.errors import DataError

ANY_ZONE = "POLARS_IGNORE_TIMEZONE_PARSE_ERROR"
ONE_TYPE = "give the column values of one type, and integers beyond 64 bits as text"


def wrap(frame: Any, what: str) -> Source:
    """Convert a polars, pandas or Arrow frame to a source; `what` names it in errors.

    Raises:
        DataError: `frame` is of another type, or a column cannot be converted.
    """
    converted = in_utc(_as_polars(frame, what))
    return Source(converted, ((what, converted.height),))


def wrap_rows(rows: Sequence[Any], what: str, ids: Collection[str]) -> Source:
    """Convert rows, each a mapping from column to value, to a source; a missing value is null.

    A lone surrogate, as in a text that was cut inside a character, becomes a question mark. In the columns `ids` it is
    an error.

    Raises:
        DataError: a row is not a mapping, an id holds a lone surrogate, or the values of a column differ in type.
    """
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise DataError(
                f"{what}: row {number} (the first is 0): got {row!r}; pass mappings from column to value, or a frame"
            )
    _refuse_broken_ids(rows, what, ids)
    plain = [{column: _plain(value) for column, value in row.items()} for row in rows]
    _refuse_mixed(plain, what)
    names = dict.fromkeys(column for row in plain for column in row)
    columns = [_column(name, [row.get(name) for row in plain], what) for name in names]
    return Source(in_utc(pl.DataFrame(columns)), ((what, len(plain)),))


def is_frame(value: Any) -> bool:
    """Whether `value` is a polars, pandas or Arrow frame, not a list or a single column."""
    return isinstance(value, pl.LazyFrame) or hasattr(value, "columns") or hasattr(value, "column_names")


def in_utc(frame: pl.DataFrame) -> pl.DataFrame:
    """Convert datetimes with a time zone to the same moments in UTC, without a zone."""
    zoned = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.Datetime) and dtype.time_zone]
    units = {name: frame.schema[name].time_unit for name in zoned}  # type: ignore[attr-defined]
    return frame.with_columns(frame[name].to_physical().cast(pl.Datetime(units[name])) for name in zoned)


@contextmanager
def any_time_zone() -> Iterator[None]:
    """Let polars accept time zones that it does not know, such as +05:30, within the block."""
    before = os.environ.get(ANY_ZONE)
    os.environ[ANY_ZONE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[ANY_ZONE]
        else:
            os.environ[ANY_ZONE] = before


def _column(name: str, values: list[Any], what: str) -> pl.Series:
    try:
        return pl.DataFrame({name: values}, infer_schema_length=None).to_series()
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as fault:
        raise DataError(f"{what}: column {name!r} cannot be read ({fault}); {ONE_TYPE}") from None


def _plain(value: Any) -> Any:
    """A cell with numpy scalars and arrays converted to Python values, and lone surrogates to question marks."""
    if isinstance(value, np.datetime64):
        return value.astype("datetime64[us]").item()
    if isinstance(value, np.float16 | np.float32):
        return float(str(value))
    if isinstance(value, np.generic | np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, str):
        return value if value.isascii() else value.encode(errors="replace").decode()
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _refuse_broken_ids(rows: Sequence[Mapping[str, Any]], what: str, ids: Collection[str]) -> None:
    """Refuse ids that UTF-8 cannot hold; with question marks, two different ids could become equal."""
    for number, row in enumerate(rows):
        for column in ids:
            value = row.get(column)
            if isinstance(value, str) and _plain(value) != value:
                raise DataError(
                    f"{what}: column {column!r}, row {number} (the first is 0): the id {value!r} holds a lone "
                    "surrogate, which UTF-8 cannot hold; give the item or user another id"
                )


def _refuse_mixed(rows: Sequence[Mapping[str, Any]], what: str) -> None:
    """Refuse a column with values of different types: polars would turn 7 into "7", or a datetime into an integer."""
    first: dict[str, tuple[type, Any]] = {}
    for number, row in enumerate(rows):
        for column, value in row.items():
            if value is None:
                continue
            sort = next((one for one in SORTS if isinstance(value, one)), object)
            sort_before, before = first.setdefault(column, (sort, value))
            if sort is not sort_before:
                raise DataError(
                    f"{what}: column {column!r}, row {number} (the first is 0): {value!r} is {type(value).__name__}, "
                    f"but {before!r} in an earlier row is {type(before).__name__}; give the column values of one type"
                )


SORTS: tuple[Any, ...] = (str, bool, int | float | Decimal, datetime, date, list | tuple)


def _broken_text(fault: UnicodeEncodeError) -> str:
    """The complaint about a text that UTF-8 cannot hold."""
    return (
        f"holds a lone surrogate in {fault.object[:40]!r}, which UTF-8 cannot hold; "
        "correct such texts, e.g. with text.encode(errors='replace').decode()"
    )


def _as_polars(frame: Any, what: str) -> pl.DataFrame:
    module = type(frame).__module__.partition(".")[0]
    try:
        if isinstance(frame, pl.DataFrame):
            return frame
        if isinstance(frame, pl.LazyFrame):
            return frame.collect()
        if module == "pandas":
            return _of_pandas(frame, what)
        if hasattr(frame, "__arrow_c_stream__"):
            with any_time_zone():
                return pl.DataFrame(frame)
    except ImportError as fault:
        raise DataError(f"{what}: a pandas frame needs pyarrow ({fault}): pip install pyarrow") from None
    except UnicodeEncodeError as fault:
        raise DataError(f"{what}: the {module} frame {_broken_text(fault)}") from None
    except (pl.exceptions.PolarsError, TypeError, ValueError) as fault:
        raise DataError(f"{what}: the {module} frame cannot be converted: {fault}; {ONE_TYPE}") from None
    raise DataError(f"{what}: got {type(frame).__name__}; pass a polars, pandas or pyarrow frame, or use Dataset.load")


def _of_pandas(frame: Any, what: str) -> pl.DataFrame:
    """Convert a pandas frame column by column, so that an error names the column; arrays in cells become lists."""
    columns = {}
    for name in frame.columns:
        values = frame[name]
        if getattr(values, "ndim", 1) != 1:
            raise DataError(f"{what}: two columns are named {name!r}; rename one of them")
        if values.dtype == object:
            values = values.map(lambda cell: cell.tolist() if isinstance(cell, np.ndarray) else cell)
        try:
            with any_time_zone():
                columns[str(name)] = pl.from_pandas(values)
        except UnicodeEncodeError as fault:
            raise DataError(f"{what}: column {str(name)!r} {_broken_text(fault)}") from None
        except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError, RuntimeError) as fault:
            raise DataError(f"{what}: column {str(name)!r} cannot be read ({fault}); {ONE_TYPE}") from None
    return pl.DataFrame(columns)

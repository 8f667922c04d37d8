"""Frames from files or from the caller's memory, which remember where their rows came from."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import polars as pl

from multirecall.data.config import Column
from multirecall.errors import DataError
from multirecall.validation import nearest

TEXTS = (pl.String, pl.Categorical, pl.Enum)
FORMATS = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv"}


@dataclass(frozen=True, slots=True)
class Source:
    """A frame and where its rows came from.

    Attributes:
        frame: the rows.
        parts: the files, or the caller's name for a frame, with their heights.
        untyped: every cell is text, as in CSV.
    """

    frame: pl.DataFrame
    parts: tuple[tuple[str, int], ...]
    untyped: bool = False

    @property
    def name(self) -> str:
        """The files, shortened to the first and a count."""
        others = f" and {len(self.parts) - 1} more" if len(self.parts) > 1 else ""
        return f"{self.parts[0][0]}{others}"

    def place(self, column: str, row: int) -> str:
        """How an error names a cell: file, column and 0-based row within that file."""
        ends = list(accumulate(height for _, height in self.parts))
        part = next(part for part, end in enumerate(ends) if row < end)
        name, height = self.parts[part]
        return f"{name}: column {column!r}, row {row - ends[part] + height} (the first is 0)"

    def first(self, column: str, bad: pl.Series) -> int | None:
        """The row of the first true value of `bad`, or None."""
        return None if not bad.any() else int(bad.fill_null(False).arg_max() or 0)

    def refuse(self, column: str, bad: pl.Series, complaint: str) -> None:
        """Raise a `DataError` for the first row where `bad` holds; `{value}` in `complaint` is its value."""
        row = self.first(column, bad)
        if row is not None:
            value = self.frame[column][row]
            raise DataError(f"{self.place(column, row)}: {complaint.replace('{value}', repr(value))}")

    def renamed(self, columns: Mapping[Column, str]) -> Source:
        """The source in which our names stand for the caller's `columns` (ours to theirs).

        Raises:
            DataError: it has no column of the caller's name.
        """
        if not columns:
            return self
        for ours, theirs in columns.items():
            if theirs not in self.frame.columns:
                raise DataError(
                    f"{self.name}: columns maps {ours!r} to {theirs!r}, which is missing; "
                    f"{nearest(theirs, self.frame.columns)}"
                )
        others = [name for name in self.frame.columns if name not in {*columns, *columns.values()}]
        mapped = [pl.col(theirs).alias(ours) for ours, theirs in columns.items()]
        return replace(self, frame=self.frame.select(*others, *mapped))

    def require(self, *columns: str) -> None:
        """Refuse a source that lacks one of `columns`.

        Raises:
            DataError: names the column and the nearest one.
        """
        for column in columns:
            if column not in self.frame.columns:
                raise DataError(
                    f"{self.name}: column {column!r} is missing; {nearest(column, self.frame.columns)}. "
                    f"Map yours with columns={{{column!r}: 'your name'}}"
                )

    def numbers(self, column: str, remedy: str) -> pl.Series:
        """A column as Float64; null where it is null or text that is no number.

        Raises:
            DataError: the column holds neither numbers nor text.
        """
        values = self.frame[column]
        if values.dtype.is_numeric():
            return values.cast(pl.Float64)
        if values.dtype in TEXTS:
            return values.cast(pl.String).cast(pl.Float64, strict=False)
        raise DataError(f"{self.name}: column {column!r} has type {values.dtype}, which holds no numbers; {remedy}")

    def texts(self, column: str, remedy: str) -> pl.Series:
        """A column as String; numbers, times and booleans are spelled out.

        Raises:
            DataError: the column holds something without a spelling, such as lists.
        """
        values = self.frame[column]
        if values.dtype.is_nested() or values.dtype in (pl.Binary, pl.Object):
            raise DataError(f"{self.name}: column {column!r} has type {values.dtype}, which is no text; {remedy}")
        return values.cast(pl.String)


def read(path: str | Path | Sequence[str | Path], what: str) -> Source:
    """Read parquet or CSV files, given as paths or glob patterns.

    CSV cells come as text; each column is parsed by whoever knows its meaning.

    Raises:
        DataError: nothing matches, a file cannot be read, or files have different columns.
    """
    patterns = [path] if isinstance(path, str | Path) else list(path or [])
    if not patterns:
        raise DataError(f"{what}: no file is given; pass a path, a glob pattern or a list of them")
    files: list[str] = []
    for pattern in map(str, patterns):
        is_pattern = glob.has_magic(pattern) and not Path(pattern).exists()
        matches = sorted(glob.glob(pattern, recursive=True)) if is_pattern else [pattern]
        if not matches:
            raise DataError(f"{what}: no file matches {pattern!r}; check the pattern")
        files += matches
    frames = [_read_file(file, what) for file in files]
    for file, frame in zip(files, frames, strict=True):
        if frame.columns != frames[0].columns:
            raise DataError(
                f"{file}: its columns {frame.columns} differ from those of {files[0]}, {frames[0].columns}; "
                "give all files the same columns"
            )
    try:
        joined = pl.concat(frames, how="vertical_relaxed")
    except pl.exceptions.PolarsError as fault:
        raise DataError(f"{files[0]} and {len(files) - 1} more: column types differ between files: {fault}") from None
    heights = tuple((file, frame.height) for file, frame in zip(files, frames, strict=True))
    return Source(joined, heights, untyped=all(file.lower().endswith(".csv") for file in files))


def wrap(frame: Any, what: str) -> Source:
    """A polars, pandas or Arrow frame of the caller as a source.

    Raises:
        DataError: it is none of these.
    """
    converted = _as_polars(frame, what)
    return Source(converted, ((what, converted.height),))


def wrap_rows(rows: Sequence[Any], what: str) -> Source:
    """Rows of the caller, each a mapping from column to value, as a source; a missing value is null.

    Raises:
        DataError: a row is no mapping, or values of a column differ in type.
    """
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise DataError(
                f"{what}: row {number} (the first is 0): got {row!r}; pass mappings from column to value, or a frame"
            )
    _refuse_mixed(rows, what)
    try:
        frame = pl.DataFrame([dict(row) for row in rows], infer_schema_length=None)
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as fault:
        raise DataError(f"{what}: the rows make no columns ({fault}); give each column values of one type") from None
    return Source(frame, ((what, frame.height),))


def _refuse_mixed(rows: Sequence[Mapping[str, Any]], what: str) -> None:
    """Refuse text or truth values beside others in a column: polars would turn 7 into "7"."""
    first: dict[str, tuple[type, Any]] = {}
    for number, row in enumerate(rows):
        for column, value in row.items():
            if value is None:
                continue
            kind = str if isinstance(value, str) else bool if isinstance(value, bool) else object
            kind_before, before = first.setdefault(column, (kind, value))
            if kind is not kind_before:
                raise DataError(
                    f"{what}: column {column!r}, row {number} (the first is 0): {value!r} is {type(value).__name__}, "
                    f"but {before!r} before it is {type(before).__name__}; give the column values of one type"
                )


def is_frame(value: Any) -> bool:
    """Whether `value` is a polars, pandas or Arrow frame, and no list or column."""
    return isinstance(value, pl.LazyFrame) or hasattr(value, "columns") or hasattr(value, "column_names")


def _read_file(file: str, what: str) -> pl.DataFrame:
    kind = FORMATS.get(Path(file).suffix.lower())
    if kind is None:
        raise DataError(f"{what}: {file}: unknown file type; use {', '.join(sorted(FORMATS))}")
    try:
        if kind == "parquet":
            return pl.read_parquet(file, glob=False)
        return pl.read_csv(file, infer_schema=False, glob=False)
    except FileNotFoundError:
        raise DataError(f"{what}: {file}: no such file; check the path") from None
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, UnicodeError) as fault:
        raise DataError(f"{what}: {file}: cannot be read as {kind}: {fault}") from None


def _as_polars(frame: Any, what: str) -> pl.DataFrame:
    if isinstance(frame, pl.DataFrame):
        return frame
    if isinstance(frame, pl.LazyFrame):
        return frame.collect()
    module = type(frame).__module__.partition(".")[0]
    try:
        if module == "pandas":
            return pl.from_pandas(frame)
        if hasattr(frame, "__arrow_c_stream__"):
            return pl.DataFrame(frame)
    except ImportError as fault:
        raise DataError(f"{what}: a pandas frame needs pyarrow ({fault}): pip install pyarrow") from None
    except (pl.exceptions.PolarsError, TypeError, ValueError) as fault:
        raise DataError(f"{what}: the {module} frame cannot be converted: {fault}") from None
    raise DataError(f"{what}: got {type(frame).__name__}; pass a polars, pandas or pyarrow frame, or use Dataset.load")

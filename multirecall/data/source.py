"""A frame that remembers where its rows came from, and names the place of a fault."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

import polars as pl

from multirecall.data import remedies
from multirecall.data.config import Column
from multirecall.errors import DataError
from multirecall.validation import nearest

TEXTS = (pl.String, pl.Categorical, pl.Enum)


@dataclass(frozen=True, slots=True)
class Source:
    """A frame and where its rows came from.

    Attributes:
        frame: the rows.
        parts: the files, or the caller's name for a frame, with their heights.
        untyped: every cell is text, as in CSV.
        theirs: the caller's name of a column that is renamed here.
        mixed: columns whose type differs between the parts, with the types; all their cells are text here.
        notes: what the reader should know about the files.
    """

    frame: pl.DataFrame
    parts: tuple[tuple[str, int], ...]
    untyped: bool = False
    theirs: Mapping[str, str] = field(default_factory=dict)
    mixed: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The files, shortened to the first and a count."""
        others = f" and {len(self.parts) - 1} more" if len(self.parts) > 1 else ""
        return f"{self.parts[0][0]}{others}"

    def column(self, column: str) -> str:
        """How an error names a column: file and the caller's name for it."""
        return f"{self.name}: column {self.theirs.get(column, column)!r}"

    def place(self, column: str, row: int) -> str:
        """How an error names a cell: file, column and 0-based row within that file."""
        ends = list(accumulate(height for _, height in self.parts))
        part = next(part for part, end in enumerate(ends) if row < end)
        name, height = self.parts[part]
        theirs = self.theirs.get(column, column)
        return f"{name}: column {theirs!r}, row {row - ends[part] + height} (the first is 0)"

    def first(self, column: str, bad: pl.Series) -> int | None:
        """The row of the first true value of `bad`, or None."""
        return None if not bad.any() else int(bad.fill_null(False).arg_max() or 0)

    def refuse(self, column: str, bad: pl.Series, complaint: str | Callable[[Any], str]) -> None:
        """Raise a `DataError` for the first row where `bad` holds.

        Args:
            column: of the cell.
            bad: bool or null, one a row.
            complaint: what is wrong with it, as a function of its value, or as text in which `{value}` stands for it.
        """
        row = self.first(column, bad)
        if row is not None:
            value = self.frame[column][row]
            text = complaint.replace("{value}", repr(value)) if isinstance(complaint, str) else complaint(value)
            raise DataError(f"{self.place(column, row)}: {text}")

    def rename(self, columns: Mapping[Column, str]) -> Source:
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
        ours_of = {theirs: ours for ours, theirs in columns.items()}
        return replace(
            self,
            frame=self.frame.select(*others, *mapped),
            theirs={**self.theirs, **{str(ours): theirs for ours, theirs in columns.items()}},
            mixed={ours_of.get(name, name): types for name, types in self.mixed.items()},
        )

    def require(self, *columns: str) -> None:
        """Refuse a source that lacks one of `columns`.

        Raises:
            DataError: names the column and the nearest one.
        """
        for column in columns:
            if column not in self.frame.columns:
                raise DataError(
                    f"{self.name}: column {column!r} is missing; {nearest(column, self.frame.columns)}. "
                    f"Map yours with {remedies.columns(column)}"
                )

    def refuse_mixed(self, column: str) -> None:
        """Refuse a column that is text in some of the files only."""
        if column in self.mixed:
            raise DataError(f"{self.column(column)} is {self.mixed[column]}; give it one type in all files")

    def numbers(self, column: str, remedy: str) -> pl.Series:
        """A column as Float64; null where it is null or text that is no number.

        Raises:
            DataError: the column holds neither numbers nor text.
        """
        values = self.frame[column]
        if values.dtype.is_numeric():
            return values.cast(pl.Float64)
        if values.dtype in TEXTS:
            return values.cast(pl.String).str.strip_chars().cast(pl.Float64, strict=False)
        raise DataError(f"{self.column(column)} has type {values.dtype}, which holds no numbers; {remedy}")

    def texts(self, column: str, remedy: str) -> pl.Series:
        """A column as String in the composed form of Unicode (NFC); numbers, times and booleans are spelled out.

        Raises:
            DataError: the column holds something without a spelling, such as lists.
        """
        values = self.frame[column]
        if values.dtype.is_nested() or values.dtype in (pl.Binary, pl.Object):
            raise DataError(f"{self.column(column)} has type {values.dtype}, which is no text; {remedy}")
        return values.cast(pl.String).str.normalize("NFC")


def comma_hint(value: Any) -> str:
    """What to write in place of a decimal comma, where `value` has one."""
    text = str(value).strip()
    head, comma, tail = text.partition(",")
    is_one = comma and head.lstrip("+-").isdecimal() and tail.isdecimal()
    return f"write the decimal comma as a point, {head}.{tail}; " if is_one else ""

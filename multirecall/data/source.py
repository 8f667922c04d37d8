"""A frame with the files that its rows came from, so that an error can name file, column and row."""

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
    """A frame and the files that its rows came from.

    Attributes:
        frame: the rows.
        parts: the name and the number of rows of each file, or of the caller's frame.
        untyped: whether every cell is text, as in CSV.
        theirs: the caller's name of each column that was renamed.
        mixed: columns that are text in only some of the files, with a text of their types; here all their cells are
            text.
        notes: notes for the reader about the files.
    """

    frame: pl.DataFrame
    parts: tuple[tuple[str, int], ...]
    untyped: bool = False
    theirs: Mapping[str, str] = field(default_factory=dict)
    mixed: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The first file and the number of others."""
        others = f" and {len(self.parts) - 1} more" if len(self.parts) > 1 else ""
        return f"{self.parts[0][0]}{others}"

    def column(self, column: str) -> str:
        """A column as an error names it: the file, and the caller's name of the column."""
        return f"{self.name}: column {self.theirs.get(column, column)!r}"

    def place(self, column: str, row: int) -> str:
        """A cell as an error names it: file, column, and row within that file, counted from 0."""
        ends = list(accumulate(height for _, height in self.parts))
        part = next(part for part, end in enumerate(ends) if row < end)
        name, height = self.parts[part]
        theirs = self.theirs.get(column, column)
        return f"{name}: column {theirs!r}, row {row - ends[part] + height} (the first is 0)"

    def first(self, column: str, bad: pl.Series) -> int | None:
        """The row of the first true value of `bad`, bool or null for each row; None where there is none."""
        return None if not bad.any() else int(bad.fill_null(False).arg_max() or 0)

    def refuse(self, column: str, bad: pl.Series, complaint: str | Callable[[Any], str]) -> None:
        """Raise a `DataError` for the first row that `bad` marks, if there is one.

        Args:
            column: the column of the cell.
            bad: bool or null for each row.
            complaint: what is wrong with the cell: a function of its value, or a text with the placeholder `{value}`.
        """
        row = self.first(column, bad)
        if row is not None:
            value = self.frame[column][row]
            text = complaint.replace("{value}", repr(value)) if isinstance(complaint, str) else complaint(value)
            raise DataError(f"{self.place(column, row)}: {text}")

    def rename(self, columns: Mapping[Column, str]) -> Source:
        """Rename columns; `columns` maps the new name to the caller's name.

        Raises:
            DataError: the source lacks one of the caller's columns.
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
                    f"Map your column with {remedies.columns(column)}"
                )

    def refuse_mixed(self, column: str) -> None:
        """Raise a `DataError` for a column that is text in only some of the files."""
        if column in self.mixed:
            raise DataError(f"{self.column(column)} is {self.mixed[column]}; give it one type in all files")

    def numbers(self, column: str, remedy: str) -> pl.Series:
        """A column converted to Float64; null where the cell is null or a text that is not a number.

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
        """A column converted to String in Unicode's composed form (NFC).

        Raises:
            DataError: the column holds lists, structures or bytes.
        """
        values = self.frame[column]
        if values.dtype.is_nested() or values.dtype in (pl.Binary, pl.Object):
            raise DataError(f"{self.column(column)} has type {values.dtype}, which is not text; {remedy}")
        return values.cast(pl.String).str.normalize("NFC")


def comma_hint(value: Any) -> str:
    """Advice on how to write a decimal comma, where `value` has one; else an empty text."""
    text = str(value).strip()
    head, comma, tail = text.partition(",")
    is_one = comma and head.lstrip("+-").isdecimal() and tail.isdecimal()
    return f"write the decimal comma as a point, {head}.{tail}; " if is_one else ""

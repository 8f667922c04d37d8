"""Id columns: finding the one type of the ids of all tables, and reading the columns in that type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import polars as pl

from multirecall.data import remedies
from multirecall.data.config import IdType
from multirecall.data.source import TEXTS, Source
from multirecall.errors import DataError, IdTypeError
from multirecall.vocabulary import MAX_ID_CHARACTERS, Vocabulary

INTEGERS = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)
LARGEST_WHOLE_FLOAT = 2**53

Type = Literal["text", "int"]


class IdColumn(NamedTuple):
    """A column of ids and the table that holds it."""

    source: Source
    name: str

    @property
    def values(self) -> pl.Series:
        """The ids in the type of the table."""
        return self.source.frame[self.name]

    @property
    def is_text(self) -> bool:
        """Whether the cells are text; in CSV every cell is."""
        return self.values.dtype in TEXTS

    @property
    def type(self) -> str:
        """The name of the column's type in an error."""
        return "text" if self.is_text else str(self.values.dtype)

    def texts(self) -> pl.Series:
        """The ids converted to String."""
        return self.values.cast(pl.String)

    def integers(self) -> pl.Series:
        """Text ids converted to Int64; null where the text is not a plain 64-bit integer. "007" is not plain."""
        texts = self.texts()
        numbers = texts.cast(pl.Int64, strict=False)
        return numbers.set((numbers.cast(pl.String) != texts).fill_null(False), None)


def common_id_type(columns: Sequence[IdColumn], what: str, wanted: IdType, notes: list[str]) -> Type:
    """The one type of the ids of several tables; a note in `notes` says why ids are text where that may surprise.

    A type that is `wanted` wins. Else the typed tables decide. Where all tables are CSV, ids are integers if every
    cell is a plain integer.

    Raises:
        DataError: typed tables differ, or the type of a column cannot be that of ids.
    """
    columns = [column for column in columns if column.values.len()]
    for column in columns:
        if not column.is_text:  # `read_ids` checks text columns
            _check(column, wanted)
        if column.name in column.source.mixed:
            notes.append(
                f"{column.source.column(column.name)} is {column.source.mixed[column.name]}; {what} ids are text"
            )
    if wanted != "auto":
        return wanted
    typed = [column for column in columns if not column.source.untyped]
    untyped = [column for column in columns if column.source.untyped]
    texts, integers = [one for one in typed if one.is_text], [one for one in typed if not one.is_text]
    if texts and integers:
        raise DataError(
            f"{integers[0].source.column(integers[0].name)} is {integers[0].type}, but in {texts[0].source.name} it is "
            f"text; cast one of them, or pass {remedies.ids(['text'])}"
        )
    if texts:
        return "text"
    for column in untyped:
        odd = column.source.first(column.name, column.integers().is_null() & column.values.is_not_null())
        if odd is not None and integers:
            raise DataError(
                f"{column.source.place(column.name, odd)}: {column.values[odd]!r} is not an integer, but in "
                f"{integers[0].source.name} {what} ids are {integers[0].type}; correct it, or pass "
                f"{remedies.ids(['text'])}"
            )
        if odd is not None:
            if any(one.integers().count() for one in untyped):
                notes.append(
                    f"{what} ids are text, because of {column.values[odd]!r} "
                    f"({column.source.place(column.name, odd)}); pass {remedies.ids(['text'])} to confirm that"
                )
            return "text"
    return "int"


def read_ids(source: Source, name: str, type_: Type) -> pl.Series:
    """Read an id column as integers or String.

    Raises:
        DataError: an id is null, or cannot be of that type.
    """
    column = IdColumn(source, name)
    _check(column, type_)
    if not column.values.len():
        return column.values.cast(pl.String if type_ == "text" else pl.Int64)
    if type_ == "text":
        return column.texts() if column.is_text else _to_integers(column).cast(pl.String)
    if not column.is_text:
        return _to_64_bits(column)
    numbers = column.integers()
    source.refuse(name, numbers.is_null(), _no_integer)
    return numbers


def read_ids_like(source: Source, name: str, known: Vocabulary, wanted: IdType) -> pl.Series:
    """Read the ids of a live change in the type of the known ids.

    Ids of another type are converted if the option `ids` (here `wanted`) names a type; with `auto` they are an error.
    A file of text, such as CSV, is read in the type of the known ids.

    Raises:
        DataError: an id is null, or cannot be of that type.
        IdTypeError: ids are of the other type, or no integer type holds both them and the known ids.
    """
    column = IdColumn(source, name)
    if wanted != "auto":
        type_: Type = wanted
    elif source.untyped and len(known):
        type_ = "text" if known.holds_text else "int"
    else:
        if len(known) and column.is_text != known.holds_text:
            _check(column, wanted)
            raise IdTypeError(f"{source.place(name, 0)}: {known.mismatch(column.values[0])}")
        type_ = "text" if column.is_text else "int"
    values = read_ids(source, name, type_)
    if pl.UInt64 in (values.dtype, pl.Series(known.ids(slice(0, 0))).dtype):
        known.with_ids(values.to_numpy())
    return values


def _check(column: IdColumn, wanted: IdType) -> None:
    """Refuse null ids, texts that a vocabulary cannot hold, and column types other than integer and text."""
    source, name, values = column.source, column.name, column.values
    source.refuse(name, values.is_null(), "the id is null; fill it or drop the row")
    if column.is_text:
        texts = column.texts()
        unfit = (texts.str.len_chars() > MAX_ID_CHARACTERS) | texts.str.contains("\0", literal=True)
        source.refuse(name, unfit, f"the id is longer than {MAX_ID_CHARACTERS} characters or holds NUL; shorten it")
    elif values.dtype.is_float() or values.dtype.is_decimal():
        if wanted == "auto":
            raise DataError(
                f"{source.column(name)} has type {values.dtype}; ids are integers or text, cast the column, "
                f"or pass {remedies.ids(['int', 'text'])} where all of them are whole"
            )
    elif not values.dtype.is_integer() and values.len():
        raise DataError(f"{source.column(name)} has type {values.dtype}; ids are integers or text, cast the column")
    elif values.dtype not in INTEGERS and values.len() and wanted != "text":
        _to_64_bits(column)


def _to_64_bits(column: IdColumn) -> pl.Series:
    """The ids as integers of at most 64 bits; refuses larger ones."""
    values = _to_integers(column)
    if values.dtype in INTEGERS:
        return values
    narrow = [values.cast(dtype, strict=False) for dtype in (pl.Int64, pl.UInt64)]
    fitting = next((one for one in narrow if not one.null_count()), None)
    if fitting is None:
        beyond = narrow[0].is_null() & (narrow[1].is_null() | (values.min() < 0))  # type: ignore[operator]
        column.source.refuse(
            column.name, beyond, "{value} and the other ids do not fit 64 bits together; pass " + remedies.ids(["text"])
        )
    return values if fitting is None else fitting


def _to_integers(column: IdColumn) -> pl.Series:
    """The ids as integers; refuses fractions, and floats above 2**53, which skip integers."""
    values = column.values
    if values.dtype.is_integer():
        return values
    bound = pl.Series([LARGEST_WHOLE_FLOAT])
    unfit = values != values.cast(pl.Int128, strict=False).cast(values.dtype, strict=False)
    if values.dtype.is_float():
        unfit = unfit | (values.abs() > bound[0])
    column.source.refuse(
        column.name, unfit.fill_null(True), "{value} is not a whole number that an id can be; cast the column"
    )
    return values.cast(pl.Int128)


def _no_integer(value: Any) -> str:
    text = str(value)
    if text.lstrip("+-").isdecimal():
        why = "would change when it is read as an integer" if len(text) < 19 else "does not fit 64 bits"
    else:
        why = "is not an integer"
    return f"{value!r} {why}; correct it, or pass {remedies.ids(['text'])}"

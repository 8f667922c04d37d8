"""Building a feature column of a given kind from a column of a table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multirecall.csr import offsets_of
from multirecall.data import remedies
from multirecall.data.config import Kind
from multirecall.data.features import Categorical, Feature, Numeric, Precision, Tags, Text
from multirecall.data.kinds import EXACT, LIST_SEPARATOR, MISSING
from multirecall.data.source import TEXTS, Source, comma_hint
from multirecall.data.times import MICROS, times
from multirecall.errors import DataError
from multirecall.vocabulary import MAX_ID_CHARACTERS, Vocabulary

SHORT_FLOATS: dict[str, Precision] = {"Float16": "float16", "Float32": "float32"}


def feature(source: Source, field: str, kind: Kind) -> Feature:
    """Read the column `field` of `source` as a feature of the given kind; text is normalised to NFC.

    Raises:
        DataError: a cell does not fit the kind; the message names file, column, row and remedy.
    """
    source.refuse_mixed(field)
    if kind in ("number", "datetime"):
        source = _without_markers(source, field)
        return _number(source, field) if kind == "number" else _datetime(source, field)
    if kind == "list":
        return _tags(source, field)
    if kind == "text":
        return Text.of(source.texts(field, _remedy(field)).to_list())
    return _categorical(source, field)


def _without_markers(source: Source, field: str) -> Source:
    """The source with nulls in place of the texts by which CSV files mark a missing number, such as `NA`."""
    if not source.untyped:
        return source
    cell = pl.col(field).str.strip_chars()
    absent = cell.is_in([*MISSING, ""])
    return replace(source, frame=source.frame.with_columns(pl.when(~absent).then(cell).alias(field)))


def _number(source: Source, field: str) -> Numeric:
    values = source.frame[field]
    numbers = values.cast(pl.Float64) if values.dtype == pl.Boolean else source.numbers(field, _remedy(field))
    is_other = numbers.is_null() & values.is_not_null()
    source.refuse(field, is_other, lambda value: f"{value!r} is not a number; {comma_hint(value)}{_remedy(field)}")
    source.refuse(field, numbers.is_infinite(), "the number is {value}; use null for a missing value")
    if values.dtype.is_integer():
        unfit = ~values.cast(pl.Int128).is_between(-EXACT, EXACT)
        source.refuse(field, unfit, "{value} is beyond 2**53, where numbers are not exact; " + _remedy(field))
    precision = SHORT_FLOATS.get(str(values.dtype), "float64")
    return Numeric(numbers.fill_null(float("nan")).to_numpy(), "number", precision)


def _datetime(source: Source, field: str) -> Numeric:
    seconds = times(source, field).cast(pl.Float64) / MICROS
    return Numeric(seconds.fill_null(float("nan")).to_numpy(), "datetime")


def _categorical(source: Source, field: str) -> Categorical:
    values = _scalars(source, field, source.frame[field])
    _refuse_unstorable(source, field, values, np.arange(values.len()))
    categories = Vocabulary.of(values.drop_nulls().unique().to_numpy(), f"{field}:")
    codes = pl.Series(values.len() * [-1], dtype=pl.Int32).to_numpy().copy()
    present = values.is_not_null().to_numpy()
    codes[present] = categories.rows(values.drop_nulls().to_numpy())
    return Categorical(codes, categories)


def _tags(source: Source, field: str) -> Tags:
    lists = source.frame[field]
    if lists.dtype in TEXTS:
        lists = lists.cast(pl.String).str.split(LIST_SEPARATOR)
    if not isinstance(lists.dtype, pl.List | pl.Array):
        raise DataError(f"{source.column(field)} has type {lists.dtype}, not a list type; {_remedy(field)}")
    _refuse_vectors(source, field, lists)
    lists = lists.cast(pl.List(lists.dtype.inner))
    flat = _scalars(source, field, lists.explode(empty_as_null=False, keep_nulls=False).rename("tag"))
    rows = pl.Series("row", np.repeat(np.arange(lists.len()), lists.list.len().fill_null(0).to_numpy()))
    if flat.dtype == pl.String:
        flat = flat.str.strip_chars().replace("", None)
        _refuse_unstorable(source, field, flat, rows.to_numpy())
    tags = pl.DataFrame([rows, flat]).drop_nulls().unique(maintain_order=True)
    categories = Vocabulary.of(tags["tag"].unique().to_numpy(), f"{field}:")
    lengths = np.bincount(tags["row"].to_numpy(), minlength=lists.len())
    return Tags(offsets_of(lengths), categories.rows(tags["tag"].to_numpy()), categories)


def _refuse_vectors(source: Source, field: str, lists: pl.Series) -> None:
    """Refuse lists of floats or booleans: their entries are not names of tags."""
    inner = lists.dtype.inner  # type: ignore[attr-defined]
    if (inner.is_float() or inner.is_decimal() or inner == pl.Boolean) and lists.explode().count():
        raise DataError(
            f"{source.column(field)} holds lists of {inner}; a vector cannot be a feature, and tags are integers or "
            f"text: cast the tags, or leave the column out with {remedies.kinds(field, 'ignore')}"
        )


def _scalars(source: Source, field: str, values: pl.Series) -> pl.Series:
    """The values of categories as 64-bit integers or text; booleans and other numbers become text."""
    if values.dtype.is_integer():
        if str(values.dtype) not in ("Int128", "UInt128"):
            return values
        short = values.cast(pl.Int64, strict=False)
        return short if short.null_count() == values.null_count() else values.cast(pl.String)
    if values.dtype in TEXTS or values.dtype.is_numeric() or values.dtype in (pl.Boolean, pl.Null):
        return values.cast(pl.String).str.normalize("NFC")
    raise DataError(
        f"{source.column(field)} has type {values.dtype}; use text or integer categories, "
        f"or leave the column out with {remedies.kinds(field, 'ignore')}"
    )


def _refuse_unstorable(source: Source, field: str, values: pl.Series, rows: NDArray[np.integer]) -> None:
    """Refuse categories that a vocabulary cannot hold; `rows`, int (n,), are the source rows of `values`."""
    if values.dtype != pl.String:
        return
    unfit = (values.str.len_chars() > MAX_ID_CHARACTERS) | values.str.contains("\0", literal=True)
    place = source.first(field, unfit)
    if place is not None:
        row, value = int(rows[place]), values[place]
        ids = [f"{name} {source.frame[name][row]!r}" for name in ("item_id", "user_id") if name in source.frame.columns]
        raise DataError(
            f"{source.place(field, row)}{''.join(f', {one}' for one in ids)}: the category {value[:40]!r}… has "
            f"{len(value)} characters or a NUL character; shorten it to {MAX_ID_CHARACTERS} characters, or read the "
            f"field as text: {remedies.kinds(field, 'text')}"
        )


def _remedy(field: str) -> str:
    return f"correct the cell, or pass another kind: {remedies.kinds(field, 'text')}"

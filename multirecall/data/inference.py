"""From a frame's column to a feature: which kind it is, and its arrays."""

from __future__ import annotations

import numpy as np
import polars as pl

from multirecall.data.config import Kind
from multirecall.data.features import Categorical, Feature, Numeric, Tags, Text
from multirecall.data.log import moments, parsed_times
from multirecall.data.source import TEXTS, Source
from multirecall.errors import DataError
from multirecall.lists import offsets_of
from multirecall.vocabulary import Vocabulary

LIST_SEPARATOR = "|"
TEXT_MIN_DISTINCT = 20
"""A text column has more distinct values than this, …"""
TEXT_MIN_SHARE_DISTINCT = 0.5
"""… at least this share of its rows differ, …"""
TEXT_MIN_MEAN_WORDS = 1.5
"""… and its values hold at least this many words on average; otherwise it is categorical."""


def feature(source: Source, field: str, kind: Kind | None) -> Feature:
    """The feature column `field` of `source`, of the given kind or the inferred one.

    Text cells become numbers or datetimes where all of them parse, lists where one holds `|`, free text where
    they are many, mostly distinct and of several words, else categories.

    Raises:
        DataError: names file, column, row and remedy where a cell does not fit the kind.
    """
    values = source.frame[field]
    kind = kind or infer_kind(values, source.untyped)
    if kind == "number":
        return _number(source, field)
    if kind == "datetime":
        return _datetime(source, field)
    if kind == "list":
        return _tags(source, field)
    if kind == "text":
        return Text.of(source.texts(field, _remedy(field)).to_list())
    return _categorical(source, field)


def infer_kind(values: pl.Series, untyped: bool) -> Kind:
    """The kind of a column from its type and, for text, its values; `untyped` text may spell numbers."""
    if isinstance(values.dtype, pl.List | pl.Array):
        return "list"
    if isinstance(values.dtype, pl.Datetime) or values.dtype == pl.Date:
        return "datetime"
    if values.dtype.is_numeric() or values.dtype == pl.Boolean:
        return "number"
    if values.dtype != pl.String:
        return "categorical"
    present = values.drop_nulls()
    if present.is_empty():
        return "categorical"
    if untyped:
        if present.cast(pl.Float64, strict=False).null_count() == 0:
            return "number"
        if parsed_times(present).null_count() == 0:
            return "datetime"
    if present.str.contains(LIST_SEPARATOR, literal=True).any():
        return "list"
    distinct = present.n_unique()
    words = present.str.count_matches(r"\S+").mean()
    is_text = (
        distinct > TEXT_MIN_DISTINCT
        and distinct >= TEXT_MIN_SHARE_DISTINCT * present.len()
        and isinstance(words, float)
        and words >= TEXT_MIN_MEAN_WORDS
    )
    return "text" if is_text else "categorical"


def _number(source: Source, field: str) -> Numeric:
    values = source.frame[field]
    numbers = values.cast(pl.Float64) if values.dtype == pl.Boolean else source.numbers(field, _remedy(field))
    source.refuse(field, numbers.is_null() & values.is_not_null(), "{value} is no number; " + _remedy(field))
    source.refuse(field, numbers.is_infinite(), "the number is {value}; use null for a missing value")
    return Numeric(numbers.fill_null(float("nan")).to_numpy())


def _datetime(source: Source, field: str) -> Numeric:
    values = source.frame[field]
    parsed = parsed_times(values.cast(pl.String)) if values.dtype in TEXTS else values
    source.refuse(field, parsed.is_null() & values.is_not_null(), "{value} is no time; " + _remedy(field))
    if parsed.dtype == pl.Date or isinstance(parsed.dtype, pl.Datetime):
        seconds = moments(source, field, parsed).cast(pl.Float64) / 1e6
    else:
        seconds = source.numbers(field, _remedy(field))
        source.refuse(field, seconds.is_infinite(), "the time is {value}; use null for a missing value")
    return Numeric(seconds.fill_null(float("nan")).to_numpy(), "datetime")


def _categorical(source: Source, field: str) -> Categorical:
    values = _scalars(source, field, source.frame[field])
    categories = Vocabulary.of(values.drop_nulls().unique().to_numpy(), f"{field}:")
    codes = pl.Series(values.len() * [-1], dtype=pl.Int32).to_numpy().copy()
    present = values.is_not_null().to_numpy()
    codes[present] = categories.rows(values.drop_nulls().to_numpy())
    return Categorical(codes, categories)


def _tags(source: Source, field: str) -> Tags:
    lists = source.frame[field]
    if lists.dtype == pl.String:
        lists = lists.str.split(LIST_SEPARATOR)
    if not isinstance(lists.dtype, pl.List | pl.Array):
        raise DataError(f"{source.name}: column {field!r} has type {lists.dtype}, no list; {_remedy(field)}")
    lists = lists.cast(pl.List(lists.dtype.inner))
    flat = _scalars(source, field, lists.explode(empty_as_null=False, keep_nulls=False).rename("tag"))
    rows = pl.Series("row", np.repeat(np.arange(lists.len()), lists.list.len().fill_null(0).to_numpy()))
    if flat.dtype == pl.String:
        flat = flat.str.strip_chars().replace("", None)
    tags = pl.DataFrame([rows, flat]).drop_nulls().unique(maintain_order=True)
    categories = Vocabulary.of(tags["tag"].unique().to_numpy(), f"{field}:")
    lengths = np.bincount(tags["row"].to_numpy(), minlength=lists.len())
    return Tags(offsets_of(lengths), categories.rows(tags["tag"].to_numpy()), categories)


def _scalars(source: Source, field: str, values: pl.Series) -> pl.Series:
    """Category values as text or integers; booleans and other numbers as text."""
    if values.dtype.is_integer():
        return values
    if values.dtype in TEXTS or values.dtype.is_numeric() or values.dtype in (pl.Boolean, pl.Null):
        return values.cast(pl.String)
    raise DataError(f"{source.name}: column {field!r} has type {values.dtype}; use text or integer categories")


def _remedy(field: str) -> str:
    return f"mend the cell, or name another kind: kinds={{{field!r}: …}}"

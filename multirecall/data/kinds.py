"""Inferring the kind of a feature column from its type and from what most of its cells hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

from multirecall.data import remedies
from multirecall.data.config import Kind
from multirecall.data.source import Source
from multirecall.data.times import parse_times
from multirecall.errors import DataError

LIST_SEPARATOR = "|"
# The shares and word counts below are rules of thumb: a caller whose column they misread passes `kinds`.
LIST_SHARE = 0.5
"""A column holds lists if at least this share of its cells has `|` without spaces around it, …"""
LIST_MAX_WORDS = 3.0
"""… and the entries between the bars have at most this many words on average; …"""
LIST_SHARE_OF_KNOWN = 0.1
"""… or if at least this share of its cells has `|`, with or without spaces, …"""
LIST_KNOWN = 0.5
"""… and at least this share of the entries also occurs in other cells."""

TEXT_SHARE_DISTINCT = 0.5
"""A column holds free text if at least this share of its cells differ, …"""
TEXT_MEAN_WORDS = 1.5
"""… and the cells have at least this many words on average; otherwise it is categorical."""

NEARLY = 0.9
"""If at least this share of the cells, but not all, are numbers or times, a note names one of the others."""

MISSING = ("NA", "N/A", "n/a", "na", "null", "NULL", "None", "none", "nan", "NaN", "NAN", "-", "?")
"""Texts that mark a missing value in the numbers or times of a CSV file."""

CODE = r"^[+-]?0\d"
"""A code such as 007, whose leading zero a number would lose."""

DECIMAL_COMMA = r"^[+-]?\d+,\d+$"
EXACT = 2**53
"""The largest magnitude up to which float64 holds every whole number."""

UNSPACED = r"\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"
DENSE = r"\p{Han}\p{Hiragana}\p{Katakana}ー"
WORDS = rf"[{DENSE}]{{1,2}}|[{UNSPACED}]{{1,4}}|[^\s{DENSE}{UNSPACED}]+"
"""A word: a run between spaces; in scripts without spaces, about as many letters as a word has there."""


@dataclass(frozen=True, slots=True)
class ColumnKind:
    """The kind that a column of a feature table was read as.

    Attributes:
        table: `items` or `users`.
        field: the name of the column.
        kind: the kind of the feature; `ignore` for a column that is not used.
        reason: why the column has this kind; `given` where the caller passed the kind.
    """

    table: str
    field: str
    kind: Kind
    reason: str


class Verdict(NamedTuple):
    """A kind, the reason for it, and a note for the reader, which may be empty."""

    kind: Kind
    reason: str
    note: str = ""


def column_kinds(
    source: Source, table: str, id_column: str, given: Mapping[str, Kind], notes: list[str]
) -> list[ColumnKind]:
    """The kind of each column of a feature table except its ids; kinds that are `given` win. Adds to `notes`.

    Raises:
        DataError: a column may hold numbers with decimal commas.
    """
    found = []
    for field in source.frame.columns:
        if field == id_column:
            continue
        if field in given:
            verdict = Verdict(given[field], "given")
        elif is_index(source, field):
            verdict = Verdict("ignore", "it numbers the rows, like the saved index of a frame")
            verdict = verdict._replace(note=f"{source.name}: column {field!r} is not used: {verdict.reason}")
        else:
            verdict = infer_kind(source, field)
        found.append(ColumnKind(table, field, verdict.kind, verdict.reason))
        notes += [verdict.note] if verdict.note else []
    if found:
        notes.append(f"{source.name}: kinds: " + ", ".join(f"{one.field} is {one.kind}" for one in found))
    return found


def is_index(source: Source, field: str) -> bool:
    """Whether a column is the row index of a frame, saved with the frame."""
    if field == "__index_level_0__" or re.fullmatch(r"Unnamed: \d+(_level_\d+)?", field):
        return True
    if field not in ("", "index", "level_0"):
        return False
    numbers = source.frame[field].cast(pl.String, strict=False).cast(pl.Int64, strict=False)
    return bool((numbers == pl.int_range(numbers.len(), eager=True)).all()) and not numbers.null_count()


def infer_kind(source: Source, field: str) -> Verdict:
    """Infer the kind of a column from its type and, for text, from its cells.

    Raises:
        DataError: the cells may be numbers with decimal commas.
    """
    values = source.frame[field]
    dtype = values.dtype
    if isinstance(dtype, pl.List | pl.Array):
        return Verdict("list", f"its type is {dtype}")
    if isinstance(dtype, pl.Datetime) or dtype == pl.Date:
        return Verdict("datetime", f"its type is {dtype}")
    if dtype.is_integer() and _beyond_exact(values):
        return Verdict("categorical", "integers above 2**53 are names, not amounts")
    if dtype.is_numeric() or dtype == pl.Boolean:
        return Verdict("number", f"its type is {dtype}")
    if dtype != pl.String:
        return Verdict("categorical", f"its type is {dtype}")
    cells = values.str.strip_chars().replace("", None).drop_nulls()
    if cells.is_empty():
        return Verdict("categorical", "no cell holds a value")
    return _of_amounts(source, field, cells) or _of_words(source, field, cells)


def _of_amounts(source: Source, field: str, cells: pl.Series) -> Verdict | None:
    """The verdict `number` or `datetime` where all cells are that; numbers are looked for in CSV only, else None."""
    present = cells.filter(~cells.is_in(MISSING)) if source.untyped else cells
    if present.is_empty():
        return None
    blank = cells.filter(cells.is_in(MISSING)) if source.untyped else cells.clear()
    missing = f"; {blank[0]!r} stands for a missing value" if len(blank) else ""
    counted = f"{present.len():,} of {present.len():,} cells are"
    if source.untyped:
        is_number = present.cast(pl.Float64, strict=False).is_not_null()
        if is_number.all():
            return _of_numbers(present, f"{counted} numbers{missing}")
        _refuse_commas(source, field, present, is_number)
        if is_number.sum() >= NEARLY * present.len():
            return _nearly(source, field, cells, present.filter(~is_number)[0], "numbers")
    if parse_times(present[:1]).null_count():
        return None
    is_time = parse_times(present).is_not_null()
    if is_time.all():
        return Verdict("datetime", f"{counted} times{missing}")
    if is_time.sum() >= NEARLY * present.len():
        return _nearly(source, field, cells, present.filter(~is_time)[0], "times")
    return None


def _of_numbers(cells: pl.Series, reason: str) -> Verdict:
    codes = cells.filter(cells.str.contains(CODE))
    if codes.len():
        return Verdict("categorical", f"cells like {codes[0]!r} are codes, not numbers")
    whole = cells.cast(pl.Int128, strict=False).drop_nulls()
    if _beyond_exact(whole):
        return Verdict("categorical", "integers above 2**53 are names, not amounts")
    return Verdict("number", reason)


def _nearly(source: Source, field: str, cells: pl.Series, odd: str, what: str) -> Verdict:
    kind, reason, _ = _of_words(source, field, cells)
    note = (
        f"{source.name}: column {field!r} is {kind}: nearly all of its cells are {what}, but {odd!r} is not; "
        f"correct the cell, or pass {remedies.kinds(field, kind)}"
    )
    return Verdict(kind, f"nearly all cells are {what}, but {odd!r} is not; {reason}", note)


def _of_words(source: Source, field: str, cells: pl.Series) -> Verdict:
    """The verdict `list`, `text` or `categorical`."""
    n, distinct = cells.len(), cells.n_unique()
    words = _mean_words(cells)
    barred = cells.filter(cells.str.contains(LIST_SEPARATOR, literal=True))
    if barred.len() and _are_lists(cells, barred):
        return Verdict("list", f"'{LIST_SEPARATOR}' in {barred.len():,} of {n:,} cells")
    is_text = distinct >= TEXT_SHARE_DISTINCT * n and words >= TEXT_MEAN_WORDS
    kind: Kind = "text" if is_text else "categorical"
    reason = f"{distinct:,} of {n:,} cells differ, with {words:.1f} words on average"
    if not barred.len():
        return Verdict(kind, reason)
    bars = f"'{LIST_SEPARATOR}' in {barred.len():,} of {n:,} cells: too few, or not lists"
    remedy = remedies.kinds(field, "list")
    note = f"{source.name}: column {field!r} is {kind} ({bars}); if it holds lists, pass {remedy}"
    return Verdict(kind, f"{reason}; {bars}", note)


def _are_lists(cells: pl.Series, barred: pl.Series) -> bool:
    tight = cells.str.contains(LIST_SEPARATOR, literal=True) & ~cells.str.contains(" | ", literal=True)
    parts = barred.str.split(LIST_SEPARATOR).explode().str.strip_chars().replace("", None).drop_nulls()
    if parts.is_empty():
        return bool(tight.all())
    if tight.sum() >= LIST_SHARE * cells.len() and _mean_words(parts) <= LIST_MAX_WORDS:
        return True
    if barred.len() < LIST_SHARE_OF_KNOWN * cells.len():
        return False
    whole = cells.filter(~cells.str.contains(LIST_SEPARATOR, literal=True))
    known = parts.is_in(whole.implode()) | ~parts.is_unique()
    return bool(known.sum() >= LIST_KNOWN * parts.len())


def _mean_words(cells: pl.Series) -> float:
    words = cells.str.count_matches(WORDS).mean()
    return words if isinstance(words, float) else 0.0


def _beyond_exact(whole: pl.Series) -> bool:
    ends = [end for end in (whole.min(), whole.max()) if isinstance(end, int)]
    return any(abs(end) > EXACT for end in ends)


def _refuse_commas(source: Source, field: str, cells: pl.Series, is_number: pl.Series) -> None:
    """Refuse a column whose cells are all numbers if a comma is read as a decimal point."""
    commas = cells.str.contains(DECIMAL_COMMA)
    if commas.any() and (commas | is_number).all():
        raise DataError(
            f"{source.column(field)}: {cells.filter(commas)[0]!r} has a comma, which may be decimal; write a point, "
            f"or pass {remedies.kinds(field, 'categorical')}"
        )

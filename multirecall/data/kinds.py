"""Which kind of feature a column holds, and why: what most of its cells are decides."""

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
LIST_SHARE = 0.5
"""In so many of its cells a list has `|` without spaces around it, …"""
LIST_MAX_WORDS = 3.0
"""… between entries of at most this many words on average; …"""
LIST_SHARE_OF_KNOWN = 0.1
"""… or in so many, with or without spaces, …"""
LIST_KNOWN = 0.5
"""… where so many of the entries also stand in other cells."""

TEXT_SHARE_DISTINCT = 0.5
"""Of free text at least this share of the cells differ, …"""
TEXT_MEAN_WORDS = 1.5
"""… and they hold at least this many words on average; otherwise the column is categorical."""

NEARLY = 0.9
"""Where so many cells are numbers or times, those that are neither are named in a note."""

MISSING = ("NA", "N/A", "n/a", "na", "null", "NULL", "None", "none", "nan", "NaN", "NAN", "-", "?")
"""What others write for a missing value; among numbers or times in CSV it is one."""

CODE = r"^[+-]?0\d"
DECIMAL_COMMA = r"^[+-]?\d+,\d+$"
EXACT = 2**53
"""A float64 skips whole numbers above it."""

UNSPACED = r"\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"
DENSE = r"\p{Han}\p{Hiragana}\p{Katakana}ー"
WORDS = rf"[{DENSE}]{{1,2}}|[{UNSPACED}]{{1,4}}|[^\s{DENSE}{UNSPACED}]+"
"""Runs between spaces; in scripts that write none, about as many letters as their words have."""


@dataclass(frozen=True, slots=True)
class ColumnKind:
    """What a column of a feature table was read as.

    Attributes:
        table: `items` or `users`.
        field: the column.
        kind: of the feature; `ignore` for a column that is none.
        reason: what the kind was decided from; `given` where the caller named it.
    """

    table: str
    field: str
    kind: Kind
    reason: str


class Verdict(NamedTuple):
    """A kind, what it was decided from, and what the reader should know, if anything."""

    kind: Kind
    reason: str
    note: str = ""


def column_kinds(
    source: Source, table: str, id_column: str, given: Mapping[str, Kind], notes: list[str]
) -> list[ColumnKind]:
    """The kind of each column of a feature table but its ids; what the reader should know is added to `notes`.

    Raises:
        DataError: a column may be numbers with decimal commas.
    """
    found = []
    for field in source.frame.columns:
        if field == id_column:
            continue
        if field in given:
            verdict = Verdict(given[field], "given")
        elif is_index(source, field):
            verdict = Verdict("ignore", "it numbers the rows, as a saved index does")
            verdict = verdict._replace(note=f"{source.name}: column {field!r} is not used: {verdict.reason}")
        else:
            verdict = infer_kind(source, field)
        found.append(ColumnKind(table, field, verdict.kind, verdict.reason))
        notes += [verdict.note] if verdict.note else []
    if found:
        notes.append(f"{source.name}: kinds: " + ", ".join(f"{one.field} is {one.kind}" for one in found))
    return found


def is_index(source: Source, field: str) -> bool:
    """Whether a column is the index of a frame that was saved with it."""
    if field == "__index_level_0__" or re.fullmatch(r"Unnamed: \d+(_level_\d+)?", field):
        return True
    if field not in ("", "index", "level_0"):
        return False
    numbers = source.frame[field].cast(pl.String, strict=False).cast(pl.Int64, strict=False)
    return bool((numbers == pl.int_range(numbers.len(), eager=True)).all()) and not numbers.null_count()


def infer_kind(source: Source, field: str) -> Verdict:
    """The kind of a column from its type and, for text, from what its cells are.

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
        return Verdict("categorical", "integers above 2**53 are names, no amounts")
    if dtype.is_numeric() or dtype == pl.Boolean:
        return Verdict("number", f"its type is {dtype}")
    if dtype != pl.String:
        return Verdict("categorical", f"its type is {dtype}")
    cells = values.str.strip_chars().replace("", None).drop_nulls()
    if cells.is_empty():
        return Verdict("categorical", "no cell holds a value")
    return _of_amounts(source, field, cells) or _of_words(source, field, cells)


def _of_amounts(source: Source, field: str, cells: pl.Series) -> Verdict | None:
    """Numbers or times, where all cells are that; numbers only where every cell of the table is text."""
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
        return Verdict("categorical", f"cells like {codes[0]!r} are codes, no numbers")
    whole = cells.cast(pl.Int128, strict=False).drop_nulls()
    if _beyond_exact(whole):
        return Verdict("categorical", "integers above 2**53 are names, no amounts")
    return Verdict("number", reason)


def _nearly(source: Source, field: str, cells: pl.Series, odd: str, what: str) -> Verdict:
    kind, reason, _ = _of_words(source, field, cells)
    note = (
        f"{source.name}: column {field!r} is {kind}: nearly all of its cells are {what}, but {odd!r} is none; "
        f"mend the cell, or say {remedies.kinds(field, kind)}"
    )
    return Verdict(kind, f"{odd!r} is not among {what}; {reason}", note)


def _of_words(source: Source, field: str, cells: pl.Series) -> Verdict:
    """A list, free text or categories."""
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
    bars = f"'{LIST_SEPARATOR}' in {barred.len():,} of {n:,} cells: too few, or no list"
    note = f"{source.name}: column {field!r} is {kind} ({bars}); if it holds lists, say {remedies.kinds(field, 'list')}"
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
    """Refuse what would be numbers but for decimal commas."""
    commas = cells.str.contains(DECIMAL_COMMA)
    if commas.any() and (commas | is_number).all():
        raise DataError(
            f"{source.column(field)}: {cells.filter(commas)[0]!r} has a comma, which may be decimal; write a point, "
            f"or say {remedies.kinds(field, 'categorical')}"
        )

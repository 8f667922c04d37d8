"""Reading tables from files: parquet, and CSV or TSV with one of several separators, compressed with gzip or not."""

from __future__ import annotations

import base64
import csv
import glob
import gzip
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from multirecall.data.frames import any_time_zone, in_utc
from multirecall.data.source import TEXTS, Source
from multirecall.errors import DataError

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
PARQUET = (".parquet", ".pq")
TEXT = {".csv": ",", ".tsv": "\t", ".csv.gz": ",", ".tsv.gz": "\t"}
"""The expected separator by the ending of the file name."""

UTF_16 = (b"\xff\xfe", b"\xfe\xff")
"""The byte order marks of UTF-16."""

HEAD_BYTES = 1 << 16
"""Bytes read to find the header line; a header is far shorter."""

OFFSET = re.compile(rb"[+-]\d\d:?\d\d")
"""A time zone given as an offset, such as +05:30."""


class Part(NamedTuple):
    """One file: its name, its rows, whether all cells are text, and a note for the reader."""

    file: str
    frame: pl.DataFrame
    untyped: bool = False
    note: str = ""


def read(path: str | Path | Sequence[str | Path], what: str) -> Source:
    """Read the files of one table: parquet, CSV or TSV, given as paths or glob patterns.

    Files are concatenated by column name. Cells of CSV and TSV files stay text, which the readers of ids, times and
    features parse. `what` names the table in errors.

    Raises:
        DataError: no file matches, a file cannot be read, or the files have different columns.
    """
    parts = [_read_file(file, what) for file in find_files(path, what)]
    first = parts[0]
    for part in parts:
        if sorted(part.frame.columns) != sorted(first.frame.columns):
            raise DataError(
                f"{part.file}: its columns {part.frame.columns} differ from those of {first.file}, "
                f"{first.frame.columns}; give all files the same columns"
            )
    untyped = any(part.untyped for part in parts)
    notes = [part.note for part in parts if part.note]
    if untyped and not all(part.untyped for part in parts):
        notes.append(f"{what}: some files are CSV and others parquet; all cells are read as text, as in CSV")
        parts = [part if part.untyped else part._replace(frame=_as_text(part)) for part in parts]
    joined, mixed = _concat_parts(parts)
    heights = tuple((part.file, part.frame.height) for part in parts)
    return Source(joined, heights, untyped, mixed=mixed, notes=tuple(notes))


def find_files(path: str | Path | Sequence[str | Path], what: str) -> list[str]:
    """The files that paths or glob patterns name; raises `DataError` where one names none."""
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
    return files


def _concat_parts(parts: Sequence[Part]) -> tuple[pl.DataFrame, dict[str, str]]:
    """The rows of all parts, and the columns that are text in only some of the parts, with a text of their types."""
    columns, mixed = [], {}
    for name in parts[0].frame.columns:
        pieces = [part.frame[name] for part in parts]
        types = {piece.dtype: part.file for part, piece in zip(parts, pieces, strict=True) if piece.dtype != pl.Null}
        texts = [dtype for dtype in types if dtype in TEXTS]
        others = [dtype for dtype in types if dtype not in TEXTS]
        if texts and others:
            mixed[name] = f"{_type(others[0])} in {types[others[0]]}, but {_type(texts[0])} in {types[texts[0]]}"
        if len({str(dtype) for dtype in others}) > 1 and "Float64" in map(str, others):
            pieces = [_widen_float32(piece) for piece in pieces]
        try:
            if mixed.get(name):
                pieces = [piece.cast(pl.String) for piece in pieces]
            columns.append(pl.concat([piece.to_frame() for piece in pieces], how="vertical_relaxed"))
        except pl.exceptions.PolarsError:
            seen = " and ".join(f"{_type(dtype)} in {file}" for dtype, file in types.items())
            raise DataError(f"column {name!r} is {seen}; give it one type in all files") from None
    return pl.concat(columns, how="horizontal"), mixed


def _type(dtype: pl.DataType) -> str:
    return "text" if dtype in TEXTS else str(dtype)


def _widen_float32(piece: pl.Series) -> pl.Series:
    """Convert Float32 to the Float64 of the same decimal digits, so that 9.99 is equal in all files."""
    return piece.cast(pl.String).cast(pl.Float64) if piece.dtype == pl.Float32 else piece


def _as_text(part: Part) -> pl.DataFrame:
    """The frame of a typed file with every cell converted to text, as in CSV."""
    for name, dtype in part.frame.schema.items():
        if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
            raise DataError(
                f"{part.file}: column {name!r} has type {dtype}, which the CSV files of the table cannot hold; "
                "give all files of the table one format"
            )
    return part.frame.cast(pl.String)


def _read_file(file: str, what: str) -> Part:
    name = file.lower()
    try:
        if name.endswith(PARQUET):
            return Part(file, in_utc(_read_parquet(file)))
        for ending, separator in TEXT.items():
            if name.endswith(ending):
                return _read_text(file, separator)
    except FileNotFoundError:
        raise DataError(f"{what}: {file}: no such file; check the path") from None
    except (
        pl.exceptions.PolarsError,
        pl.exceptions.PanicException,
        OSError,
        EOFError,
        zlib.error,
        UnicodeError,
    ) as fault:
        kind = "parquet" if name.endswith(PARQUET) else "csv"
        raise DataError(f"{what}: {file}: cannot be read as {kind}: {fault}") from None
    raise DataError(f"{what}: {file}: unknown file type; use {', '.join(sorted((*PARQUET, *TEXT)))}")


def _read_parquet(file: str) -> pl.DataFrame:
    """Read a parquet file; polars panics on time zones like +05:30 without the option of `any_time_zone`."""
    schema = pl.read_parquet_metadata(file).get("ARROW:schema", "")
    try:
        is_plain = not OFFSET.search(base64.b64decode(schema + "=="))
    except ValueError:
        is_plain = True  # the file is damaged, and reading it raises the error
    if is_plain:
        return pl.read_parquet(file, glob=False)
    with any_time_zone():
        return pl.read_parquet(file, glob=False)


def _read_text(file: str, separator: str) -> Part:
    packed = file.lower().endswith(".gz")
    with gzip.open(file) if packed else open(file, "rb") as stream:
        head = stream.read(HEAD_BYTES)
        content = head + stream.read() if packed else None
    if head.startswith(UTF_16) or b"\0" in head.split(b"\n")[0]:
        raise DataError(f"{file}: is UTF-16 or not text; save it as UTF-8, for instance with iconv -f UTF-16 -t UTF-8")
    try:
        separator, note = _separator(file, head, separator)
        frame = pl.read_csv(content or file, infer_schema=False, glob=False, separator=separator)
    except (UnicodeDecodeError, pl.exceptions.ComputeError) as fault:
        _refuse_encoding(file, content)
        raise fault from None
    return Part(file, frame, True, note)


def _separator(file: str, head: bytes, promised: str) -> tuple[str, str]:
    """The separator of the header line, and a note where the file name promises another one."""
    lines = [line for line in head.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip()]
    header = lines[0].removesuffix(b"\r").decode() if lines else ""
    if "\r" in header:
        raise DataError(f"{file}: its lines end in carriage returns without line feeds; save it with line feeds")
    bare = re.sub(r'"[^"]*"', "", header)
    found = [one for one in SEPARATORS if one in bare]
    separator = found[0] if len(found) == 1 and promised not in found else promised
    names = next(csv.reader([header], delimiter=separator), [])
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{file}: two columns are named {twice[0]!r}; rename one of them")
    note = f"{file}: columns are separated by {SEPARATORS[separator]}" if separator != promised else ""
    return separator, note


def _refuse_encoding(file: str, content: bytes | None) -> None:
    """Refuse a file that is not UTF-8; the error names the first faulty byte."""
    content = Path(file).read_bytes() if content is None else content
    try:
        content.decode()
    except UnicodeDecodeError as fault:
        line = content.count(b"\n", 0, fault.start) + 1
        raise DataError(
            f"{file}: byte {content[fault.start]:#04x} in line {line} is not UTF-8, perhaps Latin-1; "
            "save it as UTF-8, for instance with iconv -f LATIN1 -t UTF-8"
        ) from None

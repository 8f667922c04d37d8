"""A parquet file, written row group by row group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from multirecall.parquet.columns import CODES, PLAIN, RLE, Column
from multirecall.parquet.thrift import Int, Struct, encode_struct

MAGIC = b"PAR1"
"""Begins and ends a file."""

DATA_PAGE, DICTIONARY_PAGE = 0, 2
REQUIRED, OPTIONAL = 0, 1
UNCOMPRESSED = 0


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Some rows, encoded.

    Attributes:
        n_rows: their number.
        columns: the columns.
        pages: the bytes of each column: its dictionary, if it has one, and its data.
        dictionaries: the length of each column's dictionary page, 0 for none.
    """

    n_rows: int
    columns: Sequence[Column]
    pages: Sequence[bytes]
    dictionaries: Sequence[int]


def row_group_of(columns: Sequence[Column]) -> RowGroup:
    """The row group of these columns, all of one length."""
    dictionaries = [_dictionary_page(column) for column in columns]
    pages = [one + _data_page(column) for one, column in zip(dictionaries, columns, strict=True)]
    return RowGroup(columns[0].n_values, columns, pages, [len(one) for one in dictionaries])


class ParquetFile:
    """A file that is open for writing; it is complete once it is closed without an exception.

    Pages are not compressed: dictionaries and packed bits leave little to compress.

    Args:
        file: where to write.
    """

    def __init__(self, file: Path) -> None:
        self._file = file.open("wb")
        self._written = self._file.write(MAGIC)
        self._columns: Sequence[Column] = ()
        self._groups: list[Struct] = []
        self.n_rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, _: TracebackType | None) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._file.close()

    def write(self, group: RowGroup) -> None:
        """Append a row group; all have the same columns."""
        self._columns = self._columns or group.columns
        if not group.n_rows:
            return
        chunks = []
        for column, pages, dictionary in zip(group.columns, group.pages, group.dictionaries, strict=True):
            chunks.append(_chunk(column, len(pages), self._written, dictionary))
            self._written += self._file.write(pages)
        size = sum(map(len, group.pages))
        self._groups.append(Struct({1: chunks, 2: Int(size, 64), 3: Int(group.n_rows, 64)}))
        self.n_rows += group.n_rows

    def _finish(self) -> None:
        root = Struct({4: b"schema", 5: Int(len(self._columns))})
        schema = [root, *map(_schema_of, self._columns)]
        meta = {1: Int(1), 2: schema, 3: Int(self.n_rows, 64), 4: self._groups, 6: b"multirecall"}
        footer = encode_struct(Struct(meta))
        self._file.write(footer + len(footer).to_bytes(4, "little") + MAGIC)


def _schema_of(column: Column) -> Struct:
    kind = column.kind
    fields: dict[int, object] = {
        1: Int(kind.physical),
        3: Int(OPTIONAL if column.nullable else REQUIRED),
        4: column.name.encode(),
    }
    if kind.converted is not None:
        fields[6] = Int(kind.converted)
    if kind.logical is not None:
        fields[10] = kind.logical
    return Struct(fields)


def _chunk(column: Column, size: int, start: int, dictionary: int) -> Struct:
    """Where a column of a row group stands, whose pages begin at `start`."""
    encodings = [Int(RLE), Int(PLAIN), *([Int(CODES)] if dictionary else [])]
    meta: dict[int, object] = {
        1: Int(column.kind.physical),
        2: encodings,
        3: [column.name.encode()],
        4: Int(UNCOMPRESSED),
        5: Int(column.n_values, 64),
        6: Int(size, 64),
        7: Int(size, 64),
        9: Int(start + dictionary, 64),
    }
    if dictionary:
        meta[11] = Int(start, 64)
    return Struct({2: Int(start, 64), 3: Struct(meta)})


def _dictionary_page(column: Column) -> bytes:
    if column.dictionary is None:
        return b""
    head = {7: Struct({1: Int(column.n_distinct), 2: Int(PLAIN)})}
    return _page(DICTIONARY_PAGE, column.dictionary, head)


def _data_page(column: Column) -> bytes:
    encoding = PLAIN if column.dictionary is None else CODES
    head = Struct({1: Int(column.n_values), 2: Int(encoding), 3: Int(RLE), 4: Int(RLE)})
    return _page(DATA_PAGE, column.data, {5: head})


def _page(kind: int, body: bytes, head: dict[int, Struct]) -> bytes:
    return encode_struct(Struct({1: Int(kind), 2: Int(len(body)), 3: Int(len(body)), **head})) + body

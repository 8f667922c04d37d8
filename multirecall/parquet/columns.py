"""The columns of a row group: how their values become pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.csr import offsets_of
from multirecall.parquet.kernels import bit_width, distinct_of, pack_bits, pack_runs, split_ranks, take_texts
from multirecall.parquet.thrift import Int, Struct, varint

INT32, INT64, DOUBLE, TEXT = 1, 2, 5, 6
"""Physical types."""

PLAIN, RLE, CODES = 0, 3, 8
"""Encodings: of values, of levels, and of numbers of a dictionary."""


@dataclass(frozen=True, slots=True)
class Kind:
    """The type of a column.

    Attributes:
        physical: how values are stored.
        converted: the older name of what they mean, or None.
        logical: what they mean, or None.
    """

    physical: int
    converted: int | None = None
    logical: Struct | None = None


def kind_of(dtype: np.dtype[Any]) -> Kind:
    """The type of a column of this numpy dtype: text, integers of any size, or float64."""
    if dtype.kind == "U":
        return Kind(TEXT, 0, Struct({1: Struct({})}))
    if dtype.kind == "f":
        return Kind(DOUBLE)
    bits, signed = 8 * dtype.itemsize, dtype.kind == "i"
    physical = INT64 if bits == 64 else INT32
    if signed and bits >= 32:
        return Kind(physical)
    number = (15 if signed else 11) + bits.bit_length() - 4
    return Kind(physical, number, Struct({10: Struct({1: Int(bits, 8), 2: signed})}))


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a row group.

    Attributes:
        name: its name.
        kind: its type.
        nullable: whether it may have nulls.
        n_values: its rows, nulls included.
        dictionary: the values that `data` has numbers of, or None where it has the values themselves.
        n_distinct: how many these are.
        data: the levels, if it may have nulls, and the values.
    """

    name: str
    kind: Kind
    nullable: bool
    n_values: int
    dictionary: bytes | None
    n_distinct: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts as parquet stores them, each behind its length, so that those of many row groups are encoded once.

    Attributes:
        offsets: int64 (n + 1,).
        data: uint8 (offsets[-1],).
    """

    offsets: NDArray[np.int64]
    data: NDArray[np.uint8]

    @classmethod
    def of(cls, texts: NDArray[np.str_]) -> Texts:
        """The texts of an array."""
        encoded = [text.encode() for text in texts.tolist()]
        joined = b"".join(len(one).to_bytes(4, "little") + one for one in encoded)
        return cls(offsets_of([len(one) + 4 for one in encoded]), np.frombuffer(joined, np.uint8))

    def take(self, rows: NDArray[np.int32]) -> bytes:
        """Some of the texts behind each other."""
        return bytes(take_texts(rows, self.offsets, self.data))


def plain_numbers(values: NDArray[Any]) -> bytes:
    """Numbers as parquet stores them."""
    if values.dtype.kind in "iu" and values.dtype.itemsize < 4:
        values = values.astype(np.int32)
    return values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()


def coded_column(name: str, kind: Kind, dictionary: bytes, n_distinct: int, codes: NDArray[np.int32]) -> Column:
    """A column without nulls, by the number of each value in a dictionary."""
    return Column(name, kind, False, codes.size, dictionary, n_distinct, _codes(codes, n_distinct))


def repeated_column(
    name: str, kind: Kind, dictionary: bytes, n_distinct: int, codes: NDArray[np.int32], lengths: NDArray[np.int64]
) -> Column:
    """A column of runs: the number of each run's value in a dictionary, -1 for null, and its length."""
    width = max(bit_width(n_distinct - 1), 1)
    levels = bytes(pack_runs(lengths, (codes >= 0).astype(np.int32), 1))
    known = codes >= 0
    data = bytes([width]) + bytes(pack_runs(lengths[known], codes[known], width))
    return Column(name, kind, True, int(lengths.sum()), dictionary, n_distinct, _with_length(levels) + data)


def float_column(name: str, values: NDArray[np.float64]) -> Column:
    """A column of float64 without nulls."""
    distinct, codes = distinct_of(values, max(values.size // 2, 1))  # beyond, numbers of 8 bytes are as small
    kind = kind_of(values.dtype)
    if not distinct.size:
        return Column(name, kind, False, values.size, None, 0, plain_numbers(values))
    return coded_column(name, kind, plain_numbers(distinct), distinct.size, codes)


def rank_column(name: str, ranks: NDArray[np.int32], column: int) -> Column:
    """A column of `ranks`, int32 (n, n_columns), in which -1 is null."""
    present, kept, largest = split_ranks(ranks, column)
    if kept.size in (0, present.size):
        levels = bytes(pack_runs(np.array([present.size]), np.array([int(kept.size > 0)]), 1))
    else:
        levels = _packed(present, 1)
    n = int(largest) + 1
    data = _with_length(levels) + _codes(kept, n)
    return Column(name, kind_of(ranks.dtype), True, present.size, plain_numbers(np.arange(n, dtype=np.int32)), n, data)


def _codes(codes: NDArray[np.int32], n_distinct: int) -> bytes:
    width = max(bit_width(n_distinct - 1), 1)
    return bytes([width]) + _packed(codes, width)


def _packed(values: NDArray[Any], width: int) -> bytes:
    """One run of bit-packed numbers; nothing for none."""
    n_groups = (values.size + 7) // 8
    return varint(n_groups << 1 | 1) + bytes(pack_bits(values, width)) if n_groups else b""


def _with_length(levels: bytes) -> bytes:
    return len(levels).to_bytes(4, "little") + levels

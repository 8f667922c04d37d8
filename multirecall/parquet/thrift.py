"""Thrift's compact protocol, as far as the metadata of a parquet file needs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Int(NamedTuple):
    """A number of 8, 32 or 64 bits."""

    value: int
    bits: int = 32


class Struct(NamedTuple):
    """A struct: its fields by id."""

    fields: Mapping[int, object]


TRUE, FALSE, BINARY, LIST, STRUCT = 1, 2, 8, 9, 12
INTEGERS = {8: 3, 32: 5, 64: 6}
"""The type of a number by its bits."""


def encode_struct(struct: Struct) -> bytes:
    """A struct in the compact protocol."""
    out, before = bytearray(), 0
    for number, value in sorted(struct.fields.items()):
        kind = (TRUE if value else FALSE) if isinstance(value, bool) else _type_of(value)
        step = number - before
        out += bytes([step << 4 | kind]) if step < 16 else bytes([kind]) + varint(_zigzag(number))
        if not isinstance(value, bool):
            out += _encode(value)
        before = number
    return bytes(out) + b"\0"


def varint(value: int) -> bytes:
    """A number ≥ 0 in groups of seven bits, the lowest first (ULEB128)."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _zigzag(value: int) -> int:
    return value << 1 if value >= 0 else (-value << 1) - 1


def _type_of(value: object) -> int:
    if isinstance(value, Int):
        return INTEGERS[value.bits]
    if isinstance(value, bytes):
        return BINARY
    return STRUCT if isinstance(value, Struct) else LIST


def _encode(value: object) -> bytes:
    if isinstance(value, Int):
        return bytes([value.value & 255]) if value.bits == 8 else varint(_zigzag(value.value))
    if isinstance(value, bytes):
        return varint(len(value)) + value
    if isinstance(value, Struct):
        return encode_struct(value)
    assert isinstance(value, Sequence)
    size, kind = len(value), _type_of(value[0]) if value else STRUCT
    head = bytes([size << 4 | kind]) if size < 15 else bytes([15 << 4 | kind]) + varint(size)
    return head + b"".join(map(_encode, value))

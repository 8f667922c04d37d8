"""Kernels that pack the values of a column: parquet's hybrid of runs and bit-packed numbers.

See "Encodings" in the specification of Apache Parquet, RLE/bit-packing hybrid (RLE = 3).
"""

from __future__ import annotations

import numpy as np

from multirecall.kernels import Array, kernel


@kernel
def bit_width(largest: int) -> int:
    """Bits of the numbers 0 … `largest`; none where `largest` is not above 0."""
    width = 0
    while max(largest, 0) >> width:
        width += 1
    return width


@kernel
def pack_bits(values: Array, width: int) -> Array:
    """Numbers of `width` bits behind each other, the lowest bits first, uint8; eight numbers are a group of bytes."""
    n_groups = (values.size + 7) // 8
    packed = np.zeros(n_groups * width, np.uint8)
    held, n_held, at = np.uint64(0), 0, 0
    for value in values:
        held |= np.uint64(value) << np.uint64(n_held)
        n_held += width
        while n_held >= 8:
            packed[at] = np.uint8(held & np.uint64(255))
            held >>= np.uint64(8)
            n_held -= 8
            at += 1
    if n_held:
        packed[at] = np.uint8(held & np.uint64(255))
    return packed


@kernel
def pack_runs(lengths: Array, values: Array, width: int) -> Array:
    """Runs of equal numbers, uint8: for each its length as a varint, shifted by one, and its value."""
    n_bytes = (width + 7) // 8
    packed = np.empty(lengths.size * (10 + n_bytes), np.uint8)
    at = 0
    for run in range(lengths.size):
        if not lengths[run]:
            continue
        head = np.uint64(lengths[run]) << np.uint64(1)
        while head > np.uint64(127):
            packed[at] = np.uint8(head & np.uint64(127)) | np.uint8(128)
            head >>= np.uint64(7)
            at += 1
        packed[at] = np.uint8(head)
        at += 1
        value = np.uint64(values[run])
        for _ in range(n_bytes):
            packed[at] = np.uint8(value & np.uint64(255))
            value >>= np.uint64(8)
            at += 1
    return packed[:at]


@kernel
def split_ranks(ranks: Array, column: int) -> tuple[Array, Array, int]:
    """Which entries of a column of ranks, int32 (n, n_paths), are ≥ 0, uint8 (n,), these ranks, and the largest."""
    present = np.empty(len(ranks), np.uint8)
    kept = np.empty(len(ranks), np.int32)
    size, largest = 0, np.int32(0)
    for row in range(len(ranks)):
        rank = ranks[row, column]
        kept[size] = rank
        present[row] = rank >= 0
        size += rank >= 0
        largest = max(largest, rank)
    return present, kept[:size], int(largest)


@kernel
def distinct_of(values: Array, most: int) -> tuple[Array, Array]:
    """The distinct values, float64, in order of appearance, and the number of each value among them, int32 (n,).

    Nothing where they are more than `most`.
    """
    bits = values.view(np.int64)
    size = 16
    while size < 2 * most:
        size *= 2
    table = np.full(size, -1, np.int32)
    found = np.empty(most, np.int64)
    codes = np.empty(values.size, np.int32)
    n_found = 0
    for place in range(values.size):
        value = bits[place]
        mixed = np.uint64(value) * np.uint64(0x9E3779B97F4A7C15)
        slot = np.int64(mixed >> np.uint64(40)) & (size - 1)
        while table[slot] >= 0 and found[table[slot]] != value:
            slot = (slot + 1) & (size - 1)
        if table[slot] < 0:
            if n_found == most:
                return values[:0], codes[:0]
            table[slot] = n_found
            found[n_found] = value
            n_found += 1
        codes[place] = table[slot]
    return found[:n_found].view(np.float64), codes


@kernel
def code_rows(rows: Array, n_rows: int) -> tuple[Array, Array]:
    """The distinct of `rows`, int32 ascending, and the number of each row among them, int32 (n,)."""
    codes_of = np.zeros(n_rows, np.int32)
    for row in rows:
        codes_of[row] = 1
    distinct = np.empty(n_rows, np.int32)
    size = 0
    for row in range(n_rows):
        occurs = codes_of[row]
        distinct[size] = row
        codes_of[row] = size
        size += occurs
    codes = np.empty(rows.size, np.int32)
    for place in range(rows.size):
        codes[place] = codes_of[rows[place]]
    return distinct[:size], codes


@kernel
def take_texts(rows: Array, offsets: Array, data: Array) -> Array:
    """The bytes of the texts of `rows`, uint8, behind each other."""
    size = 0
    for row in rows:
        size += offsets[row + 1] - offsets[row]
    out = np.empty(size, np.uint8)
    at = 0
    for row in rows:
        for byte in range(offsets[row], offsets[row + 1]):
            out[at] = data[byte]
            at += 1
    return out

"""A small hash table from rows to positions, for kernels that must not allocate an array as long as the catalogue."""

from __future__ import annotations

from typing import Any

import numpy as np

from multirecall.kernels import Array, kernel

ROW_BITS = 0xFFFFFFFF
"""Mask of a row."""

POSITION_BITS = 31
"""Bits of an entry that hold the position of a row. The row itself stands above them."""


@kernel
def table_size(n_rows: int) -> int:
    """The slots of a table for `n_rows` rows: a power of two, of which at most half are filled."""
    size = 16
    while size < 2 * n_rows:
        size *= 2
    return size


@kernel
def new_table(n_rows: int) -> Array:
    """An empty open-addressing hash table for `n_rows` rows: int64 entries, -1 where a slot is free."""
    return np.full(table_size(n_rows), -1, np.int64)


@kernel
def slot_of(row: int, table: Array) -> int:
    """The slot of `table` that holds the entry of `row`, or the free slot where it belongs.

    The hash is multiplicative; collisions are resolved by linear probing.
    """
    mask = table.size - 1
    key = np.int64(row) & ROW_BITS
    slot = (key * 0x9E3779B1 >> 15) & mask
    held = table[slot]
    while held >= 0 and held >> POSITION_BITS != key:
        slot = (slot + 1) & mask
        held = table[slot]
    return int(slot)


@kernel
def entry_of(row: int, position: Any) -> int:
    """The entry, ≥ 0, that holds `row`, int32, and its `position`, 0 … 2**31 - 1."""
    return int((np.int64(row) & ROW_BITS) << POSITION_BITS | position)


@kernel
def position_in(entry: int) -> int:
    """The position that an entry holds."""
    return int(entry & ((1 << POSITION_BITS) - 1))

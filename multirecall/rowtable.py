"""A small hash table from rows to positions, for kernels that must not allocate memory for the whole catalogue."""

from __future__ import annotations

import numpy as np

from multirecall.kernels import Array, kernel

ROW_BITS = 0xFFFFFFFF
"""Mask of a row."""

POSITION_BITS = 31
"""Bits of an entry that hold the position of a row; the row itself stands above them."""


@kernel
def table_size(n_rows: int) -> int:
    """The slots of an open-addressing table that has room for `n_rows` rows: a power of 2, half of it free."""
    size = 16
    while size < 2 * n_rows:
        size *= 2
    return size


@kernel
def new_table(n_rows: int) -> Array:
    """An empty table with room for `n_rows` rows: int64 entries, -1 where a slot is free."""
    return np.full(table_size(n_rows), -1, np.int64)


@kernel
def slot_of(row: int, table: Array) -> int:
    """The slot of `table` that holds, or would hold, `row`."""
    mask = table.size - 1
    key = np.int64(row) & ROW_BITS
    slot = (key * 0x9E3779B1 >> 15) & mask
    held = table[slot]
    while held >= 0 and held >> POSITION_BITS != key:
        slot = (slot + 1) & mask
        held = table[slot]
    return int(slot)


@kernel
def entry_of(row: int, position: int) -> int:
    """The entry that says where `row` stands."""
    return int((np.int64(row) & ROW_BITS) << POSITION_BITS | position)


@kernel
def position_in(entry: int) -> int:
    """The position that an entry ≥ 0 holds."""
    return int(entry & ((1 << POSITION_BITS) - 1))

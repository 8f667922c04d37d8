"""A small hash table of rows, for kernels that must not allocate an array as long as the catalogue."""

from __future__ import annotations

import numpy as np

from multirecall.kernels import Array, kernel


@kernel
def new_table(n_rows: int) -> Array:
    """An empty open-addressing hash table for `n_rows` rows: int32 positions, -1 where a slot is free.

    The size is a power of two and at least 2 · `n_rows`, so that at most half of the slots are filled.
    """
    size = 16
    while size < 2 * n_rows:
        size *= 2
    return np.full(size, -1, np.int32)


@kernel
def slot_of(row: int, table: Array, rows: Array) -> int:
    """The slot of `table` that holds the position of `row` in `rows`, or the free slot where it belongs.

    The hash is multiplicative; collisions are resolved by linear probing.
    """
    mask = table.size - 1
    slot = (np.int64(row) * 0x9E3779B1 >> 7) & mask
    while table[slot] >= 0 and rows[table[slot]] != row:
        slot = (slot + 1) & mask
    return int(slot)

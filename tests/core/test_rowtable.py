from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from multirecall.kernels import Array, kernel
from multirecall.rowtable import entry_of, new_table, position_in, slot_of


@kernel
def first_positions(rows: Array) -> Array:
    """Where each row stands for the first time."""
    table = new_table(rows.size)
    found = np.empty(rows.size, np.int64)
    for place in range(rows.size):
        slot = slot_of(rows[place], table)
        if table[slot] < 0:
            table[slot] = entry_of(rows[place], place)
        found[place] = position_in(table[slot])
    return found


@given(st.lists(st.one_of(st.integers(0, 20), st.integers(0, 2**31 - 1), st.integers(0, 30).map(lambda n: n << 20))))
def test_a_row_is_found_where_it_was_put(rows: list[int]) -> None:
    assert first_positions(np.array(rows, np.int32)).tolist() == [rows.index(row) for row in rows]

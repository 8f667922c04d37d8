"""The rows of a shard and their places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from multirecall.retrievers._shard import WHOLE, Shard
from multirecall.topk import ALL_ALLOWED, NO_ROWS


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, 29)), st.integers(0, 8), st.data())
def test_places_number_the_own_rows_in_their_order(own: set[int], n_joined: int, draw: st.DataObject) -> None:
    shard = Shard(np.array(sorted(own), np.int32), 30)
    n_items = 30 + n_joined
    expected = [row for row in range(n_items) if row in own or row >= 30]
    rows = np.arange(n_items, dtype=np.int32)
    assert shard.among(n_items).tolist() == expected
    assert shard.count(n_items) == len(expected)
    assert shard.places(rows).tolist() == [expected.index(row) if row in expected else -1 for row in range(n_items)]
    assert shard.items(np.arange(len(expected), dtype=np.int32)).tolist() == expected
    excluded = draw.draw(st.sets(st.integers(0, n_items - 1)))
    exclude, allowed = shard.localise((np.array(sorted(excluded), np.int32), rows % 3 != 0))
    assert exclude.tolist() == [place for place, row in enumerate(expected) if row in excluded]
    assert allowed.tolist() == [row % 3 != 0 for row in expected]


def test_the_whole_has_every_row_at_its_own_place() -> None:
    rows = np.arange(7, dtype=np.int32)
    assert WHOLE.among(7).tolist() == WHOLE.places(rows).tolist() == WHOLE.items(rows).tolist() == rows.tolist()
    assert [one.size for one in WHOLE.localise((NO_ROWS, ALL_ALLOWED))] == [0, 0]


def test_only_a_part_has_a_file(tmp_path: Path) -> None:
    WHOLE.save(tmp_path)
    assert not list(tmp_path.iterdir())
    assert Shard.load(tmp_path).n_items == 0
    Shard(np.array([2, 5], np.int32), 9).save(tmp_path)
    loaded = Shard.load(tmp_path)
    assert (loaded.rows.tolist(), loaded.n_items) == ([2, 5], 9)

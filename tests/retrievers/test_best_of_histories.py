"""Sums over histories, alone and in a batch, against a `Sums` for each."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import random_array

from multirecall.query import Query
from multirecall.retrievers._neighbours.best_of_histories import best_of_histories, best_of_history
from multirecall.retrievers._recency import recent_items
from multirecall.retrievers._shard import NONE, WHOLE, Shard
from multirecall.retrievers._sparse.patched import PatchedRows
from multirecall.retrievers._sparse.rows import SparseRows
from multirecall.sums import Sums
from multirecall.topk import NO_ROWS

N_ITEMS, N_USERS = 90, 12
PART = Shard(np.arange(0, 80, 3, dtype=np.int32), 80)


def query_of(rng: np.random.Generator, user: int, n_rows: int) -> Query:
    """With repeats, with and without an order, with filters that change within the batch."""
    history = rng.integers(0, n_rows, rng.integers(0, 25)).astype(np.int32)
    return Query(
        user,
        history,
        rng.random(history.size, np.float32),
        ordered=user % 3 > 0,
        exclude=np.sort(rng.permutation(N_ITEMS)[:5]).astype(np.int32) if user % 2 else NO_ROWS,
        allowed=None if user < 7 else np.arange(N_ITEMS) % 4 > 0,
    )


@pytest.mark.parametrize("patched", [False, True])
@pytest.mark.parametrize("density", [0.02, 0.6])
@pytest.mark.parametrize("own", [NONE, WHOLE, PART], ids=["none", "whole", "part"])
@pytest.mark.parametrize("half_life", [None, 4.0])
def test_each_sum_is_that_of_its_own_accumulator(
    patched: bool, density: float, own: Shard, half_life: float | None
) -> None:
    """With few and with many entries, and rows that were changed."""
    rng = np.random.default_rng(3)
    dense = random_array((N_ITEMS, N_ITEMS), density=density, rng=rng, dtype=np.float32)
    matrix = SparseRows.of_matrix(dense.tocsr())
    changed = rng.permutation(N_ITEMS)[:20].astype(np.int32)
    rows = (
        PatchedRows.of_unsorted(matrix).with_entries(changed, changed[::-1].copy(), np.ones(20, np.float32), 90, 90)
        if patched
        else matrix
    )
    whole = rows.merge() if isinstance(rows, PatchedRows) else rows
    n_rows = N_ITEMS if patched else N_ITEMS + 5  # items that joined later have no row in a matrix without a patch
    queries = [query_of(rng, user, n_rows) for user in range(N_USERS)]
    batch = best_of_histories(rows, queries, half_life, own, 10)
    assert len(batch) == N_USERS
    for user, query in enumerate(queries):
        recent, weights = recent_items(query, None, half_life)
        kept = [own is WHOLE or (own is PART and (item >= 80 or item % 3 == 0)) for item in recent.tolist()]
        sums = Sums(N_ITEMS)
        sums.add(recent[kept], weights[kept])
        whole.add(recent, weights, sums)
        expected = sums.top_for(query, 10)
        for found in (batch[user], best_of_history(rows, query, half_life, own, 10)):
            assert found.items.tolist() == expected.items.tolist()
            assert found.scores.tobytes() == expected.scores.tobytes()

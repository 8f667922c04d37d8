"""Several sums of sparse rows in one call, against a `Sums` for each."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import random_array

from multirecall.csr import offsets_of
from multirecall.lists import RankedBatch
from multirecall.query_batch import SharedFilter
from multirecall.retrievers._sparse.best_of_each import best_of_each
from multirecall.retrievers._sparse.patched import PatchedRows
from multirecall.retrievers._sparse.rows import SparseRows
from multirecall.sums import Sums
from multirecall.topk import ALL_ALLOWED, NO_ROWS

N_ITEMS, N_SUMS = 90, 12


def lists_of(rng: np.random.Generator, longest: int) -> RankedBatch:
    lengths = rng.integers(0, longest, N_SUMS)
    rows = [rng.permutation(N_ITEMS)[:n].astype(np.int32) for n in lengths]
    return RankedBatch(offsets_of(lengths), np.concatenate(rows), rng.random(int(lengths.sum()), np.float32))


@pytest.mark.parametrize("patched", [False, True])
@pytest.mark.parametrize("density", [0.02, 0.6])
def test_each_sum_is_that_of_its_own_accumulator(patched: bool, density: float) -> None:
    """With few and with many entries, own columns, filters that change within the batch, and rows that were changed."""
    rng = np.random.default_rng(3)
    dense = random_array((N_ITEMS, N_ITEMS), density=density, rng=rng, dtype=np.float32)
    matrix = SparseRows.of_matrix(dense.tocsr())
    changed = rng.permutation(N_ITEMS)[:20].astype(np.int32)
    rows = (
        PatchedRows.of_unsorted(matrix).with_entries(changed, changed[::-1].copy(), np.ones(20, np.float32), 90, 90)
        if patched
        else matrix
    )
    own, lists = lists_of(rng, 5), lists_of(rng, 15)
    bitmap = np.arange(N_ITEMS) % 4 > 0
    exclude = [np.sort(rng.permutation(N_ITEMS)[:5]).astype(np.int32) if place % 2 else NO_ROWS for place in range(12)]
    filters = [
        SharedFilter(run, offsets_of([one.size for one in exclude[run]]), np.concatenate(exclude[run]), allowed)
        for run, allowed in ((slice(0, 7), ALL_ALLOWED), (slice(7, 12), bitmap))
    ]
    found = best_of_each(rows, own, lists, 10, filters)
    assert len(found) == N_SUMS
    for place in range(N_SUMS):
        sums = Sums(N_ITEMS)
        sums.add(own[place].items, own[place].scores)
        rows.add(lists[place].items, lists[place].scores, sums)
        items, scores = sums.top_among(10, exclude[place], ALL_ALLOWED if place < 7 else bitmap)
        assert found[place].items.tolist() == items.tolist()
        assert found[place].scores.tobytes() == scores.tobytes()

"""A batch of an inverted file against its searches one by one."""

from __future__ import annotations

import numpy as np
import pytest
from index_helpers import never_scan

from multirecall.retrievers._index.ivf import IvfConfig
from multirecall.retrievers._index.kinds import build_index
from multirecall.topk import ALL_ALLOWED, NO_ROWS
from multirecall.vector_index import SPACES, Space

N, DIM = 5_000, 12


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("searched", [True, False])
def test_each_list_is_that_of_its_search_to_the_bit(
    space: Space, searched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With removed and added rows, bitmaps that change within the batch, long exclusions, and a query that is zero."""
    if searched:
        never_scan(monkeypatch)
    rng = np.random.default_rng(4)
    centres = rng.normal(size=(40, DIM))
    vectors = (centres[rng.integers(0, 40, N)] + 0.3 * rng.normal(size=(N, DIM))).astype(np.float32)
    index = build_index(np.arange(N, dtype=np.int32), vectors, space, IvfConfig(), rng=rng)
    index = index.add(np.arange(N - 20, N + 20, dtype=np.int32), vectors[:40]).remove(np.arange(50, dtype=np.int32))
    queries = vectors[rng.integers(0, N, 30)] + np.float32(0.1)
    queries[7] = 0
    bitmaps = [ALL_ALLOWED, np.arange(N + 20) % 3 > 0, np.arange(N + 20) % 97 == 0]
    exclude = [NO_ROWS, np.arange(0, N, 50, dtype=np.int32), np.arange(0, N, 2, dtype=np.int32)]
    filters = [(exclude[place % 3], bitmaps[place // 10]) for place in range(30)]
    for k in (0, 1, 40):
        batch = index.search_batch(queries, k, filters)
        assert len(batch) == 30
        for place, (query, one) in enumerate(zip(queries, filters, strict=True)):
            single = index.search(query, k, *one)
            assert batch[place].items.tolist() == single.items.tolist()
            assert batch[place].scores.tobytes() == single.scores.tobytes()
    assert len(index.search_batch(queries[:0], 5)) == 0

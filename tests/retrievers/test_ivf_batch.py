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
    """With removed and added rows, bitmaps that change within the batch, long exclusions, a query that is zero, one
    that is far away, and a thousand vectors that are equal, more than a search has room for at first."""
    if searched:
        never_scan(monkeypatch)
    rng = np.random.default_rng(4)
    centres = rng.normal(size=(40, DIM))
    vectors = (centres[rng.integers(0, 40, N)] + 0.3 * rng.normal(size=(N, DIM))).astype(np.float32)
    vectors[1000:2000] = vectors[1000]
    index = build_index(np.arange(N, dtype=np.int32), vectors, space, IvfConfig(), rng=rng)
    index = index.add(np.arange(N - 20, N + 20, dtype=np.int32), vectors[:40]).remove(np.arange(50, dtype=np.int32))
    queries = vectors[rng.integers(0, N, 120)] + np.float32(0.1)
    queries[7], queries[11] = 0, 1e18 * queries[11]
    bitmaps = [ALL_ALLOWED, np.arange(N + 20) % 3 > 0, np.arange(N + 20) % 97 == 0]
    exclude = [NO_ROWS, np.arange(0, N, 50, dtype=np.int32), np.arange(0, N, 2, dtype=np.int32)]
    filters = [(exclude[place % 3], bitmaps[place // 40]) for place in range(120)]
    for k in (0, 1, 40):
        batch = index.search_batch(queries, k, filters)
        assert len(batch) == 120
        for place, (query, one) in enumerate(zip(queries, filters, strict=True)):
            single = index.search(query, k, *one)
            assert batch[place].items.tolist() == single.items.tolist()
            assert batch[place].scores.tobytes() == single.scores.tobytes()
    assert len(index.search_batch(queries[:0], 5)) == 0

"""The parts of a vector index that may miss items: merged, they miss no more than the whole."""

from __future__ import annotations

import numpy as np
import pytest

from multirecall.retrievers._index.exact import ExactIndex
from multirecall.retrievers._index.kinds import build_index, index_settings
from multirecall.retrievers._index.shard import ShardIndex
from multirecall.retrievers._shard import Shard
from multirecall.topk import top_k

N, DIM, K = 24_000, 12, 20


@pytest.mark.parametrize("n_shards", [2, 3])
def test_merged_parts_find_no_less_than_the_whole(n_shards: int) -> None:
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((60, DIM))
    vectors = (centres[rng.integers(0, 60, N)] + 0.4 * rng.standard_normal((N, DIM))).astype(np.float32)
    asked = (centres[rng.integers(0, 60, 150)] + 0.5 * rng.standard_normal((150, DIM))).astype(np.float32)
    rows, owners = np.arange(N, dtype=np.int32), rng.integers(0, n_shards, N)
    settings, exact = index_settings({"kind": "ivf", "recall": 0.7}), index_settings({"kind": "exact"})
    whole = build_index(rows, vectors, "cosine", settings, rng=rng)
    oracle = build_index(rows, vectors, "cosine", exact, rng=rng)
    assert isinstance(oracle, ExactIndex)
    parts = [
        ShardIndex.of(whole, Shard(np.flatnonzero(owners == shard).astype(np.int32), N), settings, 1)
        for shard in range(n_shards)
    ]
    found_by_whole = found_by_parts = 0
    for query in asked:
        lists = [part.search(query, K) for part in parts]
        merged, _ = top_k(
            np.concatenate([one.items for one in lists]), np.concatenate([one.scores for one in lists]), K
        )
        true = oracle.search(query, K).items
        found_by_whole += np.isin(whole.search(query, K).items, true).sum()
        found_by_parts += np.isin(merged, true).sum()
    assert found_by_whole < K * len(asked), "the whole misses nothing, so that this shows nothing"
    assert found_by_parts >= found_by_whole


def test_a_part_takes_its_own_vectors_and_those_that_join() -> None:
    rng = np.random.default_rng(2)
    rows, vectors = np.arange(9, dtype=np.int32), rng.standard_normal((9, 4)).astype(np.float32)
    settings = index_settings({"kind": "exact"})
    whole = build_index(rows, vectors, "inner_product", settings, rng=rng)
    part = ShardIndex.of(whole, Shard(np.array([1, 4, 7], np.int32), 9), settings, 1)
    assert part.item_vectors()[0].tolist() == [1, 4, 7]
    changed = part.add(np.array([4, 5, 9], np.int32), np.ones((3, 4), np.float32))
    assert changed.item_vectors()[0].tolist() == [1, 4, 7, 9]
    assert changed.vectors_of(np.array([4, 5], np.int32)).tolist() == [[1.0] * 4, [0.0] * 4]
    assert len(part) == 3
    assert part.add(np.array([5], np.int32), np.ones((1, 4), np.float32)) is part
    assert len(changed.remove(np.array([4, 5], np.int32))) == 3

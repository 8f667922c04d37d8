from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from oracles import rank_items

from multirecall.fusion.rrf import ReciprocalRankFusion, RRFConfig
from multirecall.fusion.weighted_sum import WeightedSum, WeightedSumConfig
from multirecall.lists import RankedBatch, RankedList

ENTRIES = st.lists(
    st.tuples(st.integers(0, 2**31 - 1) | st.integers(0, 12), st.sampled_from([0.5, 1.0, 2.5])), max_size=12
)
USERS = st.lists(st.tuples(ENTRIES, ENTRIES, ENTRIES), min_size=1, max_size=4)


def as_list(entries: list[tuple[int, float]]) -> RankedList:
    best_first = sorted(entries, key=lambda entry: (-entry[1], entry[0]))
    return RankedList(
        np.array([item for item, _ in best_first], np.int32), np.array([score for _, score in best_first], np.float32)
    )


@given(USERS, st.lists(st.floats(0.1, 3), min_size=3, max_size=3), st.integers(1, 10), st.integers(1, 20))
def test_equals_a_dictionary(
    users: list[tuple[list[tuple[int, float]], ...]], weights: list[float], quota: int, k: int
) -> None:
    """Duplicates within a path count once, with their first rank; sums run in path order; ties go by row."""
    assert_equals_a_dictionary([[as_list(entries) for entries in user] for user in users], weights, quota, k)


SHAPES: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "equal": np.ones_like,
    "few values": lambda uniform: np.ceil(uniform * 5),
    "spread": lambda uniform: uniform,
    "skewed": lambda uniform: uniform**9 * 1e30,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("k", [1, 300, 5000])
def test_equals_a_dictionary_on_long_lists(shape: str, k: int) -> None:
    rng = np.random.default_rng(7)
    users = [
        [
            as_list(list(zip(rng.permutation(900)[:n].tolist(), SHAPES[shape](rng.random(n)).tolist(), strict=True)))
            for n in (800, 333, 700)
        ]
        for _ in range(3)
    ]
    assert_equals_a_dictionary(users, [1.0, 0.25, 2.0], 700, k)


def assert_equals_a_dictionary(lists: list[list[RankedList]], weights: list[float], quota: int, k: int) -> None:
    batches = [RankedBatch.from_lists([user[path] for user in lists]) for path in range(3)]
    fusions = (
        (ReciprocalRankFusion(RRFConfig()), lambda weight, rank, _: weight / (60.0 + rank + 1)),
        (WeightedSum(WeightedSumConfig(normaliser="none")), lambda weight, _, score: weight * score),
    )
    for fusion, contribution in fusions:
        fused = fusion.fuse_batch(batches, weights, [quota] * 3, k)
        for position, user in enumerate(lists):
            scores: dict[int, float] = defaultdict(float)
            ranks: dict[int, list[int]] = defaultdict(lambda: [-1, -1, -1])
            for path, one in enumerate(user):
                entries = zip(one.items.tolist()[:quota], one.scores.tolist(), strict=False)
                for rank, (item, score) in enumerate(entries):
                    if ranks[item][path] < 0:
                        ranks[item][path] = rank
                        scores[item] += contribution(weights[path], rank, score)
            expected = rank_items(scores)[:k]
            assert fused[position].items.tolist() == expected
            assert fused[position].scores.tolist() == [scores[item] for item in expected]
            assert fused[position].ranks.tolist() == [ranks[item] for item in expected]

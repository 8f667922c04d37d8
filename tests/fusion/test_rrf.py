from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multirecall.fusion.rrf import ReciprocalRankFusion, RRFConfig
from multirecall.lists import RankedList
from multirecall.testing import FusionContract
from multirecall.testing.fusion import assert_equal, ranked_list, some_lists


class TestReciprocalRankFusion(FusionContract):
    fusion = ReciprocalRankFusion


def rrf(rank_constant: float = 60.0) -> ReciprocalRankFusion:
    return ReciprocalRankFusion(RRFConfig(rank_constant=rank_constant))


def test_sum_written_out() -> None:
    first = ranked_list([4, 7, 2], [0.9, 0.5, 0.1])
    second = ranked_list([2, 4], [10.0, 3.0])
    fused = rrf().fuse([first, second], [1.0, 2.0], [10, 10], 10)
    assert fused.items.tolist() == [2, 4, 7]
    assert fused.scores.tolist() == pytest.approx([1 / 63 + 2 / 61, 1 / 61 + 2 / 62, 1 / 62], rel=1e-15)
    assert fused.ranks.tolist() == [[2, 0], [0, 1], [1, -1]]


def test_ties_fall_to_the_lower_row() -> None:
    fused = rrf().fuse([ranked_list([5, 3], [2.0, 1.0]), ranked_list([3, 5], [2.0, 1.0])], [1, 1], [2, 2], 2)
    assert fused.items.tolist() == [3, 5]


@given(st.integers(0, 1000), st.floats(0.01, 100), st.floats(-50, 50))
def test_monotone_rescaling_changes_nothing(seed: int, factor: float, shift: float) -> None:
    lists = [RankedList(one.items, np.sort(np.arange(len(one), dtype=np.float32))[::-1]) for one in some_lists(seed)]
    rescaled = [
        RankedList(one.items, np.exp2(one.scores / 64) * np.float32(factor) + np.float32(shift)) for one in lists
    ]
    assert_equal(rrf().fuse(lists, [1, 2, 3], [9] * 3, 20), rrf().fuse(rescaled, [1, 2, 3], [9] * 3, 20))


def test_larger_constant_flattens() -> None:
    ranked = ranked_list([1, 2], [2.0, 1.0])
    steep, flat = (rrf(constant).fuse([ranked], [1.0], [2], 2).scores for constant in (0.0, 60.0))
    assert steep.tolist() == [1.0, 0.5]
    assert flat[1] / flat[0] == pytest.approx(61 / 62)

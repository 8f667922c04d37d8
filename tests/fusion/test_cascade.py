from __future__ import annotations

import pytest
from pydantic import ValidationError

from multirecall.fusion.cascade import Cascade, CascadeConfig
from multirecall.lists import FusedList, RankedList
from multirecall.testing import FusionContract
from multirecall.testing.fusion import ranked_list


class TestReplace(FusionContract):
    fusion = Cascade


class TestSkip(FusionContract):
    fusion = Cascade
    params = {"on_duplicate": "skip"}


def in_order(*items: int) -> RankedList:
    return ranked_list(items, range(len(items), 0, -1))


def cascade(on_duplicate: str, *lists: RankedList, quotas: list[int], k: int = 10) -> FusedList:
    fusion = Cascade(CascadeConfig.model_validate({"on_duplicate": on_duplicate}))
    fused: FusedList = fusion.fuse(lists, [1.0] * len(lists), quotas, k)
    return fused


FIRST, SECOND, THIRD = in_order(8, 6, 4, 2), in_order(6, 8, 5, 3, 1), in_order(5, 8, 9)


def test_replace_goes_on_down_the_list() -> None:
    fused = cascade("replace", FIRST, SECOND, THIRD, quotas=[2, 2, 1])
    assert fused.items.tolist() == [8, 6, 5, 3, 9]


def test_skip_looks_at_the_quota_only() -> None:
    fused = cascade("skip", FIRST, SECOND, THIRD, quotas=[2, 2, 2])
    assert fused.items.tolist() == [8, 6, 5]


def test_shortfall_goes_to_nobody() -> None:
    fused = cascade("replace", in_order(1), in_order(2, 3, 4, 5), quotas=[4, 2])
    assert fused.items.tolist() == [1, 2, 3]


def test_scores_fall_with_the_position() -> None:
    fused = cascade("replace", FIRST, SECOND, quotas=[2, 1])
    assert fused.scores.tolist() == [1.0, 1 / 2, 1 / 3]


def test_provenance_keeps_paths_that_came_too_late() -> None:
    fused = cascade("replace", FIRST, SECOND, quotas=[2, 2])
    assert fused.items.tolist() == [8, 6, 5, 3]
    assert fused.ranks.tolist() == [[0, 1], [1, 0], [-1, 2], [-1, 3]]


def test_replace_asks_for_room_for_earlier_paths() -> None:
    assert Cascade(CascadeConfig()).windows([5, 3, 2]) == [5, 8, 10]
    assert Cascade(CascadeConfig(on_duplicate="skip")).windows([5, 3, 2]) == [5, 3, 2]


def test_the_former_name_of_replace_still_works() -> None:
    with pytest.warns(DeprecationWarning, match="on_duplicate = 'refill' is now called 'replace'"):
        former = CascadeConfig.model_validate({"on_duplicate": "refill"})
    assert former == CascadeConfig()
    for wrong in ("refil", 1, ["refill"]):
        with pytest.raises(ValidationError, match="Input should be 'replace' or 'skip'"):
            CascadeConfig.model_validate({"on_duplicate": wrong})

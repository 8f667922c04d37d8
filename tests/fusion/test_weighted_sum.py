from __future__ import annotations

import math
from typing import Any, get_args

import pytest

from multirecall.fusion.weighted_sum import Normaliser, WeightedSum, WeightedSumConfig
from multirecall.lists import RankedList
from multirecall.testing import FusionContract
from multirecall.testing.fusion import ranked_list


class TestMinMax(FusionContract):
    fusion = WeightedSum


class TestSum(FusionContract):
    fusion = WeightedSum
    params = {"normaliser": "sum"}


class TestRank(FusionContract):
    fusion = WeightedSum
    params = {"normaliser": "rank"}


class TestZScore(FusionContract):
    fusion = WeightedSum
    params = {"normaliser": "z_score"}


class TestDistributionBased(FusionContract):
    fusion = WeightedSum
    params = {"normaliser": "dbsf"}


class TestRawScores(FusionContract):
    fusion = WeightedSum
    params = {"normaliser": "none"}


def fuse(normaliser: str, *lists: RankedList, weights: Any = None, quota: int = 10) -> dict[int, float]:
    fusion = WeightedSum(WeightedSumConfig.model_validate({"normaliser": normaliser}))
    result = fusion.fuse(lists, weights or [1.0] * len(lists), [quota] * len(lists), 10)
    return dict(zip(result.items.tolist(), result.scores.tolist(), strict=True))


SPREAD = ranked_list([1, 2, 3], [4.0, 2.0, 0.0])
DEVIATION = math.sqrt(8 / 3)
EXPECTED = {
    "min_max": [1.0, 0.5, 0.0],
    "sum": [4 / 6, 2 / 6, 0.0],
    "rank": [1.0, 2 / 3, 1 / 3],
    "z_score": [4 / DEVIATION, 2 / DEVIATION, 0.0],
    "dbsf": [0.5 + 2 / (6 * DEVIATION), 0.5, 0.5 - 2 / (6 * DEVIATION)],
    "none": [4.0, 2.0, 0.0],
}
ALL_EQUAL = {"min_max": 1.0, "sum": 1 / 3, "rank": None, "z_score": 0.0, "dbsf": 0.5, "none": 0.1}


def test_every_normaliser_is_tested() -> None:
    assert set(EXPECTED) == set(ALL_EQUAL) == set(get_args(Normaliser))


@pytest.mark.parametrize("normaliser", EXPECTED)
def test_normaliser_written_out(normaliser: str) -> None:
    assert [fuse(normaliser, SPREAD)[item] for item in (1, 2, 3)] == pytest.approx(EXPECTED[normaliser])


@pytest.mark.parametrize(("normaliser", "value"), [(k, v) for k, v in ALL_EQUAL.items() if v is not None])
def test_equal_scores(normaliser: str, value: float) -> None:
    same = ranked_list([1, 2, 3], [0.1, 0.1, 0.1])
    assert [*fuse(normaliser, same).values()] == pytest.approx([value] * 3)


def test_sum_over_paths_written_out() -> None:
    other = ranked_list([3, 9], [8.0, 6.0])
    scores = fuse("min_max", SPREAD, other, weights=[0.25, 2.0])
    assert scores == pytest.approx({1: 0.25, 2: 0.25 * 0.5, 3: 0.25 * 0.0 + 2.0, 9: 0.0})


def test_only_the_window_is_normalised() -> None:
    assert fuse("min_max", SPREAD, quota=2) == {1: 1.0, 2: 0.0}


def test_dbsf_clips_outliers() -> None:
    outlier = ranked_list(range(40), [1000.0] + [0.0] * 39)
    assert max(fuse("dbsf", outlier, quota=40).values()) == 1.0

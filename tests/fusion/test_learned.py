from __future__ import annotations

import json
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multirecall import Engine, EngineConfig, User
from multirecall.engine.state import Blueprint
from multirecall.errors import ConfigError
from multirecall.fusion.learned import Learned
from multirecall.lists import RankedBatch, RankedList
from multirecall.testing import FusionContract, small_shop
from multirecall.testing.fusion import QUOTAS, assert_equal, ranked_list, some_lists

STEEP = {"presence": 0.4, "log_rank": 0.5, "min_max": 1.0, "reciprocal_rank": 0.8}
SHALLOW = {"presence": -0.7, "min_max": 0.25}


class TestEqualCoefficients(FusionContract):
    fusion = Learned


class TestCoefficientsByPath(FusionContract):
    fusion = Learned
    params = {"intercept": -6.0, "paths": {"first": STEEP, "second": SHALLOW, "third": {"log_rank": 0.3}}}


def learned(paths: dict[str, Any] | None = None, intercept: float = 0.0) -> Learned:
    return Learned(Learned.Config.model_validate({"intercept": intercept, "paths": paths or {}}))


def test_sum_written_out() -> None:
    fusion = learned({"one": STEEP, "two": SHALLOW}, -6.0).for_paths(["two", "one"])
    two, one = ranked_list([4, 7, 2], [0.9, 0.5, 0.1]), ranked_list([2, 4], [10.0, 3.0])
    fused = fusion.fuse([two, one], [1.0, 2.0], [10, 5], 10)
    scores = {
        2: -6 + (-0.7 + 0.25 * 0) + 2 * (0.4 + 0.5 * -log(1 / 5) + 1.0 * 1 + 0.8 * 10 / 10),
        4: -6 + (-0.7 + 0.25 * 1) + 2 * (0.4 + 0.5 * -log(2 / 5) + 1.0 * 0 + 0.8 * 10 / 11),
        7: -6 + (-0.7 + 0.25 * 0.5),
    }
    assert fused.items.tolist() == [2, 4, 7]
    assert fused.scores.tolist() == pytest.approx([scores[item] for item in (2, 4, 7)], rel=1e-6)
    assert fused.ranks.tolist() == [[2, 0], [0, 1], [1, -1]]


def test_the_share_of_equal_scores_is_one() -> None:
    fused = learned({"one": {"min_max": 2.0}}).fuse([ranked_list([5, 3], [0.1, 0.1])], [1.0], [10], 10)
    assert fused.scores.tolist() == [2.0, 2.0]


def test_without_coefficients_every_path_counts_alike() -> None:
    lists = some_lists(1)
    named = {name: {"min_max": 1.0} for name in "abc"}
    expected = learned(named).for_paths("abc").fuse(lists, [1.0] * 3, QUOTAS, 40)
    for fusion in (learned(), learned().for_paths("xyz")):
        assert_equal(fusion.fuse(lists, [1.0] * 3, QUOTAS, 40), expected)


def test_terms_times_coefficients_are_what_the_paths_add() -> None:
    """What is learned from the terms is what serves, once it is written into the settings and read back."""
    lists, quotas, names = some_lists(6), [12, 9, 3], ["a", "b", "c"]
    coefficients = np.array([[0.25, 0.5, 1.0, 0.75, 0.5], [0.0] * 5, [-1.5, 0.0, 0.0, 2.0, 0.0]])
    params, weights = learned().with_coefficients(names, coefficients, -4.5)
    assert params == {
        "intercept": -4.5,
        "paths": {
            "a": {"presence": 0.25, "log_rank": 0.5, "min_max": 1.0, "reciprocal_rank": 0.75, "z_score": 0.5},
            "c": {"presence": -1.5, "reciprocal_rank": 2.0},
        },
    }
    fusion = Learned(Learned.Config.model_validate(params)).for_paths(names)
    batches = [RankedBatch.from_lists([one, one.head(2), RankedList.empty()]) for one in lists]
    added = fusion.contributions(batches, weights, quotas)
    for batch, quota, own, part in zip(batches, quotas, coefficients, added, strict=True):
        terms = fusion.term_values(batch, quota)
        assert (terms.dtype, terms.shape) == (np.float32, (batch.items.size, len(fusion.terms)))
        assert terms @ own == pytest.approx(part, rel=1e-6, abs=1e-6)


def test_a_path_without_coefficients_adds_nothing() -> None:
    fusion = learned({"one": STEEP}, -2.0).for_paths(["one", "two"])
    one, two = ranked_list([1, 2], [2.0, 1.0]), ranked_list([9, 1], [5.0, 4.0])
    fused = fusion.fuse([one, two], [1.0, 3.0], [5, 5], 10)
    alone = fusion.fuse([one, RankedList.empty()], [1.0, 3.0], [5, 5], 10)
    by_item = dict(zip(fused.items.tolist(), fused.scores.tolist(), strict=True))
    assert by_item == dict(zip(alone.items.tolist(), alone.scores.tolist(), strict=True)) | {9: -2.0}


def test_quotas_may_change_from_call_to_call() -> None:
    """What is computed once for all requests must not outlive the quotas that it was computed for."""
    fusion, lists = learned({"one": STEEP, "two": SHALLOW}), some_lists(4)[:2]
    for quotas in ([12, 12], [12, 5], [30, 12], [12, 12]):
        fresh = learned({"one": STEEP, "two": SHALLOW})
        assert_equal(fusion.fuse(lists, [1.0, 2.0], quotas, 40), fresh.fuse(lists, [1.0, 2.0], quotas, 40))


def test_deviations_are_counted_from_the_lowest_score() -> None:
    fused = learned({"one": {"z_score": 3.0}}).fuse([ranked_list([7, 8], [5.0, 1.0])], [1.0], [10], 10)
    assert fused.scores.tolist() == [3.0 * (5.0 - 1.0) / 2.0, 0.0], "their standard deviation is 2"


@given(
    presence=st.floats(-20, 20),
    rising=st.tuples(*[st.floats(0, 1e3)] * 4),
    scores=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=300),
    quota=st.integers(1, 1000),
)
def test_no_rank_is_worth_more_than_a_better_one(
    presence: float, rising: tuple[float, ...], scores: list[float], quota: int
) -> None:
    names = ("log_rank", "min_max", "reciprocal_rank", "z_score")
    fusion = learned({"one": {"presence": presence, **dict(zip(names, rising, strict=True))}})
    batch = RankedBatch.from_lists([ranked_list(range(len(scores)), scores)])
    [worth] = fusion.contributions([batch], [1.5], [quota])
    read = worth[:quota]
    assert (np.diff(read) <= 0).all()
    assert np.isfinite(read).all()
    assert (worth[quota:] == 0).all()


@pytest.mark.parametrize("name", ["log_rank", "min_max", "reciprocal_rank", "z_score"])
def test_a_coefficient_that_would_reward_a_lower_rank_is_refused(name: str) -> None:
    config = {"strategy": "learned", "params": {"paths": {"item_cf": {name: -0.1}}}}
    with pytest.raises(ConfigError, match=rf"fusion \(learned\): paths.item_cf.{name}: .* equal to 0, got -0.1"):
        engine_with(config)


PATHS = [{"retriever": "item_cf", "quota": 20}, {"retriever": "popularity", "quota": 15}]
COEFFICIENTS = {"item_cf": STEEP, "popularity": SHALLOW}
FUSION = {"strategy": "learned", "params": {"intercept": -6.1, "paths": COEFFICIENTS}}


def engine_with(fusion: dict[str, Any], *more: dict[str, Any], **rest: Any) -> Engine:
    return Engine(EngineConfig.model_validate({"paths": [*PATHS, *more], "fusion": fusion, **rest}))


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ({"itm_cf": STEEP}, "fusion (learned): paths.itm_cf: no path has this name; did you mean 'item_cf'?"),
        ({"item_cf": {"presense": 1.0}}, "paths.item_cf: unknown key 'presense'; did you mean 'presence'?"),
        ({"item_cf": {"presence": "much"}}, "paths.item_cf.presence: input should be a valid number, got 'much'"),
    ],
)
def test_mistakes_are_named(paths: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as fault:
        engine_with({"strategy": "learned", "params": {"paths": paths}})
    assert message in str(fault.value)


def test_a_path_that_is_off_or_left_out_may_have_coefficients() -> None:
    """The order of the coefficients is not that of the paths."""
    off = {"retriever": "user_cf", "enabled": False}
    absent = {"retriever": "content", "optional": True, "params": {"fields": ["no such field"]}}
    named = {"content": STEEP, "popularity": SHALLOW, "user_cf": STEEP, "item_cf": STEEP}
    fusion = {"strategy": "learned", "params": {"intercept": -6.1, "paths": named}}
    data = small_shop()
    engine = engine_with(fusion, off, absent).fit(data)
    assert engine.paths == ("item_cf", "popularity")
    expected, found = (one.retrieve(3, 10) for one in (engine_with(FUSION).fit(data), engine))
    assert (found.ids.tolist(), found.scores.tolist()) == (expected.ids.tolist(), expected.scores.tolist())


def test_coefficients_for_none_of_the_fitted_paths_are_refused() -> None:
    absent = {"retriever": "content", "optional": True, "params": {"fields": ["no such field"]}}
    engine = engine_with({"strategy": "learned", "params": {"paths": {"content": STEEP}}}, absent)
    message = r"fusion \(learned\): paths: no coefficients for any of item_cf, popularity; add paths.item_cf"
    with pytest.raises(ConfigError, match=message):
        engine.fit(small_shop())


def test_an_explanation_adds_up_to_the_score() -> None:
    """The intercept counts once, and what the paths add does not have it."""
    weighted = [{**PATHS[0], "weight": 2.0}, PATHS[1]]
    engine = Engine(EngineConfig.model_validate({"paths": weighted, "fusion": FUSION})).fit(small_shop())
    for one in engine.retrieve(3, 10)[:5]:
        told = engine.explain(3, one.item_id, 10)
        first, second = (told.paths[name].normalised or 0.0 for name in ("item_cf", "popularity"))
        assert told.intercept == -6.1
        assert told.score == one.score == pytest.approx(-6.1 + 2.0 * first + second, rel=1e-12)
    assert engine_with({"strategy": "rrf"}).fit(small_shop()).explain(3, 1, 10).intercept == 0.0


def test_a_bundle_holds_the_coefficients(tmp_path: Path) -> None:
    segments = [{"max_history": 3, "fusion": {"strategy": "learned", "params": {"paths": {"popularity": STEEP}}}}]
    with engine_with(FUSION, segments=segments).fit(small_shop()) as engine:
        engine.save(tmp_path / "bundle")
        with Engine.load(tmp_path / "bundle") as loaded:
            fusion = loaded.config.fusion
            assert fusion.params == {
                "intercept": -6.1,
                "paths": {
                    "item_cf": {"z_score": 0.0} | STEEP,
                    "popularity": {"log_rank": 0.0, "reciprocal_rank": 0.0, "z_score": 0.0} | SHALLOW,
                },
            }
            assert Blueprint.of(loaded.config).resolved == loaded.config
            for user in (3, User(history=[1, 4]), User()):
                found, expected = loaded.retrieve(user, 12), engine.retrieve(user, 12)
                assert (found.ids.tolist(), found.scores.tolist()) == (expected.ids.tolist(), expected.scores.tolist())
            json.dumps(loaded.config.model_dump(mode="json"))


def test_coefficients_are_read_from_toml(tmp_path: Path) -> None:
    (tmp_path / "engine.toml").write_text(
        '[[paths]]\nretriever = "item_cf"\n[[paths]]\nretriever = "popularity"\n'
        '[fusion]\nstrategy = "learned"\n[fusion.params]\nintercept = -6.1\n'
        "[fusion.params.paths.item_cf]\npresence = 0.4\nlog_rank = 0.5\nmin_max = 1\nreciprocal_rank = 0.8\n"
        "[fusion.params.paths.popularity]\npresence = -0.7\nmin_max = 0.25\n"
    )
    config = Engine.from_toml(tmp_path / "engine.toml").config
    assert config.fusion.params == {"intercept": -6.1, "paths": COEFFICIENTS}

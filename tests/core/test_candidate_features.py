"""What each path says about each candidate: rank, score, presence and contribution."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from multirecall import Engine, EngineConfig, User
from multirecall.candidate_features import CandidateFeatures, Proposals
from multirecall.engine.segments import Segment
from multirecall.errors import RequestError
from multirecall.fusion.cascade import Cascade
from multirecall.fusion.rrf import ReciprocalRankFusion
from multirecall.fusion.weighted_sum import WeightedSum
from multirecall.lists import RankedBatch, RankedList
from multirecall.testing import small_shop
from multirecall.testing.fusion import ranked_list

NAMES = ("one", "two")


def features_by_hand() -> CandidateFeatures:
    """A user in the segment of `rrf`, then one in that of a weighted sum, with paths of two items at most."""
    one = [ranked_list([4, 7, 2], [9.0, 5.0, 1.0]), ranked_list([3, 1], [2.0, 2.0])]
    two = [ranked_list([2, 4], [10.0, 4.0]), RankedList.empty()]
    segments = (
        Segment(5, ReciprocalRankFusion(ReciprocalRankFusion.Config()), [1.0, 2.0]),
        Segment(np.inf, WeightedSum(WeightedSum.Config()), [0.5, 1.0]),
    )
    batches = [RankedBatch.from_lists(lists) for lists in (one, two)]
    proposals = Proposals(batches, [2, 2], segments, np.array([5, 6]), np.arange(2))
    # user 0: items 4, 2, 7 and a backfilled one; user 1: items 1, 3
    ranks = np.array([[0, 1], [-1, 0], [1, -1], [-1, -1], [0, -1], [1, -1]], np.int32)
    return proposals.features(NAMES, np.array([0, 4, 6]), ranks, lambda: {"item_id": [4, 2, 7, 0, 1, 3]})


def test_features_written_out() -> None:
    found = features_by_hand()
    nan = np.nan
    assert len(found) == 6
    assert found.rank.tolist() == [[0, 1], [-1, 0], [1, -1], [-1, -1], [0, -1], [1, -1]]
    assert found.present.tolist() == [[True, True], [False, True], [True, False], [False] * 2, *[[True, False]] * 2]
    expected = [[1, 0], [nan, 1], [0, nan], [nan, nan], [1, nan], [1, nan]]
    np.testing.assert_array_equal(found.score, np.array(expected, np.float32))
    added = np.array([[1 / 61, 2 / 62], [0, 2 / 61], [1 / 62, 0], [0, 0], [0.5, 0], [0.5, 0]])
    assert found.contribution == pytest.approx(added, rel=1e-15)
    assert [found.score.dtype.name, found.contribution.dtype.name] == ["float32", "float64"]


def test_scores_are_scaled_over_what_the_fusion_reads() -> None:
    """With a quota of 2, the third item of the list does not count; a cascade reads further in its second path."""
    lists = [ranked_list([4, 7, 2], [9.0, 5.0, 1.0])] * 2
    segments = (Segment(np.inf, Cascade(Cascade.Config()), [1.0, 1.0]),)
    proposals = Proposals(lists, [2, 2], segments, (0,), np.zeros(1, np.int64))
    ranks = np.array([[0, 0], [1, 1], [-1, 2]], np.int32)
    found = proposals.features(NAMES, np.array([0, 3]), ranks, dict)
    np.testing.assert_array_equal(found.score, np.array([[1, 1], [0, 0.5], [np.nan, 0]], np.float32))
    assert np.isnan(found.contribution).all(), "the score of a cascade is no sum"


def test_frame_has_four_columns_for_each_path() -> None:
    frame = features_by_hand().to_polars()
    parts = ("rank", "score", "present", "contribution")
    assert frame.columns == ["item_id", *(f"{part}_{name}" for name in NAMES for part in parts)]
    assert frame["rank_one"].to_list() == [0, None, 1, None, 0, 1]
    assert frame["score_two"].to_list() == [0.0, 1.0, None, None, None, None]
    assert frame["present_two"].to_list() == [True, True, False, False, False, False]
    assert frame["contribution_one"].to_list() == pytest.approx([1 / 61, 0, 1 / 62, 0, 0.5, 0.5])


COEFFICIENTS = {"item_cf": {"presence": -0.5, "log_rank": 0.5}, "content": {"min_max": 1.0, "reciprocal_rank": 2.0}}


@pytest.fixture(scope="module")
def engine() -> Engine:
    """Paths of few items, so that the fallback adds some; a fusion for short histories, and another one for others."""
    config: dict[str, Any] = {
        "paths": [{"retriever": "item_cf", "quota": 4, "weight": 2.0}, {"retriever": "content", "quota": 3}],
        "fusion": {"strategy": "learned", "params": {"intercept": -3.0, "paths": COEFFICIENTS}},
        "segments": [{"max_history": 12, "fusion": {"strategy": "weighted_sum"}}],
        "cache_size": 8,
    }
    return Engine(EngineConfig.model_validate(config)).fit(small_shop())


def some_users(engine: Engine) -> list[Any]:
    return [*engine.data.users.ids.ids()[:12].tolist(), User(history=[1, 3]), User()]


def assert_same(first: CandidateFeatures, second: CandidateFeatures) -> None:
    assert first.paths == second.paths
    for part in ("rank", "score", "present", "contribution"):
        np.testing.assert_array_equal(getattr(first, part), getattr(second, part), err_msg=part)


def test_contributions_and_the_intercept_are_the_score(engine: Engine) -> None:
    batch = engine.retrieve_batch(some_users(engine), 8)
    assert (batch.n_backfilled > 0).any()
    segments = set()
    for one in batch:
        found, paths_only = one.features(), len(one) - one.n_backfilled
        assert not found.present[paths_only:].any(), "what is backfilled has no path"
        intercepts = (one.scores - found.contribution.sum(axis=1))[:paths_only]
        if paths_only:
            segments.add(round(float(intercepts[0]), 6))
            assert intercepts == pytest.approx([intercepts[0]] * paths_only)
    assert segments == {0.0, -3.0}


def test_single_is_batch_and_slices_keep_their_rows(engine: Engine) -> None:
    users = some_users(engine)
    batch = engine.retrieve_batch(users, 8)
    whole = batch.features()
    frame = whole.to_polars()
    assert frame.columns[:3] == ["user_id", "item_id", "score"]
    assert frame.select("user_id", "item_id", "score").equals(batch.to_polars().select("user_id", "item_id", "score"))
    for number, user in enumerate(users):
        part = slice(batch.offsets[number], batch.offsets[number + 1])
        single = engine.retrieve(user, 8)
        assert_same(single.features(), batch[number].features())
        np.testing.assert_array_equal(single.features().contribution, whole.contribution[part])
        own = single.features().to_polars()
        assert own.equals(frame[part].drop("user_id"))
        assert single[2:5].features().to_polars().equals(own[2:5])
    for chosen in (slice(3, 6), slice(None, None, -1), slice(4, 4)):
        again = batch[chosen].features().to_polars()
        expected = [frame[slice(batch.offsets[u], batch.offsets[u + 1])] for u in range(len(users))[chosen]]
        assert again.equals(pl.concat(expected)) if expected else again.is_empty()
    assert batch[3:9][2:4].features().to_polars().equals(batch[5:7].features().to_polars())


def test_a_cached_answer_has_its_features(engine: Engine) -> None:
    first, again = (engine.retrieve(3, 8).features() for _ in range(2))
    assert engine.health().cache.hits > 0
    assert_same(first, again)


def test_a_copied_answer_is_small_and_has_no_features(engine: Engine) -> None:
    """A deep copy goes through the same protocol as pickle."""
    batch = engine.retrieve_batch(some_users(engine), 8)
    for answer in (batch, batch[0]):
        copied = copy.deepcopy(answer)
        assert copied.to_polars().equals(answer.to_polars())
        with pytest.raises(RequestError, match="features: candidates that were pickled have no lists"):
            copied.features()


def test_features_do_not_reach_the_written_file(engine: Engine, tmp_path: Path) -> None:
    users = some_users(engine)[:5]
    engine.write_candidates(users, tmp_path / "candidates.parquet", 8, chunk=2)
    assert pl.read_parquet(tmp_path / "candidates.parquet").equals(engine.retrieve_batch(users, 8).to_polars())


def test_batch_of_nobody(engine: Engine) -> None:
    assert len(engine.retrieve_batch([], 8).features()) == 0

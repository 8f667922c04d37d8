from __future__ import annotations

import math

import numpy as np
import oracles
import polars as pl
import pytest

from multirecall import Dataset, Engine, EngineConfig
from multirecall.errors import DataError, RequestError
from multirecall.evaluation import (
    CATALOGUE_METRICS,
    METRICS,
    Split,
    catalogue_metrics,
    evaluate,
    exposure,
    leave_last_out,
    time_split,
    user_metrics,
)
from multirecall.testing import small_shop


def test_metrics_written_out() -> None:
    offsets, items = np.array([0, 4, 6, 6]), np.array([5, 1, 9, 2, 7, 3], np.int32)
    target_offsets, targets = np.array([0, 3, 4, 5]), np.array([-1, 1, 2, 8, 4], np.int32)
    values = user_metrics(offsets, items, target_offsets, targets, [1, 2, 4])
    figures = dict(zip(METRICS, values[:, 0].tolist(), strict=True))
    second, fourth = 1 / math.log2(3), 1 / math.log2(5)
    assert figures["recall"] == [0, 1 / 3, 2 / 3], "the target outside the catalogue stays in the denominator"
    assert figures["hit_rate"] == [0, 1, 1]
    assert figures["precision"] == [0, 1 / 2, 2 / 4]
    assert figures["ndcg"] == pytest.approx([0, second / (1 + second), (second + fourth) / (1 + second + 1 / 2)])
    assert figures["mrr"] == [0, 1 / 2, 1 / 2]
    assert (values[:, 1:] == 0).all(), "one user hits nothing, one has an empty list"


def test_ndcg_equals_the_loop() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        ranked = rng.permutation(50)[: rng.integers(1, 40)].astype(np.int32)
        targets = np.sort(rng.permutation(50)[: rng.integers(1, 20)]).astype(np.int32)
        values = user_metrics(np.array([0, ranked.size]), ranked, np.array([0, targets.size]), targets, [3, 10, 30])
        expected = [oracles.ndcg(ranked.tolist(), set(targets.tolist()), k) for k in (3, 10, 30)]
        assert values[METRICS.index("ndcg"), 0].tolist() == pytest.approx(expected)


def test_coverage_and_novelty_written_out() -> None:
    offsets, items = np.array([0, 2, 4]), np.array([0, 1, 0, 3], np.int32)
    shares = np.array([0.5, 0.25, 1.0, 1.0, 1.0])
    shown = catalogue_metrics(exposure(offsets, items, 5, [1, 2]), shares, np.zeros(5, np.bool_))
    assert shown[CATALOGUE_METRICS.index("coverage")].tolist() == [1 / 5, 3 / 5]
    assert shown[CATALOGUE_METRICS.index("novelty"), 1] == pytest.approx((1 + 2 + 1 + 0) / 4)


LOG = pl.DataFrame(
    {
        "user_id": [1, 2, 1, 2, 1, 3, 1, 2, 2, 1],
        "item_id": [7, 7, 8, 9, 9, 7, 7, 5, 8, 6],
        "timestamp": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
    }
)


def targets_of(split: Split) -> dict[int, list[int]]:
    return {
        user: split.targets[start:stop].tolist()
        for user, start, stop in zip(split.users.tolist(), split.offsets, split.offsets[1:], strict=False)
    }


def test_time_split_written_out() -> None:
    split = time_split(Dataset.from_frames(LOG), 0.5)
    assert split.train.items.ids.ids().tolist() == [7, 8, 9], "5 and 6 come later"
    assert split.train.users.ids.ids().tolist() == [1, 2], "3 comes later"
    assert targets_of(split) == {1: [-1], 2: [-1, 1], 3: [0]}
    assert split.n_unknown_users == 1
    assert split.unreachable == 2 / 4
    with_repeats = time_split(Dataset.from_frames(LOG), 0.5, seen=True)
    assert targets_of(with_repeats) == {1: [-1, 0], 2: [-1, 1], 3: [0]}


def test_leave_last_out_written_out() -> None:
    split = leave_last_out(Dataset.from_frames(LOG))
    assert split.train.items.ids.ids().tolist() == [5, 7, 8, 9], "6 is only ever a last event"
    assert targets_of(split) == {1: [-1], 2: [2]}, "user 3 has one event, which trains"
    assert len(split.train.interactions) == 8
    with pytest.raises(DataError, match="needs a column 'timestamp' or 'position'"):
        leave_last_out(Dataset.from_frames(LOG.drop("timestamp")))
    with pytest.raises(DataError, match="users with at least two events"):
        leave_last_out(Dataset.from_frames(LOG[5:6]))


def test_events_of_one_moment_stay_together() -> None:
    log = LOG.with_columns(timestamp=pl.Series([1, 2, 3, 4, 5, 6, 6, 6, 6, 6]))
    assert len(time_split(Dataset.from_frames(log), 0.3).train.interactions) == 5


def test_nothing_leaks_into_the_training_part() -> None:
    data = small_shop()
    split = time_split(data, 0.2)
    now = split.train.interactions.now
    assert now is not None
    times = data.interactions.times
    assert times is not None
    assert (times > now).sum() == len(data.interactions) - len(split.train.interactions)
    for user, targets in targets_of(split).items():
        log = split.train.interactions
        row = split.train.users.ids.row(user)
        assert not set(log.items[log.of_user(row)].tolist()) & set(targets)


@pytest.mark.parametrize("seen", [True, False])
def test_evaluation_equals_the_loop(seen: bool) -> None:
    split = time_split(small_shop(), 0.2, seen=seen)
    config = {"paths": [{"retriever": "item_cf", "quota": 20}, {"retriever": "popularity", "quota": 20}]}
    engine = Engine(EngineConfig.model_validate(config)).fit(split.train)
    report = evaluate(engine, split, [5, 20])
    assert list(report.figures) == ["item_cf", "popularity", "fused"]
    recalls = []
    for user, targets in targets_of(split).items():
        found = engine.retrieve(user, 20, seen=seen)
        rows = engine.data.items.ids.rows(found.ids).tolist()
        recalls.append(len(set(rows) & set(targets)) / len(targets))
    assert report.figures["fused"]["recall"][1] == pytest.approx(np.mean(recalls))
    assert report.n_users == len(recalls)


def test_a_leak_is_refused() -> None:
    data = small_shop()
    split = time_split(data, 0.2)
    with pytest.raises(RequestError, match=r"must be fitted on split.train, or it may have learnt the targets"):
        evaluate(Engine().fit(data), split)


def test_splits_that_cannot_be() -> None:
    with pytest.raises(DataError, match="needs a column 'timestamp'"):
        time_split(Dataset.from_frames(LOG.drop("timestamp")))
    with pytest.raises(DataError, match="leaves one part empty"):
        time_split(Dataset.from_frames(LOG.with_columns(timestamp=1)))
    with pytest.raises(RequestError, match="fraction must be a number between 0 and 1"):
        time_split(Dataset.from_frames(LOG), 1.0)
    with pytest.raises(DataError, match="pass seen=True"):
        time_split(Dataset.from_frames(LOG.with_columns(item_id=7, user_id=1)), 0.3)

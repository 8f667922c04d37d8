"""The tuner: what it holds out, what the second slice decides, and that its config finds the lists that it scored."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multirecall import Dataset, Engine, EngineConfig
from multirecall.csr import offsets_of
from multirecall.datasets import generate
from multirecall.errors import ConfigError, DataError, PluginError, RequestError
from multirecall.evaluation import METRICS, evaluate, make_split
from multirecall.learning.choice import FusionChoice, SegmentChoice
from multirecall.learning.learn import LearnedFusion, learn_fusion
from multirecall.learning.lists import KnownLists
from multirecall.learning.report import FusionReport
from multirecall.lists import RankedBatch
from multirecall.progress import SILENT
from multirecall.testing import small_shop
from multirecall.testing.fusion import ranked_list
from multirecall.tuning import Tuned, TuningConfig, compare_on, slices, tune, write_config
from multirecall.tuning.asking import ask_paths, without_fusion
from multirecall.tuning.budget import paths_within
from multirecall.tuning.comparison import values_of
from multirecall.tuning.confirming import confirm_fusion
from multirecall.tuning.write import config_text
from multirecall.validation import validate

CONFIG = EngineConfig.model_validate(
    {
        "k": 40,
        "paths": [
            {"retriever": "item_cf", "quota": 60, "params": {"neighbours": 50, "half_life": 20.0}},
            {"name": "like", "retriever": "content", "quota": 50},
            {"retriever": "popularity", "quota": 80},
        ],
    }
)
SETTINGS = TuningConfig(k=20, split="user-time", fraction=0.15, resamples=200)


@cache
def shop() -> Dataset:
    log = generate(400, 300, 12_000, seed=3)
    return Dataset.from_frames(log.interactions, log.items, log.users)


@cache
def tune_shop() -> Tuned:
    return tune(shop(), CONFIG, SETTINGS)


NOISE = 1e9
"""The mean rank of a path that finds nothing but by chance."""


def lists_of(seed: int, ranks: dict[str, float], n_users: int = 400, n_items: int = 400) -> KnownLists:
    """Users with one target each, which a path has at a rank with this mean; all else in its lists is chance."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, n_items, n_users).astype(np.int32)
    batches = []
    for mean in ranks.values():
        lists = []
        for target in targets.tolist():
            items, rank = rng.permutation(n_items), int(rng.exponential(mean))
            if rank < 60:
                items = np.insert(items[items != target], rank, target)
            lists.append(ranked_list(items[:60], -np.arange(60.0)))
        batches.append(RankedBatch.from_lists(lists))
    return KnownLists(
        tuple(ranks),
        tuple(batches),
        (60,) * len(ranks),
        offsets_of([1] * n_users),
        targets,
        np.arange(n_users),
        np.full(n_users, 5, np.int64),
    )


def learned_from(lists: KnownLists) -> LearnedFusion:
    return learn_fusion(lists, 50, weights=[1.0] * len(lists.names), strategies=("learned",))


def test_slices_of_users_are_disjoint_and_share_one_training_part() -> None:
    pair = slices(shop(), SETTINGS)
    assert pair.search.train is pair.confirm.train
    assert not set(pair.search.users.tolist()) & set(pair.confirm.users.tolist())


def test_slices_by_time_follow_each_other() -> None:
    pair = slices(shop(), SETTINGS.model_copy(update={"split": "time"}))
    first, second = pair.search.train.interactions, pair.confirm.train.interactions
    assert first.now is not None
    assert second.now is not None
    assert first.now < second.now
    assert len(first) + pair.search.n_held_out == len(second), "what is learned from trains what confirms"
    assert len(second) + pair.confirm.n_held_out == len(shop().interactions)
    assert pair.search.concurrent == pair.confirm.concurrent == 0.0


def test_slices_are_drawn_down_and_refused_when_small() -> None:
    pair = slices(shop(), SETTINGS.model_copy(update={"search_users": 40, "confirm_users": 50}))
    assert (pair.search.users.size, pair.confirm.users.size) == (40, 50)
    with pytest.raises(DataError, match=r"has \d+ users, it needs 30; raise fraction"):
        slices(small_shop(), SETTINGS.model_copy(update={"split": "last"}))


def test_an_engine_that_knows_the_future_is_refused() -> None:
    engine = Engine(without_fusion(CONFIG)).fit(shop())
    with pytest.raises(RequestError, match=r"must be fitted on split.train, or it may have learnt the targets"):
        ask_paths(engine, slices(shop(), SETTINGS).search, SILENT)


CHOICES = [
    FusionChoice("rrf", {"rank_constant": 5.0}, (1.0, 0.3, 0.7)),
    FusionChoice("weighted_sum", {"normaliser": "z_score"}, (0.2, 1.0, 0.4)),
    FusionChoice("cascade", {"on_duplicate": "skip"}, (1.0, 0.0, 1.0)),
    FusionChoice(
        "learned",
        {"intercept": -3.0, "paths": {"item_cf": {"min_max": 2.0}, "popularity": {"log_rank": 0.3}}},
        (1.0, 0.0, 1.0),
        (SegmentChoice(20, {"intercept": -2.0, "paths": {"popularity": {"reciprocal_rank": 1.0}}}, (1.0, 0.0, 1.0)),),
    ),
]


@pytest.mark.parametrize("choice", CHOICES, ids=lambda one: one.strategy)
def test_engine_finds_the_very_lists_that_were_scored(choice: FusionChoice, tmp_path: Path) -> None:
    tuned = tune_shop()
    search = slices(shop(), SETTINGS).search
    lists = ask_paths(Engine(_all_paths(tuned)).fit(search.train), search, SILENT)
    learned = LearnedFusion(choice, "by hand", "a test says so", "item_cf", (), (), (), (), {})
    report = replace(tuned.report, dropped={}).with_fusion(learned, lists.names)
    given = replace(tuned, report=report, config=report.settle(without_fusion(CONFIG)), kept=choice)
    write_config(given, tmp_path / "tuned.toml")
    engine = Engine.from_toml(tmp_path / "tuned.toml").fit(search.train)
    found = engine.retrieve_batch(search.users, 20, seen=search.seen)
    rows = engine.data.items.ids.rows(found.ids)
    fused = choice.fuse(lists, 20)
    for user in range(search.users.size):
        start, stop = found.offsets[user], found.offsets[user + 1] - found.n_backfilled[user]
        assert rows[start:stop].tolist() == fused[user].items.tolist()
        assert found.scores[start:stop].tolist() == fused[user].scores.tolist()


def _all_paths(tuned: Tuned) -> EngineConfig:
    return FusionReport("", settings=tuned.report.settings).apply_to(without_fusion(CONFIG))


def test_metric_is_the_one_asked_for() -> None:
    search = slices(shop(), SETTINGS).search
    engine = Engine(_all_paths(tune_shop())).fit(search.train)
    lists = ask_paths(engine, search, SILENT)
    figures = evaluate(engine, search, [20]).figures["fused"]
    for metric in METRICS:
        config = SETTINGS.model_copy(update={"metric": metric})
        values = values_of(FusionChoice("rrf", {}, (1.0, 1.0, 1.0)), lists, config)
        assert values.mean() == pytest.approx(figures[metric][0])


def test_a_path_of_noise_has_no_part_in_what_is_kept() -> None:
    ranks = {"good": 15.0, "fair": 25.0, "noise": NOISE}
    outcome = confirm_fusion(learned_from(lists_of(1, ranks)), lists_of(2, ranks), [1.0] * 3, (), 50)
    assert outcome.verdict == "tuned"
    assert outcome.fusions["tuned"].weights == (1.0, 1.0, 0.0)


def test_what_does_not_hold_up_on_the_second_slice_is_not_kept() -> None:
    """In the second slice, the best path of the first finds nothing any more."""
    ranks = {"one": 15.0, "two": 120.0, "three": 120.0}
    learned = learned_from(lists_of(1, ranks))
    same = confirm_fusion(learned, lists_of(2, ranks), [1.0] * 3, (), 50)
    drifted = confirm_fusion(learned, lists_of(2, {**ranks, "one": NOISE, "two": 15.0}), [1.0] * 3, (), 50)
    assert (same.verdict, drifted.verdict) == ("tuned", "plain")
    assert drifted.fusions["plain"].weights == (1.0, 1.0, 1.0)
    assert "nothing that was learned held up" in drifted.reason


def test_the_best_path_alone_is_kept_where_equal_weights_do_harm() -> None:
    ranks = {"one": NOISE, "two": 5.0, "three": NOISE, "four": NOISE}
    learned = learned_from(lists_of(1, ranks))
    assert learned.best_path == "two"
    harmful = replace(learned, choice=FusionChoice("rrf", {}, (1.0, 0.0, 1.0, 1.0)))
    outcome = confirm_fusion(harmful, lists_of(2, ranks), [1.0] * 4, (), 50)
    assert outcome.verdict == "single"
    assert outcome.fusions["single"].weights == (0.0, 1.0, 0.0, 0.0)


def test_a_required_path_stays_in_whatever_is_kept() -> None:
    lists = lists_of(1, {"good": 15.0, "fair": 25.0, "noise": NOISE})
    outcome = confirm_fusion(learned_from(lists), lists, [1.0] * 3, ["noise"], 50)
    assert all(choice.weights[2] > 0 for choice in outcome.fusions.values())


def test_paths_are_dropped_until_the_budget_is_kept() -> None:
    lists = lists_of(1, {"good": 15.0, "noise": NOISE, "slow": 25.0})
    ms = {"good": 0.4, "noise": 0.1, "slow": 5.0}

    def kept(budget: float | None, required: tuple[str, ...] = ()) -> list[str]:
        return [lists.names[path] for path in paths_within(budget, lists, ms, [1.0] * 3, required, 50)]

    assert kept(None) == ["good", "noise", "slow"]
    assert kept(2.0) == ["good", "noise"], "slow exceeds the budget alone"
    assert kept(5.45) == ["good", "slow"], "nothing is lost without noise"
    assert kept(5.2, ("slow",)) == ["slow"]
    with pytest.raises(RequestError, match=r"within the budget of 0.05 ms; the fastest, 'noise', takes 0.100 ms"):
        kept(0.05)
    with pytest.raises(RequestError, match=r"the required paths take 5.000 ms, more than the budget of 1 ms"):
        kept(1.0, ("slow",))


def test_a_path_beyond_the_budget_is_switched_off_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"item_cf": 0.2, "like": 9.0, "popularity": 0.1, "fused": 1.0}
    monkeypatch.setattr("multirecall.tuning.tuner.latencies", lambda *_: times)
    tuned = tune(shop(), CONFIG, SETTINGS.model_copy(update={"budget_ms": 1.0, "strategies": ("rrf",)}))
    assert tuned.names == ("item_cf", "popularity")
    assert not tuned.config.paths[1].enabled
    assert "# Switched off: like, the budget of 1 ms." in config_text(tuned)


def test_config_keeps_places_and_says_what_it_does(tmp_path: Path) -> None:
    tuned = tune_shop()
    write_config(tuned, tmp_path / "tuned.toml")
    text, read = (tmp_path / "tuned.toml").read_text(), EngineConfig.from_toml(tmp_path / "tuned.toml")
    assert read == tuned.config
    assert [path.name for path in read.paths] == ["item_cf", "like", "popularity"]
    assert (read.k, read.paths[0].params["half_life"], read.paths[0].params["neighbours"]) == (40, 20.0, 50)
    assert not any("auto" in path.params.values() for path in read.paths)
    assert set(re.findall(r"^# Switched off: (\w+),", text, re.M)) == {
        path.name for path in read.paths if not path.enabled
    }
    assert f"learned: {tuned.confirmed.tuned}" in text
    with pytest.raises(RequestError, match="cannot be written"):
        write_config(tuned, tmp_path / "none" / "tuned.toml")


def test_dropped_paths_are_named_with_their_reason() -> None:
    tuned = tune_shop()
    learned = LearnedFusion(CHOICES[2], "by hand", "a test says so", "item_cf", (), (), (), (), {})
    report = tuned.report.with_fusion(learned, tuned.names)
    text = config_text(replace(tuned, report=report, config=report.settle(tuned.config)))
    assert "# Switched off: like, it has no weight in what is kept (by hand)." in text


def test_none_is_refused_where_toml_would_lose_it() -> None:
    tuned = tune_shop()
    paths = [path.model_dump(exclude_unset=True) for path in tuned.config.paths]
    paths[0]["params"]["half_life"] = None
    config = EngineConfig.model_validate(tuned.config.model_dump(exclude_unset=True) | {"paths": paths})
    with pytest.raises(RequestError, match="paths 'item_cf': half_life is None, which TOML cannot hold"):
        config_text(replace(tuned, config=config))


def test_same_seed_same_config() -> None:
    again = tune(shop(), CONFIG, SETTINGS)
    assert config_text(again) == config_text(tune_shop())
    assert again.confirmed.n_users > 100
    assert again.to_dict()["verdict"] in ("tuned", "plain", "single", "rrf")


def test_a_test_part_is_measured_with_what_is_kept() -> None:
    split = make_split(shop(), "user-time", fraction=0.1, last=1, seen=False, seed=1)
    tuned = tune(split.train, CONFIG, SETTINGS)
    on_test = compare_on(tuned, CONFIG, split)
    figures = evaluate(Engine(tuned.config).fit(split.train), split, [20]).figures["fused"]["recall"]
    assert on_test.tuned.mean == pytest.approx(figures[0])
    fewer = CONFIG.model_copy(update={"paths": CONFIG.paths[:2]})
    with pytest.raises(
        RequestError, match="path 'popularity' can be fitted on one part of the log, but not on another"
    ):
        compare_on(tuned, fewer, split)


def test_segments_are_left_out_where_they_are_not_wanted() -> None:
    plain = SETTINGS.model_copy(update={"segments": False, "strategies": ("weighted_sum",)})
    assert tune(shop(), CONFIG, plain).config.segments == ()


def test_an_unknown_strategy_is_refused_before_anything_is_fitted() -> None:
    with pytest.raises(PluginError, match="did you mean 'rrf'"):
        tune(small_shop(), CONFIG, SETTINGS.model_copy(update={"strategies": ("rff",)}))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"metric": "recal"}, "tune: metric: is not a metric of a user's list; did you mean 'recall'"),
        ({"fraction": 0.5}, "tune: fraction: input should be less than 0.5, got 0.5"),
        ({"budget_ms": 0.0}, "tune: budget_ms: input should be greater than 0"),
        ({"segment": True}, "tune: unknown key 'segment'; did you mean 'segments'"),
        ({"trials": 60}, "tune: trials has no use: the fusion is learned, not searched; leave it out"),
        ({"split": "day"}, "tune: split: input should be 'time', 'user-time', 'last' or 'random'"),
    ],
)
def test_mistakes_in_settings_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as fault:
        validate(TuningConfig, values, "tune")
    assert message in str(fault.value)

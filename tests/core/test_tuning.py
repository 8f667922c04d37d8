"""The tuner: its memory, its search, and that the config it writes has the score that it found."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multirecall import Dataset, Engine, EngineConfig
from multirecall.datasets import generate
from multirecall.errors import ConfigError, DataError, RequestError
from multirecall.evaluation import METRICS, Interval, Split, evaluate
from multirecall.lists import RankedBatch
from multirecall.progress import SILENT, unheard
from multirecall.testing import small_shop
from multirecall.testing.fusion import ranked_list
from multirecall.tuning import Candidate, Comparison, Tuned, TuningConfig, slices, tune, write_config
from multirecall.tuning.ascent import search_strategies
from multirecall.tuning.gate import best_single, gate_paths, plain_fusion
from multirecall.tuning.guard import choose, tune_segments
from multirecall.tuning.journal import Journal
from multirecall.tuning.memory import Memory, open_engine
from multirecall.tuning.quotas import greedy_quotas
from multirecall.tuning.scorer import Scorer
from multirecall.tuning.space import choices, settings, strategies
from multirecall.tuning.write import config_text
from multirecall.validation import validate

CONFIG = EngineConfig.model_validate(
    {
        "k": 40,
        "paths": [
            {"retriever": "item_cf", "quota": 60, "params": {"neighbours": 50}},
            {"name": "like", "retriever": "content", "quota": 50},
            {"retriever": "popularity", "quota": 80},
        ],
    }
)
SETTINGS = TuningConfig(k=20, fraction=0.15, trials=200, patience=60, resamples=200)


@cache
def shop() -> Dataset:
    log = generate(400, 300, 12_000, seed=3)
    return Dataset.from_frames(log.interactions, log.items, log.users)


@cache
def fit(split: str = "user-time") -> tuple[Engine, Split, Split, Memory, Memory]:
    held_out = slices(shop(), SETTINGS.model_copy(update={"split": split}))
    engine = open_engine(CONFIG).fit(held_out.search.train)
    memories = [Memory.of(engine, one, "recall", 20, SILENT) for one in (held_out.search, held_out.confirm)]
    return engine, held_out.search, held_out.confirm, memories[0], memories[1]


def scorer_of(memory: Memory, settings: TuningConfig = SETTINGS, journal: Journal | None = None) -> Scorer:
    return Scorer(memory, settings, journal or Journal(None, ""), unheard)


def test_slices_of_users_are_disjoint_and_share_one_training_part() -> None:
    pair = slices(shop(), SETTINGS.model_copy(update={"split": "user-time"}))
    assert pair.search.train is pair.confirm.train
    assert not set(pair.search.users.tolist()) & set(pair.confirm.users.tolist())


def test_slices_by_time_follow_each_other() -> None:
    pair = slices(shop(), SETTINGS.model_copy(update={"split": "time"}))
    first, second = pair.search.train.interactions, pair.confirm.train.interactions
    assert first.now is not None
    assert second.now is not None
    assert first.now < second.now
    assert len(first) + pair.search.n_held_out == len(second), "what is searched on trains what confirms"
    assert len(second) + pair.confirm.n_held_out == len(shop().interactions)
    assert pair.search.concurrent == pair.confirm.concurrent == 0.0


def test_slices_are_drawn_down_and_refused_when_small() -> None:
    pair = slices(shop(), SETTINGS.model_copy(update={"search_users": 40, "confirm_users": 50}))
    assert (pair.search.users.size, pair.confirm.users.size) == (40, 50)
    with pytest.raises(DataError, match=r"has \d+ users, it needs 30; raise fraction"):
        slices(small_shop(), SETTINGS.model_copy(update={"split": "last"}))


def test_memory_refuses_an_engine_that_knows_the_future() -> None:
    _, search, _, _, _ = fit()
    with pytest.raises(RequestError, match=r"must be fitted on split.train, or it may have learnt the targets"):
        Memory.of(open_engine(CONFIG).fit(shop()), search, "recall", 20, SILENT)


CANDIDATES = [
    Candidate("rrf", {"rank_constant": 5.0}, (1.0, 0.3, 0.7), (60, 20, 80)),
    Candidate("weighted_sum", {"normaliser": "z_score"}, (0.2, 1.0, 0.4), (30, 50, 10)),
    Candidate("cascade", {}, (1.0, 1.0, 1.0), (15, 20, 25)),
    Candidate("cascade", {"on_duplicate": "skip"}, (1.0, 0.0, 1.0), (60, 50, 80)),
    Candidate("rrf", {}, (0.0, 2.0, 1.0), (60, 50, 80), segments=((10, (0.0, 0.1, 5.0)), (25, (0.0, 9.0, 0.1)))),
]


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda one: f"{one.strategy}-{len(one.segments)}-{one.params}")
def test_engine_finds_the_very_lists_that_were_scored(candidate: Candidate, tmp_path: Path) -> None:
    _, search, _, memory, _ = fit()
    candidate = memory.limit_quotas(candidate)
    file = tmp_path / "tuned.toml"
    write_config(tuned_of(candidate, memory), file)
    engine = Engine.from_toml(file).fit(search.train)
    found = engine.retrieve_batch(search.users, 20, seen=search.seen)
    rows = engine.data.items.ids.rows(found.ids)
    met = 0
    for users, fused in memory.fuse(candidate, 20):
        for position, user in enumerate(users.tolist()):
            start, stop = found.offsets[user], found.offsets[user + 1] - found.n_backfilled[user]
            assert rows[start:stop].tolist() == fused[position].items.tolist()
            assert found.scores[start:stop].tolist() == fused[position].scores.tolist()
            met += 1
    assert met == search.users.size
    if not found.n_backfilled.any():
        report = evaluate(engine, search, [20])
        assert report.figures["fused"]["recall"][0] == pytest.approx(memory.values(candidate).mean())


def tuned_of(candidate: Candidate, memory: Memory) -> Tuned:
    """An outcome that keeps `candidate`."""
    nothing = Interval(0.0, 0.0, 0.0)
    on = Comparison("slice", 1, nothing, nothing, nothing, nothing, nothing, nothing)
    return Tuned(
        config=candidate.apply_to(CONFIG, memory.names),
        kept=candidate,
        verdict="tuned",
        single=candidate,
        plain=candidate,
        found=candidate,
        names=memory.names,
        ms=memory.ms,
        gating=gate_paths(memory, SETTINGS),
        searched=on,
        confirmed=on,
        segments=(),
        n_scored=1,
        quotas_by_blocks=False,
        settings=SETTINGS,
    )


def test_a_cascade_never_asks_for_more_than_memory_holds() -> None:
    *_, memory, _ = fit()
    wide = Candidate("cascade", {}, (1.0, 1.0, 1.0), memory.widths)
    narrow = memory.limit_quotas(wide)
    assert all(a <= b for a, b in zip(narrow.fusion().windows(narrow.quotas), memory.widths, strict=True))
    assert not all(a <= b for a, b in zip(wide.fusion().windows(wide.quotas), memory.widths, strict=True))
    assert memory.limit_quotas(replace(wide, strategy="rrf")).quotas == memory.widths


def test_metric_is_the_one_asked_for() -> None:
    engine, search, _, memory, _ = fit()
    plain = plain_fusion(memory, [0, 1, 2])
    figures = evaluate(engine, search, [20]).figures["fused"]
    for metric in METRICS:
        assert replace(memory, metric=metric).values(plain).mean() == pytest.approx(figures[metric][0])


def test_the_gate_lets_go_of_what_does_harm() -> None:
    *_, memory, _ = fit()
    rng = np.random.default_rng(4)
    chance = [rng.choice(memory.split.train.n_items, 80, replace=False) for _ in memory.split.users]
    noise = RankedBatch.from_lists([ranked_list(items, -np.arange(80.0)) for items in chance])
    spoiled = replace(memory, lists=(*memory.lists[:2], noise))
    gating = gate_paths(spoiled, SETTINGS)
    step = next(step for step in gating.steps if not step.kept)
    assert step.path == "popularity"
    assert gating.plain.weights[2] == 0
    whole = spoiled.values(plain_fusion(spoiled, [0, 1, 2]))
    without = spoiled.values(plain_fusion(spoiled, [0, 1]))
    assert step.loss.mean == pytest.approx((whole - without).mean())
    assert step.loss.low < step.loss.mean < 0


def test_the_budget_is_kept() -> None:
    *_, memory, _ = fit()
    timed = replace(memory, ms=(0.4, 0.5, 0.1))
    budget = SETTINGS.model_copy(update={"budget_ms": 0.55})
    gating = gate_paths(timed, budget)
    assert timed.cost(gating.plain) <= 0.55
    assert any(step.reason == "the budget" for step in gating.steps)
    scorer = scorer_of(timed, budget)
    search_strategies(gating.plain, ["rrf"], scorer)
    assert scorer.best is not None
    assert timed.cost(scorer.best) <= 0.55
    with pytest.raises(
        RequestError, match=r"no path is within the budget of 0.05 ms; the fastest, 'popularity', takes 0.1"
    ):
        best_single(timed, SETTINGS.model_copy(update={"budget_ms": 0.05}))


def test_the_search_does_better_than_equal_weights() -> None:
    *_, memory, _ = fit()
    plain = plain_fusion(memory, [0, 1, 2])
    scorer = scorer_of(memory)
    search_strategies(plain, strategies(()), scorer)
    assert scorer.best is not None
    assert scorer.best_score > memory.values(plain).mean() * 1.01
    assert scorer.best_score == pytest.approx(memory.values(scorer.best).mean())
    greedy = greedy_quotas(scorer.best, scorer)
    assert all(quota <= width for quota, width in zip(greedy.quotas, memory.widths, strict=True))


def test_a_stopped_search_goes_on(tmp_path: Path) -> None:
    *_, memory, _ = fit()
    plain = plain_fusion(memory, [0, 1, 2])
    whole = scorer_of(memory)
    search_strategies(plain, ["rrf", "weighted_sum"], whole)
    file = tmp_path / "journal"
    cut = SETTINGS.model_copy(update={"trials": 25})
    first = scorer_of(memory, cut, Journal(file, memory.fingerprint()))
    search_strategies(plain, ["rrf", "weighted_sum"], first)
    file.write_text(file.read_text() + '["half a li')
    again = Journal(file, memory.fingerprint())
    assert len(file.read_text().splitlines()) == 1 + first.n_scored
    second = scorer_of(memory, SETTINGS, again)
    search_strategies(plain, ["rrf", "weighted_sum"], second)
    assert (second.best, second.best_score, second.n_scored) == (whole.best, whole.best_score, whole.n_scored)
    with pytest.raises(RequestError, match="belongs to other data, paths or settings; remove it"):
        Journal(file, replace(memory, k=10).fingerprint())
    (tmp_path / "other").write_text("hello")
    with pytest.raises(RequestError, match="is not the journal of a search"):
        Journal(tmp_path / "other", memory.fingerprint())
    with pytest.raises(RequestError, match="cannot be used"):
        Journal(tmp_path / "none" / "journal", memory.fingerprint())


def comparison(over_plain: Any, over_single: Any, plain_over_single: Any) -> Comparison:
    mean = Interval(0.3, 0.29, 0.31)
    gains = (Interval(sum(one) / 2, *one) for one in (over_plain, over_single, plain_over_single))
    return Comparison("slice", 1_000, mean, mean, mean, *gains)


def test_what_does_not_hold_up_is_not_kept() -> None:
    up, none, down = (0.01, 0.03), (-0.01, 0.02), (-0.03, -0.01)
    assert choose(comparison(up, up, up)) == "tuned"
    assert choose(comparison(up, none, down)) == "tuned"
    assert choose(comparison(none, up, up)) == "plain", "no gain over equal weights that could not be chance"
    assert choose(comparison(none, none, none)) == "plain"
    assert choose(comparison((0.0, 0.0), (0.0, 0.0), (0.0, 0.0))) == "plain", "one path is left, and it is the best"
    assert choose(comparison(none, none, down)) == "single"
    assert choose(comparison(up, down, down)) == "single"


def test_weights_of_a_segment_are_kept_only_where_they_hold_up() -> None:
    """Popularity is all that helps short histories in both slices; in the second world only in the first."""
    *_, search, confirm = fit()
    lengths = np.sort(search.lengths)
    bound = int(lengths[lengths > 0][lengths.size // 3])
    at = Candidate("rrf", {}, (1.0, 0.05, 0.05), search.widths)

    def with_truth(memory: Memory) -> Memory:
        """For short histories, what stands first in the third path is what the user wants."""
        targets = memory.split.targets.copy()
        for user in np.flatnonzero(memory.lengths <= bound).tolist():
            own = memory.lists[2][user].items[: np.diff(memory.split.offsets)[user]]
            targets[memory.split.offsets[user] :][: own.size] = np.sort(own)
        return replace(memory, split=replace(memory.split, targets=targets))

    import multirecall.tuning.guard as guard

    fewest, guard.FEWEST = guard.FEWEST, 20
    try:
        kept, trials = tune_segments(at, with_truth(search), with_truth(confirm), SETTINGS)
        assert trials[0].kept
        assert kept.segments[0][0] == trials[0].max_history
        assert kept.segments[0][1][2] > kept.segments[0][1][0]
        not_kept, trials = tune_segments(at, with_truth(search), confirm, SETTINGS)
        assert trials[0].searched.low > 0
        assert not trials[0].kept
        assert all(weights[2] <= weights[0] for _, weights in not_kept.segments)
    finally:
        guard.FEWEST = fewest


def test_settings_are_read_from_the_plugins() -> None:
    assert set(strategies(())) >= {"rrf", "weighted_sum", "cascade"}
    assert choices("cascade") == {"on_duplicate": ["replace", "skip"]}
    constants = choices("rrf")["rank_constant"]
    assert (min(constants), max(constants)) == (1.0, 240.0)
    assert {} in settings("weighted_sum"), "the default is left out"
    assert len(settings("weighted_sum")) == 6
    with pytest.raises(RequestError, match="no fusion plug-in is named 'rff'; did you mean 'rrf'"):
        strategies(["rff"])


def test_the_config_keeps_places_and_says_what_was_measured(tmp_path: Path) -> None:
    *_, memory, _ = fit()
    candidate = Candidate("rrf", {"rank_constant": 10.0}, (0.5, 0.0, 1.0), (30, 50, 80))
    config = candidate.apply_to(CONFIG, memory.names)
    assert [path.name for path in config.paths] == ["item_cf", "like", "popularity"]
    assert [path.enabled for path in config.paths] == [True, False, True]
    assert config.paths[0].params == {"neighbours": 50}
    assert (config.k, config.fusion.params) == (40, {"rank_constant": 10.0})
    text = config_text(tuned_of(candidate, memory))
    assert "# Fusion tuned towards recall@20" in text
    write_config(tuned_of(candidate, memory), tmp_path / "tuned.toml")
    assert EngineConfig.from_toml(tmp_path / "tuned.toml") == config
    with pytest.raises(RequestError, match="cannot be written"):
        write_config(tuned_of(candidate, memory), tmp_path / "none" / "tuned.toml")
    partly = replace(candidate, weights=(0.5, 1.0), quotas=(30, 80)).apply_to(CONFIG, ("item_cf", "popularity"))
    assert [path.enabled for path in partly.paths] == [True, False, True], "what the log cannot feed is switched off"


@pytest.mark.parametrize("kept", ["plain", "back", "single", "less"])
def test_what_is_said_of_a_path_is_what_the_config_does(kept: str, tmp_path: Path) -> None:
    *_, memory, _ = fit()
    blind = replace(memory, lists=(memory.lists[0], RankedBatch.empty(len(memory.lists[1])), memory.lists[2]))
    base = tuned_of(plain_fusion(memory, [0, 2]), blind)
    gone = {step.path for step in base.gating.steps if not step.kept}
    assert "like" in gone, "a path without candidates is gated"
    stays = [memory.names.index(step.path) for step in base.gating.steps if step.kept]
    fusions = {
        "plain": plain_fusion(memory, stays),
        "back": replace(plain_fusion(memory, [0, 1, 2]), weights=(1.0, 0.3, 2.0)),
        "single": plain_fusion(memory, [1]),
        "less": plain_fusion(memory, stays[:1]),
    }
    tuned = tuned_of(fusions[kept], blind)
    write_config(tuned, tmp_path / "tuned.toml")
    text = (tmp_path / "tuned.toml").read_text()
    enabled = {path.name for path in EngineConfig.from_toml(tmp_path / "tuned.toml").paths if path.enabled}
    said_off = set(re.findall(r"^# Gated: (\w+),", text, re.MULTILINE))
    said_off |= {
        name for line in re.findall(r"^# Switched off by .*: (.*)\.$", text, re.M) for name in line.split(", ")
    }
    assert said_off == set(memory.names) - enabled
    assert set(re.findall(r"^# Back after the gate: (\w+) with weight [\d.]+;", text, re.M)) == gone & enabled


def test_same_seed_same_config() -> None:
    small = SETTINGS.model_copy(update={"trials": 60, "split": "user-time"})
    outcomes = [tune(shop(), CONFIG, small) for _ in range(2)]
    assert config_text(outcomes[0]) == config_text(outcomes[1])
    assert outcomes[0].confirmed.n_users > 100
    assert outcomes[0].to_dict()["verdict"] in ("tuned", "plain", "single")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"metric": "recal"}, "tune: metric: is not a metric of a user's list; did you mean 'recall'"),
        ({"fraction": 0.5}, "tune: fraction: input should be less than 0.5, got 0.5"),
        ({"budget_ms": 0.0}, "tune: budget_ms: input should be greater than 0"),
        ({"trails": 3}, "tune: unknown key 'trails'; did you mean 'trials'"),
        ({"split": "day"}, "tune: split: input should be 'time', 'user-time', 'last' or 'random'"),
    ],
)
def test_mistakes_in_settings_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as fault:
        validate(TuningConfig, values, "tune")
    assert message in str(fault.value)

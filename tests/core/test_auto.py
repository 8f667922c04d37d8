"""Engines that learn while they are fitted: what is held out, what is learned, and what a refit does with it."""

from __future__ import annotations

import logging
import shutil
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import polars as pl
import pytest
from faulty import Shuffled, Undeployed
from patience import PATIENCE_S

from multirecall import Dataset, Engine, EngineConfig, PathConfig, User
from multirecall.config import FusionConfig
from multirecall.datasets import generate
from multirecall.engine import fitting
from multirecall.errors import PathError
from multirecall.learning import design
from multirecall.learning.hold_out import Goal, HeldOut, hold_out
from multirecall.learning.report import FusionReport
from multirecall.lists import RankedBatch, RankedList
from multirecall.query import Query
from multirecall.registry import FUSIONS, retriever_class

PARAMS: dict[str, dict[str, Any]] = {
    "item_cf": {"user_exponent": 1.0, "source_exponent": 0.7, "target_exponent": 0.3, "half_life": 10.0},
    "popularity": {},
    "sequence": {"gap_decay": 0.85, "half_life": 3.0},
    "user_cf": {"idf_exponent": 0.7, "similarity_exponent": 1.0, "target_exponent": 0.3, "user_exponent": 0.4},
    "als": {"dim": 4, "epochs": 1, "regularisation": 3.0, "unobserved": 0.03},
}
LIVE = ("popularity", "user_cf")
GOALS: tuple[Goal, ...] = ("next", "while")


class Noise(Shuffled):
    """Proposes all items in an order drawn at fit, and counts the calls."""

    calls: ClassVar[Counter[str]] = Counter()

    def retrieve(self, query: Query, quota: int) -> RankedList:
        self.calls[type(self).__name__] += 1
        return super().retrieve(query, quota)


class Needed(Noise):
    """The same, for a path that is required."""


def name_of(plugin: Any) -> str:
    """The class as a config takes it."""
    name: str = plugin
    return name


class Fitted(NamedTuple):
    """An engine that has learned, its bundle, and what its fit held out."""

    engine: Engine
    bundle: Path
    held: HeldOut


def config_of(goal: Goal | None, *more: PathConfig, strategy: str = "auto") -> EngineConfig:
    paths = [PathConfig(retriever=name, quota=60, params=params) for name, params in PARAMS.items()]
    return EngineConfig(k=30, paths=(*paths, *more), fusion=FusionConfig(strategy=strategy, goal=goal))


@pytest.fixture(scope="module", autouse=True)
def few_others() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(design, "OTHERS", 25)
        yield


@pytest.fixture(scope="module")
def data() -> Dataset:
    shop = generate(1_500, 500, 24_000, seed=3)
    return Dataset.from_frames(shop.interactions.drop("event"))


@pytest.fixture(scope="module")
def fitted(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Fitted]]:
    """By goal. The log has times, so `while` is the default."""
    found: dict[str, Fitted] = {}
    for goal in GOALS:
        engine = Engine(config_of(None if goal == "while" else goal)).fit(data)
        held = hold_out(data, "next" if goal == "next" else "while", engine.config.seed)
        assert held is not None
        folder = tmp_path_factory.mktemp("auto") / goal
        engine.save(folder)
        found[goal] = Fitted(engine, folder, held)
    yield found
    for one in found.values():
        one.engine.close()


@pytest.fixture
def folder(fitted: dict[str, Fitted], tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A copy of the bundle of the goal that the test names, by default `next`."""
    goal = request.node.callspec.params.get("goal", "next") if hasattr(request.node, "callspec") else "next"
    return Path(shutil.copytree(fitted[goal].bundle, tmp_path / "bundle"))


class Fits:
    """The data that every retriever is fitted on, by class."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.data: dict[str, list[Dataset]] = defaultdict(list)
        for name in PARAMS:
            plugin = retriever_class(name)
            patch.setattr(plugin, "fit", self._noting(name, plugin.fit))

    def _noting(self, name: str, fit: Any) -> Any:
        def noted(retriever: Any, data: Dataset, **options: Any) -> None:
            self.data[name].append(data)
            fit(retriever, data, **options)

        return noted


def events_of(data: Dataset) -> Counter[tuple[Any, ...]]:
    log = data.undecayed
    assert log.times is not None
    users, items = data.users.ids.ids(log.users).tolist(), data.items.ids.ids(log.items).tolist()
    return Counter(zip(users, items, log.times.tolist(), strict=True))


def held_events(held: HeldOut) -> Counter[tuple[Any, ...]]:
    return events_of(held.back.data) - events_of(held.rest)


def owners_of(fitted: Fitted, n: int) -> list[Any]:
    held = fitted.held
    rows = np.unique(held.owners[held.askers >= 0])[:n]
    return list(held.rest.users.ids.ids(rows).tolist())


def others_of(fitted: Fitted, n: int) -> list[Any]:
    """Users of whom nothing was held out, and a visitor."""
    data = fitted.engine.data
    rows = np.setdiff1d(np.arange(data.n_users), fitted.held.back.users)[:n]
    return [*data.users.ids.ids(rows).tolist(), User(history=data.items.ids.ids(np.arange(3)).tolist())]


def assert_same_lists(one: RankedBatch, other: RankedBatch) -> None:
    assert one.offsets.tolist() == other.offsets.tolist()
    np.testing.assert_allclose(one.scores, other.scores, rtol=1e-4)
    assert np.mean(one.items == other.items) > 0.999, "but for ties"


def answers(engine: Engine, users: list[Any]) -> list[tuple[list[Any], list[float]]]:
    batch = engine.retrieve_batch(users)
    return [(batch[one].ids.tolist(), batch[one].scores.tolist()) for one in range(len(users))]


def report_of(engine: Engine) -> Any:
    report = engine.fusion_report()
    assert report is not None
    return report


def learned_of(engine: Engine) -> dict[str, Any]:
    """The report without the seconds."""
    return dict(replace(report_of(engine), seconds=None).to_dict())


@pytest.mark.parametrize("goal", GOALS)
def test_held_out_events_count_at_once(fitted: dict[str, Fitted], data: Dataset, goal: str) -> None:
    engine, _, held = fitted[goal]
    assert report_of(engine).goal == goal
    assert report_of(engine).n_requests == len(held)
    assert sum(held_events(held).values()) == held.back.users.size > 100
    assert events_of(engine.data) == events_of(data)
    for user in owners_of(fitted[goal], 10):
        row = data.users.ids.row(user)
        history = engine.data.history(row).items
        assert history.tolist() == data.history(row).items.tolist()
        seen = set(data.items.ids.ids(history).tolist())
        assert not seen & set(engine.retrieve(user, k=data.n_items).ids.tolist())
        assert seen <= set(engine.retrieve(user, k=data.n_items, seen=True).ids.tolist())


@pytest.mark.parametrize("goal", GOALS)
def test_live_paths_know_what_was_held_out_and_others_do_not(
    fitted: dict[str, Fitted], data: Dataset, goal: str
) -> None:
    engine, _, held = fitted[goal]
    users = others_of(fitted[goal], 40)
    found = engine.path_lists(users)
    with (
        Engine(config_of(None, strategy="rrf")).fit(data) as whole,
        Engine(config_of(None, strategy="rrf")).fit(held.rest) as rest,
    ):
        of_whole, of_rest = whole.path_lists(users), rest.path_lists(users)
    for name in PARAMS:
        assert_same_lists(found[name], (of_whole if name in LIVE else of_rest)[name])
        assert not np.array_equal(of_whole[name].scores, of_rest[name].scores), "so that the test can fail"


def test_no_path_is_fitted_twice_and_the_same_fit_gives_the_same(
    fitted: dict[str, Fitted], data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits = Fits(monkeypatch)
    users = others_of(fitted["next"], 20)
    with Engine(config_of("next")).fit(data) as again:
        counts = {name: len(own) for name, own in fits.data.items()}
        assert counts == dict.fromkeys(PARAMS, 1), "the path popularity is the fallback as well"
        assert learned_of(again) == learned_of(fitted["next"].engine)
        assert answers(again, users) == answers(fitted["next"].engine, users)


@pytest.mark.parametrize("goal", GOALS)
def test_a_loaded_engine_has_learned_the_same(fitted: dict[str, Fitted], folder: Path, goal: str) -> None:
    users = [*others_of(fitted[goal], 10), *owners_of(fitted[goal], 10)]
    with Engine.load(folder) as loaded:
        assert report_of(loaded) == report_of(fitted[goal].engine)
        assert answers(loaded, users) == answers(fitted[goal].engine, users)


@pytest.mark.parametrize("goal", GOALS)
def test_an_event_is_held_out_of_at_most_one_fit(
    fitted: dict[str, Fitted], folder: Path, goal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three fits, the first in another process; after each, every path knows what the ones before had held out."""
    first = held_events(fitted[goal].held)
    away = Counter(first)
    fits = Fits(monkeypatch)
    learned = report_of(fitted[goal].engine)
    with Engine.load(folder) as engine:
        for refit in range(2):
            fits.data.clear()
            engine.refresh().result(PATIENCE_S)
            whole = events_of(engine.data)
            assert whole == events_of(fitted[goal].engine.data)
            missing = {name: whole - events_of(seen[0]) for name, seen in fits.data.items()}
            assert set(missing) == set(PARAMS)
            for name, own in missing.items():
                assert not away & own, f"{name}, refit {refit}"
            away += missing["item_cf"]
            if goal == "while":
                assert not missing["item_cf"], "the newest period is taken back in"
                assert replace(report_of(engine), refits=0) == learned, "and the fusion stays"
            else:
                assert report_of(engine).goal == goal
                assert missing["item_cf"], "other users are drawn"
    assert max(away.values()) == 1


@pytest.mark.parametrize("goal", ["while"])
def test_a_newer_period_waits_until_the_one_before_is_taken_back_in(
    fitted: dict[str, Fitted], folder: Path, goal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned, data = report_of(fitted[goal].engine), fitted[goal].engine.data
    users, items = data.users.ids.ids().tolist()[:90], data.items.ids.ids().tolist()
    now = data.now
    assert now is not None
    new = [
        {"user_id": user, "item_id": items[(number * 7 + step) % 400], "timestamp": now + 60 * number + step}
        for number, user in enumerate(users)
        for step in range(5)
    ]
    fits = Fits(monkeypatch)
    with Engine.load(folder) as engine:
        engine.add_interactions(new)
        engine.refresh().result(PATIENCE_S)
        assert events_of(fits.data["item_cf"][0]) == events_of(engine.data)
        assert replace(report_of(engine), refits=0) == learned
        engine.refresh().result(PATIENCE_S)
        missing = events_of(engine.data) - events_of(fits.data["item_cf"][1])
        assert missing
        assert min(time for _, _, time in missing) >= now
        assert report_of(engine).refits == 0


@pytest.mark.parametrize("goal", GOALS)
def test_the_toml_gives_the_same_fusion_without_learning(fitted: dict[str, Fitted], tmp_path: Path, goal: str) -> None:
    engine, _, held = fitted[goal]
    report = report_of(engine)
    assert report.strategy != "auto"
    served = dict(zip(engine.paths, engine.segments[-1].weights, strict=True))
    assert {name: served[name] for name in report.weights} == report.weights
    (tmp_path / "engine.toml").write_text(report.to_toml(engine.config))
    users = others_of(fitted[goal], 20)
    with Engine.from_toml(tmp_path / "engine.toml").fit(held.rest) as fixed:
        assert fixed.fusion_report() is None
        assert set(fixed.paths) == set(report.weights)
        assert len(fixed.segments) == len(engine.segments)
        for one, other in zip(fixed.segments, engine.segments, strict=True):
            assert one.longest == other.longest
            assert one.fusion.config == other.fusion.config
            theirs = dict(zip(engine.paths, other.weights, strict=True))
            assert dict(zip(fixed.paths, one.weights, strict=True)) == {name: theirs[name] for name in fixed.paths}
        lists, own = engine.path_lists(users), fixed.path_lists(users)
        for name in set(own) - set(LIVE):
            assert_same_lists(own[name], lists[name])


def test_a_report_gives_the_config_its_weights_and_switches_off_what_was_dropped() -> None:
    report = FusionReport(
        "", strategy="weighted_sum", weights={"item_cf": 0.3, "als": 2.0}, dropped={"sequence": "why"}
    )
    config = report.settle(config_of(None))
    assert config.fusion.strategy == "weighted_sum"
    assert {path.name: path.weight for path in config.paths if path.name in report.weights} == report.weights
    assert [path.name for path in config.paths if not path.enabled] == ["sequence"]


@pytest.fixture(scope="module")
def noisy(data: Dataset) -> Iterator[Engine]:
    """An engine with two paths of noise, one of them required."""
    more = [
        PathConfig(name="noise", retriever=name_of(Noise), quota=60),
        PathConfig(name="required", retriever=name_of(Needed), quota=60, required=True),
    ]
    with Engine(config_of("next", *more)).fit(data) as engine:
        yield engine


def test_a_dropped_path_says_so_and_is_not_asked(noisy: Engine, data: Dataset) -> None:
    report = report_of(noisy)
    reason = report.dropped["noise"]
    assert "noise" not in report.weights
    assert f"noise, {reason}" in str(report)
    user, item = data.users.ids.ids().tolist()[:2], data.items.ids.ids().tolist()[0]
    Noise.calls.clear()
    one, batch = noisy.retrieve(user[0]), noisy.retrieve_batch(user)
    assert "Noise" not in Noise.calls
    assert Noise.calls["Needed"] >= 3
    for status in (one.status["noise"], batch.status["noise"]):
        assert (status.state, status.count, status.detail) == ("dropped", 0, reason)
    assert not any("noise" in candidate.provenance for candidate in one)
    explained = noisy.explain(user[0], item).paths["noise"]
    assert explained.rank is None
    assert "dropped" in str(explained.reason)
    assert reason in str(explained.reason)
    lists = noisy.path_lists(user)
    assert np.diff(lists["noise"].offsets).tolist() == [60, 60]
    assert "Noise" in Noise.calls


def test_a_required_path_is_always_asked(noisy: Engine, data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    report = report_of(noisy)
    assert "required" not in report.dropped
    assert report.weights["required"] > 0
    user = data.users.ids.ids().tolist()[5]
    assert noisy.retrieve(user).status["required"].state == "ok"

    def fails(*_: Any) -> RankedList:
        raise RuntimeError("out of order")

    monkeypatch.setattr(Noise, "retrieve", fails)
    with pytest.raises(PathError, match="required"):
        noisy.retrieve(user)


def test_a_path_that_was_not_deployed_is_asked_where_it_is(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"popularity": "popularity", "item_cf": "item_cf", "undeployed": name_of(Undeployed)}
    paths = [PathConfig(name=name, retriever=plugin, quota=60) for name, plugin in names.items()]
    config = EngineConfig(k=30, paths=tuple(paths), fusion=FusionConfig(strategy="auto", goal="next"))
    user = data.users.ids.ids().tolist()[5]
    with Engine(config).fit(data) as engine:
        report = report_of(engine)
        assert "undeployed" not in report.dropped
        assert report.weights["undeployed"] > 0
        assert engine.retrieve(user).status["undeployed"].state == "skipped"
        monkeypatch.setattr(Undeployed, "deployed", True)
        found = engine.retrieve(user)
        assert found.status["undeployed"].state == "ok"
        assert any("undeployed" in candidate.provenance for candidate in found)


def test_a_path_that_fails_later_leaves_the_order_of_the_others(
    fitted: dict[str, Fitted], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = fitted["while"].engine
    asked = list(report_of(engine).weights)
    assert len(asked) > 1
    users = others_of(fitted["while"], 5)
    lists = engine.path_lists(users)
    plugin = retriever_class(asked[0])

    def fails(*_: Any) -> Any:
        raise RuntimeError("out of order")

    monkeypatch.setattr(plugin, "retrieve", fails)
    monkeypatch.setattr(plugin, "retrieve_batch", fails)
    state = engine._current()
    for number, user in enumerate(users):
        length = 3 if isinstance(user, User) else state.data.history(state.data.users.ids.row(user)).items.size
        segment = state.segment_of(length)
        own = [lists[name][number] if name in asked[1:] else RankedList.empty() for name in engine.paths]
        fused = segment.fusion.fuse(own, segment.weights, state.quotas, 20)
        answer = engine.retrieve(user, k=20)
        assert answer.status[asked[0]].state in ("failed", "skipped")
        assert answer.ids.tolist() == state.data.items.ids.ids(fused.items).tolist()
        np.testing.assert_allclose(answer.scores, fused.scores)


def test_plug_in_fusions_are_tried_and_served(data: Dataset, plugins: Any) -> None:
    plugins(FUSIONS, alternate="plug_in_fusion:Alternate")
    paths = config_of("next").paths[:3]
    with Engine(EngineConfig(k=30, paths=paths, fusion=FusionConfig(goal="next"))).fit(data) as engine:
        assert "alternate" in {trial.name for trial in report_of(engine).trials}
    with Engine(EngineConfig(k=30, paths=paths, fusion=FusionConfig(strategy="alternate"))).fit(data) as engine:
        assert engine.fusion_report() is None
        firsts = {int(lists[0].items[0]) for lists in engine.path_lists(["u00003"]).values()}
        ids = engine.data.items.ids.ids(np.array(sorted(firsts))).tolist()
        assert engine.retrieve("u00003", k=len(ids)).ids.tolist() == ids


def test_a_small_log_says_once_that_equal_weights_serve(caplog: pytest.LogCaptureFixture) -> None:
    small = Dataset.from_frames(generate(60, 40, 600).interactions.drop("event"))
    with caplog.at_level(logging.INFO), Engine(config_of(None)).fit(small) as engine:
        said = [one for one in caplog.records if fitting.TOO_SMALL in one.getMessage()]
        assert len(said) == 1
        assert "equal weights" in said[0].getMessage()
        assert report_of(engine).statement == fitting.TOO_SMALL
        assert not report_of(engine).dropped
        assert engine.segments[0].weights == [1.0] * len(PARAMS)
        assert all(status.state == "ok" for status in engine.retrieve("u00001").status.values())
        caplog.clear()
        engine.refresh().result(PATIENCE_S)
        assert len([one for one in caplog.records if fitting.TOO_SMALL in one.getMessage()]) <= 1


def test_a_log_with_an_order_but_no_times_learns_the_next_event(data: Dataset) -> None:
    log = data.undecayed
    frame = pl.DataFrame({"user_id": data.users.ids.ids(log.users), "item_id": data.items.ids.ids(log.items)})
    ordered = Dataset.from_frames(frame.with_columns(position=pl.int_range(frame.height)))
    with Engine(EngineConfig(k=30, paths=config_of(None).paths[:3])).fit(ordered) as engine:
        assert report_of(engine).goal == "next"


def test_forgotten_users_are_in_no_byte_of_the_bundle(fitted: dict[str, Fitted], folder: Path) -> None:
    person = owners_of(fitted["next"], 3)[-1]
    assert traces(folder, person)
    with Engine.load(folder) as engine:
        engine.remove_users([person])
        engine.refresh().result(PATIENCE_S)
        engine.save(folder)
    assert traces(folder, person) == set()


def traces(folder: Path, text: str) -> set[str]:
    """The files that hold the text in a form in which a bundle holds text."""
    forms = [text.encode(code) for code in ("utf-8", "utf-32-le", "utf-16-le")]
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.name for path in files if any(form in path.read_bytes() for form in forms)}


@pytest.mark.parametrize("goal", ["next"])
def test_live_changes_during_a_refit_are_not_lost(
    fitted: dict[str, Fitted], folder: Path, goal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = owners_of(fitted[goal], 1)[0]
    now = fitted[goal].engine.data.now
    assert now is not None
    whole = fitting.fit_engine
    with Engine.load(folder) as engine:

        def meanwhile(*arguments: Any) -> Any:
            made = whole(*arguments)
            engine.add_interactions([{"user_id": user, "item_id": "just in", "timestamp": now + 60}])
            return made

        monkeypatch.setattr("multirecall.engine.writer.fit_engine", meanwhile)
        engine.refresh().result(PATIENCE_S)
        expected = events_of(fitted[goal].engine.data) + Counter({(user, "just in", now + 60): 1})
        assert events_of(engine.data) == expected
        assert "just in" in engine.retrieve("a visitor", k=1_000).ids
        engine.save(folder)
    with Engine.load(folder) as loaded:
        assert events_of(loaded.data) == expected


def test_a_half_life_that_the_log_chose_as_none_survives_toml(data: Dataset) -> None:
    report = FusionReport("", settings={"item_cf": {"half_life": None}})
    config = EngineConfig(paths=(PathConfig(retriever="item_cf"),), fusion=FusionConfig(strategy="rrf"))
    written = EngineConfig.model_validate(tomllib.loads(report.to_toml(config)))
    users = data.users.ids.ids()[:50].tolist()
    with Engine(report.apply_to(config)).fit(data) as chosen, Engine(written).fit(data) as read:
        assert written.paths[0].params["half_life"] == 1e9
        assert_same_lists(chosen.path_lists(users)["item_cf"], read.path_lists(users)["item_cf"])

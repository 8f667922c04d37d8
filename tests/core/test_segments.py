"""Weights and fusions for users with short histories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multirecall import Engine, EngineConfig, User
from multirecall.errors import ConfigError, PluginError
from multirecall.testing import small_shop

PATHS: list[dict[str, Any]] = [{"retriever": "item_cf"}, {"retriever": "popularity", "weight": 0.5}]
SEGMENTS = [
    {"max_history": 0, "weights": {"popularity": 3.0}},
    {"max_history": 12, "weights": {"item_cf": 0.1}},
]


def engine(weights: dict[str, float] | None = None) -> Engine:
    """With the segments above, or with the same weights for all users."""
    if weights is None:
        return Engine(EngineConfig.model_validate({"paths": PATHS, "segments": SEGMENTS}))
    return Engine(
        EngineConfig.model_validate({"paths": [{**path, "weight": weights[path["retriever"]]} for path in PATHS]})
    )


def test_each_user_gets_the_weights_of_his_segment() -> None:
    data = small_shop()
    both = engine().fit(data)
    lengths = {user: data.interactions.of_user(data.users.ids.row(user)) for user in data.users.ids.ids().tolist()}
    alone = {
        name: engine(weights).fit(data)
        for name, weights in {
            "new": {"item_cf": 1.0, "popularity": 3.0},
            "short": {"item_cf": 0.1, "popularity": 0.5},
            "long": {"item_cf": 1.0, "popularity": 0.5},
        }.items()
    }
    met = set()
    for user, part in lengths.items():
        n = part.stop - part.start
        segment = "new" if n == 0 else "short" if n <= 12 else "long"
        met.add(segment)
        expected = alone[segment].retrieve(user, 10)
        found = both.retrieve(user, 10)
        assert (found.ids.tolist(), found.scores.tolist()) == (expected.ids.tolist(), expected.scores.tolist())
        assert both.explain(user, found.ids[0].item(), 10).score == found.scores[0]
    assert met == {"new", "short", "long"}


def test_batch_equals_one_by_one_across_segments() -> None:
    data = small_shop()
    both = engine().fit(data)
    users = [*data.users.ids.ids().tolist(), User(history=[1, 3]), User()]
    for user, found in zip(users, both.retrieve_batch(users, 10), strict=True):
        alone = both.retrieve(user, 10)
        assert found.ids.tolist() == alone.ids.tolist()
        assert found.scores.tolist() == alone.scores.tolist()
        assert found.ranks.tolist() == alone.ranks.tolist()
    assert len(both.retrieve_batch([], 10)) == 0


def test_segments_are_saved_with_the_engine(tmp_path: Path) -> None:
    both = engine().fit(small_shop())
    both.save(tmp_path / "bundle")
    loaded = Engine.load(tmp_path / "bundle")
    assert loaded.config.segments == both.config.segments
    assert loaded.retrieve(3, 10).ids.tolist() == both.retrieve(3, 10).ids.tolist()


FUSIONS: list[dict[str, Any]] = [
    {"strategy": "cascade"},
    {"strategy": "weighted_sum", "params": {"normaliser": "rank"}},
    {"strategy": "rrf"},
]


def fused_by_segment() -> dict[str, Any]:
    """A config with a fusion of its own for users without history, and another one for those with short histories."""
    new, short, common = FUSIONS
    segments = [{"max_history": 0, "fusion": new}, {"max_history": 12, "weights": {"item_cf": 0.1}, "fusion": short}]
    return {"paths": [{**path, "quota": 6} for path in PATHS], "segments": segments, "fusion": common}


def test_each_user_gets_the_fusion_of_their_segment() -> None:
    data, config = small_shop(), fused_by_segment()
    both = Engine(EngineConfig.model_validate(config)).fit(data)
    alone = []
    for fusion, weight in zip(FUSIONS, (1.0, 0.1, 1.0), strict=True):
        first, second = config["paths"]
        paths = [{**first, "weight": weight}, second]
        alone.append(Engine(EngineConfig.model_validate({"paths": paths, "fusion": fusion})).fit(data))
    users = [*data.users.ids.ids().tolist(), User(history=[1, 3]), User()]
    met = set()
    for user, found in zip(users, both.retrieve_batch(users, 10), strict=True):
        history = user.history if isinstance(user, User) else data.history(data.users.ids.row(user)).items
        n = 0 if history is None else len(history)
        segment = 0 if n == 0 else 1 if n <= 12 else 2
        met.add(segment)
        expected, single = alone[segment].retrieve(user, 10), both.retrieve(user, 10)
        for one in (found, single):
            assert (one.ids.tolist(), one.scores.tolist()) == (expected.ids.tolist(), expected.scores.tolist())
        item = found.ids[0].item()
        assert both.explain(user, item, 10) == alone[segment].explain(user, item, 10)
    assert met == {0, 1, 2}


def test_a_path_is_asked_for_what_the_hungriest_fusion_can_use() -> None:
    both = Engine(EngineConfig.model_validate(fused_by_segment())).fit(small_shop())
    longest = {name: int(np.diff(own.offsets).max()) for name, own in both.path_lists([3, 5, 7], windows=True).items()}
    assert longest == {"item_cf": 6, "popularity": 12}, "a cascade looks behind what earlier paths have placed"
    both.add_items([{"item_id": 9_999}])
    lists = both.path_lists([3, 5, 7], windows=True)
    assert {name: int(np.diff(own.offsets).max()) for name, own in lists.items()} == longest


def test_fusions_of_segments_are_saved_with_the_engine(tmp_path: Path) -> None:
    both = Engine(EngineConfig.model_validate(fused_by_segment())).fit(small_shop())
    both.save(tmp_path / "bundle")
    loaded = Engine.load(tmp_path / "bundle")
    assert [one.fusion.strategy for one in loaded.config.segments if one.fusion] == ["cascade", "weighted_sum"]
    for user in (3, User(), User(history=[1])):
        assert loaded.retrieve(user, 10).ids.tolist() == both.retrieve(user, 10).ids.tolist()


def test_mistakes_in_the_fusion_of_a_segment_are_named() -> None:
    config = fused_by_segment()
    config["segments"][1]["fusion"] = {"strategy": "rrf", "params": {"rank_konstant": 3}}
    with pytest.raises(ConfigError, match=r"segments\[1\].fusion \(rrf\): unknown key 'rank_konstant'; did you mean"):
        Engine(EngineConfig.model_validate(config))
    config["segments"][1]["fusion"] = {"strategy": "rrrf"}
    with pytest.raises(PluginError, match=r"no fusion plug-in is named 'rrrf'"):
        Engine(EngineConfig.model_validate(config))


PATH = '[[paths]]\nretriever = "item_cf"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[segments]]\nmax_history = 3\nweights = { item_fc = 1.0 }", "no path is named 'item_fc'; did you mean"),
        ("[[segments]]\nmax_history = -1\nweights = {}", "segments[0].max_history: input should be greater than"),
        ("[[segments]]\nmax_history = 1\nweights = { item_cf = 0.0 }", "segments[0].weights.item_cf: input should"),
        ("[[segments]]\nmax_history = 2\nweights = {}\n" * 2, "max_history must rise from one to the next, got [2, 2]"),
        ("[[segments]]\nmin_history = 2\nmax_history = 3\nweights = {}", "unknown key 'min_history'; did you mean"),
    ],
)
def test_mistakes_in_segments_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "engine.toml").write_text(PATH + text)
    with pytest.raises(ConfigError) as fault:
        EngineConfig.from_toml(tmp_path / "engine.toml")
    assert message in str(fault.value)

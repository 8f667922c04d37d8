"""A bundle serves under the settings that it was fitted with, whatever the defaults have become."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from foreign import adapter_params
from pydantic import BaseModel, SecretStr

from multirecall import Engine, EngineConfig, PathConfig
from multirecall.config import FusionConfig, SegmentConfig, config_hash, stored_values
from multirecall.engine.follower import Followed
from multirecall.engine.state import Blueprint
from multirecall.errors import BundleError, CannotFit, ConfigError, PluginError
from multirecall.fusion.rrf import ReciprocalRankFusion
from multirecall.protocols import PluginConfig
from multirecall.query import Query
from multirecall.registry import retriever_class
from multirecall.retrievers.als import ALS
from multirecall.retrievers.item_cf import ItemCF
from multirecall.retrievers.next_item import NextItem
from multirecall.retrievers.popularity import Popularity
from multirecall.storage import json_digest
from multirecall.testing import small_shop

RETRIEVERS = sorted(point.name for point in entry_points(group="multirecall.retrievers"))


def set_default(monkeypatch: pytest.MonkeyPatch, model: type[BaseModel], **defaults: Any) -> None:
    """Let the fields of a config have other defaults, as in a later release."""
    for name, value in defaults.items():
        monkeypatch.setattr(model.model_fields[name], "default", value)
    model.model_rebuild(force=True)


@pytest.fixture
def later_release(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Other defaults everywhere, while the test lasts."""
    models: list[type[BaseModel]] = []

    def release() -> None:
        changes: list[tuple[type[BaseModel], dict[str, Any]]] = [
            (ReciprocalRankFusion.Config, {"rank_constant": 5.0}),
            (ItemCF.Config, {"half_life": 1.0}),
            (Popularity.Config, {"half_life_days": 0.5}),
            (ALS.Config, {"dim": 7, "regularisation": 0.9, "unobserved": 0.5}),
            (PathConfig, {"quota": 3, "weight": 9.0}),
            (EngineConfig, {"k": 2}),
        ]
        for model, defaults in changes:
            set_default(monkeypatch, model, **defaults)
            models.append(model)

    yield release
    monkeypatch.undo()
    for model in models:
        model.model_rebuild(force=True)


def test_changed_defaults_change_no_answer(tmp_path: Path, later_release: Callable[[], None]) -> None:
    paths = tuple(PathConfig(retriever=name) for name in ("item_cf", "popularity", "als"))
    with Engine(EngineConfig(paths=paths, k=9)).fit(small_shop()) as engine:
        before = [engine.retrieve(user) for user in (1, 2, 3)]
        engine.save(tmp_path)
        name = engine.health().config_hash
    later_release()
    assert Engine(EngineConfig(paths=(PathConfig(retriever="als"),))).config.k == 2  # the release has come
    with Engine.load(tmp_path) as engine:
        after = [engine.retrieve(user) for user in (1, 2, 3)]
        assert engine.health().config_hash == name
        refit = engine.refresh()
        refit.result(60)
        assert [one.ids.tolist() for one in map(engine.retrieve, (1, 2, 3))] == [one.ids.tolist() for one in before]
    for old, new in zip(before, after, strict=True):
        assert new.ids.tolist() == old.ids.tolist()
        assert new.scores.tolist() == old.scores.tolist()
        assert len(new) == 9


def test_every_setting_of_every_part_is_stored_but_for_those_of_the_machine(tmp_path: Path) -> None:
    config = EngineConfig(
        threads=2, paths=(PathConfig(retriever="two_tower", params={"epochs": 1, "checkpoint": str(tmp_path / "c")}),)
    )
    with Engine(config).fit(small_shop()) as engine:
        engine.save(tmp_path / "bundle")
        [version] = Engine.versions(tmp_path / "bundle")
    settings = retriever_class("two_tower").Config
    assert version.config["paths"][0]["params"].keys() == settings.model_fields.keys() - settings.of_machine
    assert settings.of_machine == {"threads", "device", "checkpoint"}
    assert version.config["fusion"] == {"strategy": "auto", "goal": None, "params": {}}
    assert version.learned is not None
    assert version.learned["report"]["strategy"] == "rrf"
    assert version.learned["report"]["params"] == {"rank_constant": 60.0}
    assert version.config["fallback"]["params"]["smoothing"] == 1000.0
    assert version.config.keys() == EngineConfig.model_fields.keys() - {"threads"}
    text = (tmp_path / "bundle" / version.name / "manifest.json").read_text()
    assert str(tmp_path / "c") not in text
    assert json_digest(version.config) == version.config_hash


def test_threads_are_given_anew_at_load(tmp_path: Path) -> None:
    config = EngineConfig(threads=2, paths=(PathConfig(retriever="item_cf"),))
    with Engine(config).fit(small_shop()) as engine:
        engine.save(tmp_path)
        name = engine.health().config_hash
    assert Engine.load(tmp_path).config.threads == 1
    loaded = Engine.load(tmp_path, threads=3)
    assert loaded.config.threads == 3
    assert loaded._blueprint.paths[0][2].settings.threads == 3  # type: ignore[attr-defined]
    assert loaded.health().config_hash == name
    with pytest.raises(ConfigError, match="threads: input should be greater than 0, got 0"):
        Engine.load(tmp_path, threads=0)


@pytest.mark.parametrize("name", RETRIEVERS)
def test_stored_settings_are_those_of_the_fit(name: str, tmp_path: Path) -> None:
    params = adapter_params(tmp_path, small_shop()).get(name, {})
    blueprint = Blueprint.of(EngineConfig(paths=(PathConfig(retriever=name, params=params),)))
    again = Blueprint.of(EngineConfig.model_validate(json.loads(json.dumps(stored_values(blueprint.resolved)))))
    assert again.paths[0][2].settings == blueprint.paths[0][2].settings
    assert config_hash(again.resolved) == config_hash(blueprint.resolved)


@pytest.mark.parametrize("name", ["cascade", "learned", "rrf", "weighted_sum"])
def test_stored_settings_of_a_fusion(name: str) -> None:
    fusion = FusionConfig(strategy=name)
    segments = (SegmentConfig(max_history=3, fusion=fusion), SegmentConfig(max_history=5))
    config = EngineConfig(paths=(PathConfig(retriever="popularity"),), fusion=fusion, segments=segments)
    blueprint = Blueprint.of(config)
    again = Blueprint.of(EngineConfig.model_validate(stored_values(blueprint.resolved)))
    stored = blueprint.fusions[-1].config
    assert [one.config for one in again.fusions] == [stored] * 3
    assert blueprint.resolved.segments[0].fusion == FusionConfig(strategy=name, params=stored.model_dump())
    assert blueprint.resolved.segments[1].fusion is None


def test_a_config_that_is_not_that_of_its_hash_is_refused(tmp_path: Path) -> None:
    with Engine(EngineConfig(paths=(PathConfig(retriever="item_cf"),))).fit(small_shop()) as engine:
        engine.save(tmp_path)
    with manifest_of(tmp_path) as manifest:
        manifest["config"]["paths"][0]["params"]["half_life"] = 2.0
    with pytest.raises(BundleError, match="config and config_hash do not belong together; restore it from a copy"):
        Engine.load(tmp_path)


def test_former_names_in_a_bundle_are_read_without_a_warning(tmp_path: Path) -> None:
    """`refill` was what `replace` of `cascade` was called when the bundle was saved."""
    paths = [{"retriever": name, "quota": 9} for name in ("item_cf", "popularity")]
    config = EngineConfig.model_validate({"k": 15, "paths": paths, "fusion": {"strategy": "cascade"}})
    with Engine(config).fit(small_shop()) as engine:
        engine.save(tmp_path)
        expected, name = engine.retrieve(3), engine.health().config_hash
    with manifest_of(tmp_path) as manifest:
        assert manifest["config"]["fusion"]["params"] == {"on_duplicate": "replace"}
        manifest["config"]["fusion"]["params"]["on_duplicate"] = "refill"
        manifest["config_hash"] = json_digest(manifest["config"])
    with Engine.load(tmp_path) as engine, Engine.load(tmp_path) as reader:
        store = reader._writer.store
        assert store is not None
        followed = Followed(store, reader.config)
        answer = engine.retrieve(3)
        assert (answer.ids.tolist(), answer.scores.tolist()) == (expected.ids.tolist(), expected.scores.tolist())
        assert engine.health().config_hash == name, "equal configs have equal hashes"
        engine.refresh().result(60)
        engine.save(tmp_path)
        assert engine.versions(tmp_path)[-1].config["fusion"]["params"] == {"on_duplicate": "replace"}
        seen = followed.newer(reader._current(), lambda _: pytest.fail("it is the same config"))
        assert seen.data_version == engine._current().data_version
    with pytest.warns(DeprecationWarning, match="on_duplicate = 'refill' is now called 'replace'"):
        Engine(EngineConfig(fusion=FusionConfig(strategy="cascade", params={"on_duplicate": "refill"})))


@contextmanager
def manifest_of(bundle: Path) -> Iterator[dict[str, Any]]:
    """The manifest of the first version, to be changed; at the end the files vouch for it again."""
    file = bundle / "000001" / "manifest.json"
    manifest = json.loads(file.read_text())
    yield manifest
    del manifest["sha256"]
    manifest["sha256"] = json_digest(manifest)
    file.write_text(json.dumps(manifest))
    (bundle / "CURRENT").write_text(f"000001 {manifest['sha256']}\n")


def test_shapes_come_from_the_arrays(tmp_path: Path) -> None:
    data = small_shop()
    with Engine(EngineConfig(paths=(PathConfig(retriever="als"), PathConfig(retriever="next_item")))).fit(
        data
    ) as engine:
        for number, path in enumerate(engine._current().paths):
            place = tmp_path / str(number)
            place.mkdir()
            path.retriever.save(place)
    narrow, wide = (ALS.load(ALS.Config(dim=dim), tmp_path / "0", data) for dim in (3, 500))
    history = data.history(3)
    query = Query(3, history.items, history.weights)
    assert narrow.retrieve(query, 9).items.tolist() == wide.retrieve(query, 9).items.tolist()
    with pytest.raises(
        BundleError, match="holds weights of 2 speeds, the settings name 3 half_lives; fit and save again"
    ):
        NextItem.load(NextItem.Config(half_lives=(1.0, 2.0, 3.0)), tmp_path / "1", data)


class Sealed(PluginConfig):
    token: SecretStr | None = None


class Keeper(Popularity):  # type: ignore[misc]
    """A retriever whose setting is a secret."""

    Config = Sealed


def test_a_setting_that_would_hold_a_secret_is_refused(plugins: Callable[..., None]) -> None:
    plugins(keeper=f"{__name__}:Keeper")
    with pytest.raises(
        PluginError, match="its setting 'token' would hold a secret, which a bundle must not; let it take"
    ):
        retriever_class("keeper")


def test_what_is_optional_is_left_out_whoever_chose_it(tmp_path: Path) -> None:
    """Two equal configs behave alike: the default paths are optional, and so are those of a user who says so."""
    log = small_shop(timestamps=False, features=False)
    spelled_out = EngineConfig.model_validate(EngineConfig().model_dump())
    chosen = tuple(path for path in spelled_out.paths if path.name in ("content", "item_cf", "next_item"))
    with Engine(EngineConfig(paths=chosen)).fit(log) as engine:
        assert engine.paths == ("item_cf",)
    strict = tuple(path.model_copy(update={"optional": False}) for path in chosen)
    with pytest.raises(CannotFit, match=r"paths\[1\] 'content': content: the data have no item features"):
        Engine(EngineConfig(paths=strict)).fit(log)
    contradiction = tmp_path / "engine.toml"
    contradiction.write_text("[[paths]]\nretriever = 'item_cf'\noptional = true\nrequired = true\n")
    with pytest.raises(ConfigError, match="required and optional are both true; set one of them to false"):
        EngineConfig.from_toml(contradiction)


def test_no_path_at_all_is_an_error_that_names_why() -> None:
    config = EngineConfig(paths=(PathConfig(retriever="content", optional=True),))
    with pytest.raises(
        CannotFit, match="the data can feed no path at all; paths\\[0\\] 'content': content: the data have no item"
    ):
        Engine(config).fit(small_shop(features=False))

"""Retriever and fusion classes that no project has installed: given directly, or named as `module:Class`."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import faulty
import numpy as np
import polars as pl
import pytest
from patience import eventually

from multirecall import Engine, EngineConfig, PathConfig
from multirecall.config import config_hash, stored_values
from multirecall.data import Dataset
from multirecall.errors import PluginError, RequestError, UntrustedPlugin
from multirecall.lists import FusedBatch
from multirecall.plugins import GivenClass, import_class, match_names
from multirecall.protocols import Fusion, PluginConfig
from multirecall.registry import fusion_class, retriever_class
from multirecall.testing import small_shop
from multirecall.tuning import TuningConfig, tune, write_config

PLANTED = """
from pathlib import Path

with Path(__file__).with_name("ran.txt").open("a") as note:
    note.write("once\\n")

import faulty
from multirecall.protocols import PluginConfig


class Config(PluginConfig):
    step: int = 1


class Fresh(faulty.Rows):
    Config = Config
"""
"""A module with a side effect."""


class StepConfig(PluginConfig):
    step: int = 3


class Steps(faulty.Rows):
    """Has a setting."""

    Config = StepConfig


class First(Fusion):
    """Takes the first path's list."""

    def fuse_batch(self, batches: Any, weights: Any, quotas: Any, k: int) -> FusedBatch:
        inner = fusion_class("rrf")
        return inner(inner.Config()).fuse_batch(batches, [1.0, *([1e-9] * (len(batches) - 1))], quotas, k)


class Last(First):
    """Also takes the first path's list."""


def config_of(*paths: Any, **more: Any) -> EngineConfig:
    return EngineConfig.model_validate({"k": 5, "paths": [{"retriever": path} for path in paths], **more})


def saved_with(folder: Path, *paths: Any, **more: Any) -> Engine:
    engine = Engine(config_of(*paths, **more)).fit(small_shop())
    engine.save(folder)
    return engine


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on Python's path with the module `planted`."""
    (tmp_path / "planted.py").write_text(PLANTED)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "planted", raising=False)
    return tmp_path


def runs(folder: Path) -> int:
    """How often the module `planted` was imported, in whatever process."""
    note = folder / "ran.txt"
    return len(note.read_text().splitlines()) if note.exists() else 0


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`multirecall …` in a folder that is not on Python's path."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([os.environ["PYTHONPATH"], str(Path(__file__).parents[1])]),
    }
    return subprocess.run(
        [sys.executable, "-P", "-m", "multirecall", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip


def test_class_given_directly_is_asked_under_its_name() -> None:
    engine = Engine(config_of(faulty.Rows, "popularity")).fit(small_shop())
    assert engine.paths == ("Rows", "popularity")
    assert engine.retrieve(1).status["Rows"].state == "ok"


def test_class_in_every_place_that_names_a_plugin() -> None:
    config = config_of(faulty.Rows, "popularity", fusion={"strategy": First}, fallback={"retriever": Steps})
    engine = Engine(config).fit(small_shop())
    rows = engine.data.items.ids.rows(engine.retrieve(1, seen=True).ids).tolist()
    assert rows == [0, 1, 2, 3, 4]


def test_config_is_text_wherever_it_is_stored() -> None:
    config = config_of(faulty.Rows, fusion={"strategy": First})
    assert stored_values(config)["paths"][0]["retriever"] == "faulty:Rows"
    assert stored_values(config)["fusion"]["strategy"] == f"{__name__}:First"
    assert config_hash(config) == config_hash(EngineConfig.model_validate(stored_values(config)))
    assert "GivenClass" not in repr(config)


def test_copies_of_a_config_keep_the_class() -> None:
    config = copy.deepcopy(config_of(faulty.Rows))
    assert isinstance(config.paths[0].retriever, GivenClass)
    assert retriever_class(config.paths[0].retriever) is faulty.Rows


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (faulty.NotARetriever, "retriever class faulty:NotARetriever is not a complete subclass of multirecall.proto"),
        (faulty.Unfinished, "retriever class faulty:Unfinished is not a complete subclass of multirecall.protocols.R"),
        (First, "is not a complete subclass of multirecall.protocols.Retriever"),
    ],
)
def test_class_that_is_no_retriever_is_refused(given: type, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        Engine(config_of(given))


def test_what_is_neither_a_name_nor_a_class_is_refused() -> None:
    with pytest.raises(ValueError, match="valid string"):
        PathConfig.model_validate({"name": "x", "retriever": faulty.Rows(PluginConfig())})


def test_bare_name_in_a_config_from_elsewhere_runs_nothing(planted: Path) -> None:
    for place in ({"paths": [{"retriever": "planted:Fresh"}]}, {"fallback": {"retriever": "planted:Fresh"}},
                  {"fusion": {"strategy": "planted:Fresh"}},
                  {"segments": [{"max_history": 3, "fusion": {"strategy": "planted:Fresh"}}]}):  # fmt: skip
        with pytest.raises(UntrustedPlugin, match="'planted:Fresh' is the name of a class, and a name alone runs no"):
            Engine(EngineConfig.model_validate(place))
    (planted / "engine.toml").write_text('[[paths]]\nretriever = "planted:Fresh"\n')
    assert EngineConfig.from_toml(planted / "engine.toml").bare_classes == ["planted:Fresh"]
    assert "planted" not in sys.modules
    assert runs(planted) == 0


def test_toml_that_the_user_passes_names_a_class(planted: Path) -> None:
    text = '[[paths]]\nretriever = "planted:Fresh"\nparams = {step = 4}\n'
    text += '[[paths]]\nretriever = "gone:X"\nenabled = false\n'
    (planted / "engine.toml").write_text(text)
    engine = Engine.from_toml(planted / "engine.toml").fit(small_shop())
    assert engine.paths == ("Fresh",)
    engine.save(planted / "bundle")
    config = Engine.load(planted / "bundle", plugins=[import_class("planted:Fresh")]).config
    assert (config.paths[0].retriever, config.paths[0].params) == ("planted:Fresh", {"step": 4})
    assert runs(planted) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("planted:Gone", "'planted:Gone' cannot be imported: AttributeError"),
        ("nowhere.at_all:X", "'nowhere.at_all:X' cannot be imported: ModuleNotFoundError"),
        (":Fresh", "':Fresh' is no name of a class; write module:Class"),
        ("planted:", "'planted:' is no name of a class; write module:Class"),
        ("planted:Path.cwd", "'planted:Path.cwd' is no class"),
        ("planted:Path", "retriever class pathlib:Path is not a complete subclass"),
        ("planted:Fresh.Config", "retriever class planted:Config is not a complete subclass"),
    ],
)
def test_toml_that_names_something_else(planted: Path, name: str, message: str) -> None:
    (planted / "engine.toml").write_text(f'[[paths]]\nname = "x"\nretriever = "{name}"\n')
    with pytest.raises(PluginError) as fault:
        Engine.from_toml(planted / "engine.toml")
    assert str(fault.value).startswith(f"{planted / 'engine.toml'}: ")
    assert message in str(fault.value)


def test_bundle_does_not_choose_what_runs(tmp_path: Path, planted: Path) -> None:
    """It was saved elsewhere, where the class was at hand; reading it here imports nothing."""
    script = (
        "import planted; from multirecall import Engine, EngineConfig; from multirecall.testing import small_shop; "
        "config = EngineConfig.model_validate({'paths': [{'retriever': planted.Fresh, 'params': {'step': 2}}]}); "
        "Engine(config).fit(small_shop()).save('bundle')"
    )
    subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, check=True, timeout=200,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert runs(planted) == 1
    folder = tmp_path / "bundle"
    Engine.versions(folder)
    Engine.salvage(folder)
    for plugins in ([], [Steps], [faulty.Rows, First]):
        with pytest.raises(UntrustedPlugin) as fault:
            Engine.load(folder, plugins=plugins)
        assert str(fault.value) == (
            f"{folder}/000001: was saved with planted:Fresh, and a bundle does not choose what code runs; "
            f"if you trust it, name it: Engine.load({str(folder)!r}, plugins=[Fresh])"
        )
        assert fault.value.names == ("planted:Fresh",)
    assert "planted" not in sys.modules
    assert runs(planted) == 1
    engine = Engine.load(folder, plugins=[import_class("planted:Fresh")])
    assert engine.config.paths[0].params == {"step": 2}
    assert engine.retrieve(1, 3).status["Fresh"].state == "ok"


def test_remedy_names_all_classes_of_the_bundle(tmp_path: Path) -> None:
    saved_with(tmp_path / "bundle", faulty.Rows, Steps, fusion={"strategy": First}, fallback={"retriever": Steps})
    with pytest.raises(UntrustedPlugin, match=r"saved with .*:Steps, .*:First, and .*plugins=\[Rows, Steps, First\]"):
        Engine.load(tmp_path / "bundle", plugins=[faulty.Rows])
    Engine.load(tmp_path / "bundle", plugins=[faulty.Rows, Steps, First, faulty.Leaks])


def test_loaded_engine_refits_saves_and_rolls_back(tmp_path: Path) -> None:
    saved_with(tmp_path / "bundle", Steps, "popularity").close()
    engine = Engine.load(tmp_path / "bundle", plugins=[Steps])
    assert engine.config.paths[0].params == {"step": 3}, "with the settings of its parts"
    engine.add_interactions([{"user_id": 1, "item_id": 2, "timestamp": 1}])
    engine.refresh().result()
    engine.save(tmp_path / "bundle")
    engine.close()
    assert len({version.config_hash for version in Engine.versions(tmp_path / "bundle")}) == 1
    assert Engine.rollback(tmp_path / "bundle") == "000001"
    assert Engine.load(tmp_path / "bundle", plugins=[Steps]).retrieve(1, 3).status["Steps"].state == "ok"


def test_followers_carry_the_consent_along(tmp_path: Path) -> None:
    writer = saved_with(tmp_path / "bundle", Steps)
    with Engine.load(tmp_path / "bundle", follow=True, plugins=[Steps]) as follower:
        writer.refresh().result()
        writer.save(tmp_path / "bundle")
        eventually(lambda: follower.health().data_version == writer.health().data_version)
        store = follower.health().store
        assert store is not None
        assert (store.version, store.fault) == ("000002", None)


def test_class_of_a_notebook(tmp_path: Path) -> None:
    """Saved with a class of `__main__`; found again by its name, wherever that class has moved."""
    script = (
        "import faulty; from multirecall import Engine, EngineConfig; from multirecall.testing import small_shop\n"
        "class Steps(faulty.Rows): pass\n"
        "paths = [{'retriever': Steps}, {'retriever': 'popularity'}]\n"
        "Engine(EngineConfig.model_validate({'paths': paths})).fit(small_shop()).save('bundle')\n"
        "print(Engine.load('bundle', plugins=[Steps]).retrieve(1, 3).status['Steps'].state)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, check=True, timeout=200, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.stdout == "ok\n"
    with pytest.raises(UntrustedPlugin, match="saved with __main__:Steps"):
        Engine.load(tmp_path / "bundle", plugins=[faulty.Rows])
    assert Engine.load(tmp_path / "bundle", plugins=[Steps]).retrieve(1, 3).status["Steps"].state == "ok"


def test_a_class_of_a_module_is_not_found_by_its_name_alone(tmp_path: Path) -> None:
    saved_with(tmp_path / "bundle", Steps)

    class Namesake(faulty.Rows):
        pass

    Namesake.__qualname__ = "Steps"
    Namesake.__module__ = "elsewhere"
    with pytest.raises(UntrustedPlugin):
        Engine.load(tmp_path / "bundle", plugins=[Namesake])


@pytest.mark.parametrize("wrong", [["faulty:Rows"], "faulty:Rows", faulty.Rows, [faulty.Rows(PluginConfig())]])
def test_plugins_are_classes(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(RequestError, match=r"load: plugins: got .*Rows.*; pass a list of classes"):
        Engine.load(tmp_path, plugins=wrong)


def test_every_place_of_a_toml_may_name_a_class(tmp_path: Path, planted: Path) -> None:
    (planted / "engine.toml").write_text(
        'k = 3\n[[paths]]\nname = "mine"\nretriever = "planted:Fresh"\n[[paths]]\nretriever = "popularity"\n'
        f'[fusion]\nstrategy = "{__name__}:First"\n[fallback]\nretriever = "{__name__}:Steps"\nparams = {{step = 9}}\n'
        f'[[segments]]\nmax_history = 2\n[[segments]]\nmax_history = 4\nfusion.strategy = "{__name__}:Last"\n'
    )
    engine = Engine.from_toml(planted / "engine.toml").fit(small_shop())
    assert engine.paths == ("mine", "popularity")
    engine.save(tmp_path / "bundle")
    fresh = import_class("planted:Fresh")
    config = Engine.load(tmp_path / "bundle", plugins=[fresh, Steps, First, Last]).config
    assert [one.fusion and one.fusion.strategy for one in config.segments] == [None, f"{__name__}:Last"]
    assert (config.fusion.strategy, config.fallback.params) == (f"{__name__}:First", {"step": 9})
    with pytest.raises(UntrustedPlugin) as fault:
        Engine.load(tmp_path / "bundle", plugins=[fresh])
    assert fault.value.names == ("planted:Fresh", f"{__name__}:First", f"{__name__}:Last", f"{__name__}:Steps")


def test_command_line(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text(PLANTED)
    (tmp_path / "engine.toml").write_text('[[paths]]\nretriever = "planted:Fresh"\n')
    log = pl.DataFrame({"user_id": [1, 1, 2, 2, 3], "item_id": [1, 2, 2, 3, 4], "timestamp": [1, 2, 3, 4, 5]})
    log.write_csv(tmp_path / "log.csv")
    made = command(
        tmp_path, "fit", "--interactions", "log.csv", "--config", "engine.toml", "--threads", "1", "--out", "b"
    )
    assert made.returncode == 0, made.stderr
    assert runs(tmp_path) == 1
    refused = command(tmp_path, "retrieve", "b", "--user", "1")
    assert refused.returncode == 1
    assert " ".join(refused.stderr.split()) == (
        "error: b/000001: was saved with planted:Fresh, and a bundle does not choose what code runs; "
        "if you trust it, name it: --plugin planted:Fresh"
    )
    for harmless in (["versions", "b"], ["doctor", "b"], ["salvage", "b"]):
        done = command(tmp_path, *harmless)
        assert done.returncode == 0, done.stderr
    assert runs(tmp_path) == 1, "nothing imported what the user did not name"
    answer = command(tmp_path, "retrieve", "b", "--user", "1", "--json", "--plugin", "planted:Fresh")
    assert answer.returncode == 0, answer.stderr
    assert '"Fresh"' in answer.stdout


def test_tuned_config_names_the_class(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    frame = pl.DataFrame(
        {"user_id": np.repeat(np.arange(100), 8), "item_id": rng.integers(0, 20, 800), "timestamp": np.arange(800)}
    )
    start = config_of(faulty.Rows, "popularity", fusion={"strategy": First})
    settings = TuningConfig(strategies=("rrf",), segments=False, split="random")
    tuned = tune(Dataset.from_frames(frame), start, settings)
    write_config(tuned, tmp_path / "tuned.toml")
    again = Engine.from_toml(tmp_path / "tuned.toml").config
    assert [path.retriever for path in again.paths] == ["faulty:Rows", "popularity"]


def test_live_without_with_changes_is_refused_before_anything_is_fitted(plugins: Any) -> None:
    plugins(forgetful="faulty:Forgetful", misspelt="faulty:Misspelt")
    for named in ("forgetful", faulty.Forgetful):
        with pytest.raises(PluginError, match=r"its `live` names interactions, items, but it has no with_changes; "):
            Engine(config_of(named))
    with pytest.raises(PluginError, match=r"its `live` has 'item'; did you mean 'items'\?"):
        retriever_class("misspelt")


def test_retriever_with_an_inherited_with_changes_is_accepted() -> None:
    class Base(faulty.Rows):
        def with_changes(self, changes: Any) -> Any:
            return self

    class Inherits(Base):
        live = frozenset({"items"})

    Engine(config_of(Inherits))


def test_two_classes_for_one_name_of_a_notebook_are_refused() -> None:
    class Twin(faulty.Rows):
        """Of the name of another."""

    Twin.__qualname__ = "Rows"
    with pytest.raises(PluginError, match=r"__main__:Rows may be faulty:Rows or .*test_given_classes:Rows; give one"):
        match_names(["__main__:Rows"], [faulty.Rows, Twin])
    assert match_names(["__main__:Rows"], [Twin]) == {"__main__:Rows": Twin}
    assert match_names(["faulty:Rows"], [faulty.Rows, Twin]) == {"faulty:Rows": faulty.Rows}


def test_a_private_class_names_its_path() -> None:
    class _Hidden(faulty.Rows):
        """Private to its module."""

    assert config_of(_Hidden).paths[0].name == "Hidden"

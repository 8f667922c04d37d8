from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multirecall import Engine, EngineConfig, User
from multirecall.errors import BundleError, PluginError
from multirecall.storage import write_manifest
from multirecall.testing import small_shop

CONFIG: dict[str, Any] = {
    "k": 12,
    "paths": [
        {"name": "cf", "retriever": "item_cf", "quota": 9, "weight": 2.0},
        {"retriever": "content", "params": {"jaccard": ["tags"]}},
        {"name": "by-country", "retriever": "popularity", "params": {"segment": "country"}},
    ],
    "fusion": {"strategy": "weighted_sum", "params": {"normaliser": "rank"}},
}


@pytest.fixture
def engine() -> Engine:
    return Engine(EngineConfig.model_validate(CONFIG)).fit(small_shop("str"))


@pytest.fixture
def saved(engine: Engine, tmp_path: Path) -> Path:
    engine.save(tmp_path / "bundle")
    return tmp_path / "bundle"


def version(saved: Path) -> Path:
    return saved / (saved / "CURRENT").read_text().split()[0]


def forge(saved: Path) -> None:
    """Let the manifest and `CURRENT` vouch for the current version as it is now."""
    folder = version(saved)
    manifest = json.loads((folder / "manifest.json").read_text())
    forged = write_manifest(folder, {key: manifest[key] for key in manifest.keys() - {"files", "sha256"}})
    (saved / "CURRENT").write_text(f"{folder.name} {forged['sha256']}\n")


def test_loaded_engine_answers_the_same(engine: Engine, saved: Path) -> None:
    loaded = Engine.load(saved)
    assert loaded.config == engine.config
    users: list[Any] = ["u1", "u2", "nobody", User(None, ["i3", "i5"], {"country": "FR"})]
    before, after = engine.retrieve_batch(users, 30), loaded.retrieve_batch(users, 30)
    assert before.ids.tolist() == after.ids.tolist()
    assert before.scores.tolist() == after.scores.tolist()
    assert before.ranks.tolist() == after.ranks.tolist()
    assert before.ids.dtype == after.ids.dtype
    where = {"group": "even", "arrival": {"min": "2023-08-01"}, "title": ["red item number 4"]}
    assert engine.retrieve("u1", where=where).ids.tolist() == loaded.retrieve("u1", where=where).ids.tolist()


def test_default_engine_remembers_what_it_left_out(tmp_path: Path) -> None:
    Engine().fit(small_shop(features=False)).save(tmp_path / "bundle")
    expected = ("two_tower", "item2vec", "node2vec", "item_cf", "popularity", "next_item", "ease", "als")
    assert Engine.load(tmp_path / "bundle").paths == expected


def test_saving_again_adds_a_version_and_keeps_the_one_before(engine: Engine, saved: Path) -> None:
    for _ in range(2):
        engine.save(saved)
    assert [path.name for path in sorted(saved.iterdir()) if "journal" not in path.name] == [
        "000002",
        "000003",
        "CURRENT",
        "LOCK",
    ]
    assert version(saved).name == "000003"
    assert Engine.load(saved).retrieve("u1").ids.tolist() == engine.retrieve("u1").ids.tolist()


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "empty"])
def test_damaged_file_is_named(saved: Path, damage: str) -> None:
    for file in sorted(version(saved).rglob("*.npy"))[::7]:
        content = file.read_bytes()
        match damage:
            case "flip":
                file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
            case "truncate":
                file.write_bytes(content[:-1])
            case "empty":
                file.write_bytes(b"")
            case "remove":
                file.unlink()
        with pytest.raises(BundleError) as fault:
            Engine.load(saved)
        assert str(file.relative_to(version(saved))) in str(fault.value)
        assert "Restore it from a copy" in str(fault.value)
        file.write_bytes(content)
    Engine.load(saved)


def test_manifest_that_is_no_json(saved: Path) -> None:
    (version(saved) / "manifest.json").write_text("{")
    with pytest.raises(BundleError, match="cannot be read"):
        Engine.load(saved)


def test_newer_format_is_refused(saved: Path) -> None:
    file = version(saved) / "manifest.json"
    manifest = json.loads(file.read_text()) | {"format": 99, "multirecall": "9.1"}
    file.write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"has format 99, this program reads 2; use multirecall 9\.1"):
        Engine.load(saved)


def test_no_code_runs_from_a_bundle(saved: Path, tmp_path: Path) -> None:
    """Even with a manifest that vouches for it, a planted pickle is not opened."""
    witness = tmp_path / "witness"
    file = next((version(saved) / "paths" / "cf").glob("*.npy"))
    with file.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": (1,)})
        stream.write(f"cposix\nsystem\n(S'touch {witness}'\ntR.".encode())
    forge(saved)
    with pytest.raises(BundleError, match="no array can be read"):
        Engine.load(saved)
    assert not witness.exists()


def test_what_is_no_bundle(tmp_path: Path, engine: Engine) -> None:
    with pytest.raises(BundleError, match="is not a bundle"):
        Engine.load(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match="is not empty and not a bundle; choose another folder"):
        engine.save(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_pointer_to_nowhere(saved: Path) -> None:
    (saved / "CURRENT").write_text("../../etc\n")
    with pytest.raises(BundleError, match="which is no version here"):
        Engine.load(saved)


def test_failed_save_leaves_the_version_before(engine: Engine, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("multirecall.engine.bundle.write_manifest", full)
    with pytest.raises(BundleError, match="No space left on device"):
        engine.save(saved)
    assert [path.name for path in sorted(saved.iterdir()) if "journal" not in path.name] == [
        "000001",
        "CURRENT",
        "LOCK",
    ]
    Engine.load(saved)


def test_plugin_that_is_gone(plugins: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugins(rows="faulty:Rows")
    engine = Engine(EngineConfig.model_validate({"paths": [{"retriever": "rows"}]})).fit(small_shop())
    engine.save(tmp_path / "bundle")
    assert Engine.load(tmp_path / "bundle").retrieve(1, 3).ids.tolist() == engine.retrieve(1, 3).ids.tolist()
    monkeypatch.undo()
    from multirecall import registry

    registry._points.cache_clear()
    with pytest.raises(PluginError, match="no retriever plug-in is named 'rows'"):
        Engine.load(tmp_path / "bundle")

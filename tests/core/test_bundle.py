from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multirecall import Engine, EngineConfig, User
from multirecall.config import config_hash
from multirecall.engine.bundle import bundle
from multirecall.engine.bundle.versions import verify
from multirecall.errors import BundleError, PluginError
from multirecall.storage import json_digest, write_manifest
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


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(EngineConfig.model_validate(CONFIG)).fit(small_shop("str"))


@pytest.fixture(scope="module")
def original(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "bundle"
    engine.save(folder)
    return folder


@pytest.fixture
def saved(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "bundle")


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
    assert loaded.config == engine._blueprint.resolved.model_copy(update={"threads": 1})
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
    with pytest.raises(
        BundleError, match=r"has format 99, written by multirecall 9\.1; this program reads format 3: fit"
    ):
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


HEADERS = {
    "huge": "{'descr': '<i4', 'fortran_order': False, 'shape': (4611686018427387904,), }",
    "overflowing": "{'descr': '<i4', 'fortran_order': False, 'shape': (4294967296, 4294967296, 4294967296), }",
    "negative": "{'descr': '<i4', 'fortran_order': False, 'shape': (-1,), }",
    "no width": "{'descr': '<V0', 'fortran_order': False, 'shape': (1000,), }",  # numpy divides by the width
    "no width, negative": "{'descr': '<U0', 'fortran_order': False, 'shape': (-1,), }",
    "wide": "{'descr': '<U1000000000', 'fortran_order': False, 'shape': (1,), }",
    "objects": "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
    "fields": "{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1,), }",
    "call": "{'descr': '<i4', 'fortran_order': False, 'shape': (exit(),), }",
    "deep": "(" * 100_000,
    "long": "{'descr': '<i4', 'fortran_order': False, 'shape': (" + "1, " * 5_000 + "), }",
}


@pytest.mark.parametrize("header", HEADERS)
def test_absurd_array_header(saved: Path, header: str) -> None:
    file = next((version(saved) / "paths" / "cf").glob("*.npy"))
    text = HEADERS[header].encode()[:65_000] + b"\n"
    file.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(64))
    forge(saved)
    with pytest.raises(BundleError, match="no array can be read"):
        Engine.load(saved)


def test_planted_program_is_refused_or_never_run(saved: Path, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    planted = version(saved) / "paths" / "cf" / "__init__.py"
    planted.write_text(f"open({str(witness)!r}, 'w')")
    with pytest.raises(BundleError, match=r"does not list paths/cf/__init__\.py"):
        Engine.load(saved)
    forge(saved)
    Engine.load(saved)
    assert not witness.exists()


@pytest.mark.parametrize("place", ["file", "folder", "manifest", "pipe"])
def test_links_and_pipes_are_refused(saved: Path, tmp_path: Path, place: str) -> None:
    own = version(saved)
    file = next((own / "data").rglob("*.npy"))
    match place:
        case "file":
            file.rename(tmp_path / "away.npy")
            file.symlink_to(tmp_path / "away.npy")
        case "folder":
            (own / "data").rename(tmp_path / "away")
            (own / "data").symlink_to(tmp_path / "away")
        case "manifest":
            (own / "manifest.json").rename(tmp_path / "away.json")
            (own / "manifest.json").symlink_to(tmp_path / "away.json")
        case "pipe":
            file.unlink()
            os.mkfifo(file)
    with pytest.raises(BundleError, match="is neither a file nor a folder"):
        Engine.load(saved)


def test_manifest_that_points_outside(saved: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("mine")
    file = version(saved) / "manifest.json"
    manifest = json.loads(file.read_text())
    del manifest["sha256"]
    manifest["files"]["../../secret"] = {"bytes": 4, "sha256": hashlib.sha256(b"mine").hexdigest()}
    manifest["sha256"] = json_digest(manifest)
    file.write_text(json.dumps(manifest))
    (saved / "CURRENT").write_text(f"{version(saved).name} {manifest['sha256']}\n")
    with pytest.raises(BundleError, match=r"\.\./\.\./secret is missing"):
        Engine.load(saved)


def test_manifest_says_what_was_saved(engine: Engine, saved: Path) -> None:
    [one] = bundle.versions(saved)
    assert (one.name, one.current, one.data_version, one.journal_seq) == ("000001", True, 0, 0)
    assert one.paths == engine.paths
    assert one.config_hash == engine.health().config_hash == Engine.load(saved).health().config_hash
    assert one.multirecall == metadata.version("multirecall")
    assert one.libraries["numpy"] == np.__version__
    assert datetime.fromisoformat(one.created).tzinfo is not None
    with bundle.claim(saved):
        bundle.save(replace(engine._current(), data_version=5, journal_seq=3), engine.config, saved)
    older, newer = bundle.versions(saved)
    assert not older.current
    assert (newer.data_version, newer.journal_seq, newer.bundle) == (5, 3, one.bundle)
    assert bundle.load(saved)[2] == newer
    assert bundle.load(saved, "000001")[2] == older


def test_equal_configs_have_equal_hashes() -> None:
    spelled_out = EngineConfig.model_validate(EngineConfig().model_dump())
    assert spelled_out == EngineConfig()
    assert config_hash(spelled_out) == config_hash(EngineConfig()) == config_hash(EngineConfig(threads=5))
    assert config_hash(EngineConfig(k=3)) != config_hash(EngineConfig())


def test_damaged_current_version_names_the_one_that_is_whole(engine: Engine, saved: Path) -> None:
    engine.save(saved)
    file = next((version(saved) / "paths" / "cf").glob("*.npy"))
    os.truncate(file, 5)
    with pytest.raises(BundleError) as fault:
        Engine.load(saved)
    assert f"paths/cf/{file.name} has 5 bytes" in str(fault.value)
    assert "Version 000001 is whole: open it with Engine.load(" in str(fault.value)
    assert Engine.load(saved, version="000001").retrieve("u1").ids.tolist() == engine.retrieve("u1").ids.tolist()
    with bundle.claim(saved):
        assert bundle.rollback(saved) == "000001"
    Engine.load(saved)
    engine.save(saved)
    assert [one.name for one in bundle.versions(saved)] == ["000001", "000003"], "the damaged one went"


def test_rollback_verifies_before_it_moves(engine: Engine, saved: Path) -> None:
    with pytest.raises(BundleError, match="has no version before 000001"):
        bundle.rollback(saved)
    with pytest.raises(BundleError, match=r"has no version '\.\./x'; it has 000001"):
        bundle.rollback(saved, "../x")
    engine.save(saved)
    os.truncate(next((saved / "000001" / "data").rglob("*.npy")), 5)
    with pytest.raises(BundleError, match="000001 is damaged"):
        bundle.rollback(saved)
    assert version(saved).name == "000002"
    Engine.load(saved)


def test_lost_or_stray_pointer(engine: Engine, saved: Path) -> None:
    engine.save(saved)
    pointer = (saved / "CURRENT").read_text()
    (saved / "CURRENT").write_text(pointer.replace("000002", "000001"))
    with pytest.raises(
        BundleError, match=r"CURRENT and 000001/manifest.json do not belong together. Version 000002 is"
    ):
        Engine.load(saved)
    (saved / "CURRENT").unlink()
    with pytest.raises(BundleError, match=r"CURRENT: is missing\. Version 000002 is whole"):
        Engine.load(saved)
    with bundle.claim(saved):
        assert bundle.rollback(saved, "000002") == "000002"
    assert (saved / "CURRENT").read_text() == pointer


def test_version_under_another_name(engine: Engine, saved: Path) -> None:
    engine.save(saved)
    (saved / "000001").rename(saved / "000007")
    with pytest.raises(BundleError, match="000007: is version 000001 under another name"):
        Engine.load(saved, version="000007")


def test_reader_whose_version_is_replaced_while_it_reads(
    engine: Engine, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves = iter(range(2))

    def overtaken(folder: Path, name: str) -> Any:
        if next(saves, None) is not None:
            engine.save(saved)
            engine.save(saved)
        return verify(folder, name)

    monkeypatch.setattr("multirecall.engine.bundle.bundle.verify_version", overtaken)
    assert bundle.load(saved)[2].name != "000001"


def test_leftovers_of_a_killed_save_go_with_the_next(engine: Engine, saved: Path) -> None:
    (saved / ".draft-000002" / "data").mkdir(parents=True)
    shutil.copytree(saved / "000001", saved / "000002")  # renamed, but CURRENT had not moved yet
    engine.save(saved)
    names = sorted(path.name for path in saved.iterdir() if "journal" not in path.name)
    assert names == ["000001", "000003", "CURRENT", "LOCK"]


def test_first_save_that_was_killed_leaves_a_folder_to_save_into(engine: Engine, saved: Path) -> None:
    for later in (saved / "CURRENT", *saved.glob("journal*")):
        later.unlink()
    (saved / "000001").rename(saved / ".draft-000001")
    engine.save(saved)
    assert Engine.load(saved).retrieve("u1").ids.tolist() == engine.retrieve("u1").ids.tolist()


def test_second_writer_is_refused(engine: Engine, saved: Path) -> None:
    with bundle.claim(saved), pytest.raises(BundleError, match="is being written by another engine of this process"):
        engine.save(saved)
    engine.save(saved)


def test_plugin_that_cannot_read_its_files(saved: Path) -> None:
    (version(saved) / "paths" / "cf" / "meta.json").write_text("{}")
    for file in (version(saved) / "paths" / "cf").glob("*.npy"):
        file.unlink()
    forge(saved)
    with pytest.raises(BundleError, match=r"paths/cf: cannot be loaded \(KeyError: .*save the engine again"):
        Engine.load(saved)


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

    monkeypatch.setattr("multirecall.engine.bundle.bundle.write_manifest", full)
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
    from multirecall import plugins as installed

    installed._points.cache_clear()
    with pytest.raises(PluginError, match="no retriever plug-in is named 'rows'"):
        Engine.load(tmp_path / "bundle")

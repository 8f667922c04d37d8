"""People who ask to be forgotten: at once unknown, and after a refit and a save in no byte of the bundle."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from multirecall import Dataset, Engine, EngineConfig, PathConfig, storage
from multirecall.engine import fitting
from multirecall.engine.bundle import bundle, erasure, versions
from multirecall.engine.bundle.journal import FILE, Journal
from multirecall.engine.bundle.salvage import salvage
from multirecall.errors import DataError, IdTypeError, RequestError

PERSON = "person-né-42-of-a-long-enough-name"
CONFIG = EngineConfig(k=5, paths=tuple(PathConfig(retriever=name) for name in ("item_cf", "user_cf", "popularity")))


def shop(person: Any = PERSON, others: str = "u{}") -> Dataset:
    ids = [person if number == 3 else others.format(number) for number in range(8)]
    ids = [int(user) if isinstance(person, int) else user for user in ids]
    log = pl.DataFrame(
        {
            "user_id": [ids[number % 8] for number in range(60)],
            "item_id": [f"i{number * 7 % 13}" for number in range(60)],
            "timestamp": [1_700_000_000 + 1_000 * number for number in range(60)],
        }
    )
    users = pl.DataFrame({"user_id": ids, "town": [f"town of {user}" for user in ids]})
    return Dataset.from_frames(log, users=users, kinds={"town": "categorical"})


def event(user: Any, item: str, at: int = 1_700_100_000) -> dict[str, Any]:
    return {"user_id": user, "item_id": item, "timestamp": at}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle of two versions whose journal and a file set aside know the person as well."""
    home = tmp_path / "bundle"
    with Engine(CONFIG).fit(shop()) as engine:
        engine.save(home)
        engine.add_interactions([event(PERSON, "i2"), event("u1", "i3")])
        engine.save(home)
        engine.add_interactions([event(PERSON, "new item"), event("u2", "i3")])
    (home / "damaged-1-journal.sqlite").write_bytes(PERSON.encode())
    return home


def traces(folder: Path, text: str = PERSON) -> set[str]:
    """The files that hold the text in any form in which a bundle holds text."""
    forms = [text.encode(code) for code in ("utf-8", "utf-32-le", "utf-16-le")]
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.name for path in files if any(form in path.read_bytes() for form in forms)}


def assert_unknown(engine: Engine, user: Any = PERSON) -> None:
    assert engine.data.users.ids.row(user) == -1
    visitor = engine.retrieve("a stranger" if isinstance(user, str) else 10**9, k=50)
    asked = engine.retrieve(user, k=50)
    assert asked.ids.tolist() == visitor.ids.tolist()
    assert asked.scores.tolist() == visitor.scores.tolist()


def test_at_once_unknown_and_then_gone_from_every_byte(folder: Path) -> None:
    assert {"ids.npy", "damaged-1-journal.sqlite"} <= traces(folder)
    assert len(versions.names(folder)) == 2
    with Engine.load(folder) as engine:
        n_events = engine.data.n_events
        own = engine.data.history(engine.data.users.ids.row(PERSON)).items.size
        assert engine.remove_users([PERSON, "nobody"]) == 1
        assert_unknown(engine)
        assert engine.data.n_events == n_events - own == len(engine.data.interactions)
        assert engine.health().n_users == 7
        assert store_of(engine).to_forget == "refresh"
        engine.save(folder)
        assert traces(folder), "nothing is promised of a save without a refit"
        assert store_of(engine).to_forget == "refresh"
        engine.refresh().result(timeout=60)
        assert store_of(engine).to_forget == "save"
        engine.add_interactions([event("u4", "i9")])
        engine.save(folder)
        assert store_of(engine).to_forget is None
        assert traces(folder) == set()
        assert traces(folder, f"town of {PERSON}") == set()
        assert [version.name for version in Engine.versions(folder)] == ["000004"]
        assert "new item" not in engine.data.items.ids.ids(), "which only the person had"
        engine.add_interactions([event("u5", "i9")])
        engine.save(folder)
        assert len(Engine.versions(folder)) == 2, "the version before is kept again"
        served = contents(engine)
    with Engine.load(folder) as engine:
        assert contents(engine) == served
        assert_unknown(engine)


def test_a_person_with_a_number_is_in_no_version(tmp_path: Path) -> None:
    with Engine(CONFIG).fit(shop(987_654, "{}")) as engine:
        engine.save(tmp_path / "b")
        engine.add_interactions([event(987_654, "i3")])
        assert engine.remove_users(pl.DataFrame({"user_id": [987_654]})) == 1
        assert_unknown(engine, 987_654)
        engine.refresh().result(timeout=60)
        engine.save(tmp_path / "b")
    for version in Engine.versions(tmp_path / "b"):
        with Engine.load(tmp_path / "b", version=version.name) as engine:
            assert 987_654 not in engine.data.users.ids.ids()
    assert traces(tmp_path / "b", "town of 987654") == set()


def test_one_who_comes_back_is_new(folder: Path) -> None:
    with Engine.load(folder) as engine:
        engine.remove_users([PERSON])
        engine.add_interactions([event(PERSON, "i5")])
        held = contents(engine)
        assert held[PERSON] == ["i5"]
        engine.save(folder)
        with Engine.load(folder) as again:
            assert contents(again) == held
        engine.remove_users([PERSON])
        assert_unknown(engine)
        engine.add_interactions([event(PERSON, "i6")])
        engine.refresh().result(timeout=60)
        assert contents(engine)[PERSON] == ["i6"]


def test_events_are_taken_back_and_gone(folder: Path) -> None:
    odd = event("u1", "an odd item", 4_070_908_800)
    with Engine.load(folder) as engine:
        before, now = contents(engine), engine.data.now
        engine.add_interactions([odd, {**odd, "timestamp": 1_700_000_001}])
        assert engine.data.now == now
        assert engine.remove_interactions([{**odd, "timestamp": 5}]) == 0
        assert engine.remove_interactions([odd]) == 1
        assert engine.remove_interactions([{"user_id": "u1", "item_id": "an odd item"}]) == 1
        assert contents(engine) == before
        assert engine.remove_interactions([{"user_id": "u1", "item_id": "no such item"}]) == 0
        engine.refresh().result(timeout=60)
        engine.save(folder)
    assert traces(folder, "an odd item") == set()


def test_what_came_during_a_refit_waits_for_the_next(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Engine.load(folder) as engine:
        whole = fitting.fit_engine

        def meanwhile(*arguments: Any) -> Any:
            fitted = whole(*arguments)
            engine.remove_users([PERSON])
            return fitted

        with monkeypatch.context() as patch:
            patch.setattr("multirecall.engine.writer.fit_engine", meanwhile)
            engine.refresh().result(timeout=60)
        assert_unknown(engine)
        assert store_of(engine).to_forget == "refresh"
        engine.save(folder)
        engine.refresh().result(timeout=60)
        engine.save(folder)
    assert traces(folder) == set()


def test_a_crash_between_any_two_steps_is_made_good_by_the_next_save(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands on the disk before each step of the save is all that a process leaves that is killed there."""
    left: list[Path] = []

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            left.append(tmp_path / f"left{len(left)}")
            shutil.copytree(folder, left[-1])
            return function(*arguments, **options)

        return step

    with Engine.load(folder) as engine:
        engine.remove_users([PERSON])
        engine.refresh().result(timeout=60)
        served = contents(engine)
        with monkeypatch.context() as patch:
            patch.setattr(erasure, "begin", watched(erasure.begin))
            patch.setattr("multirecall.engine.bundle.erasure.sync_one", watched(storage.sync_one))
            patch.setattr("multirecall.engine.bundle.versions.sync_one", watched(storage.sync_one))
            patch.setattr(shutil, "rmtree", watched(shutil.rmtree))
            patch.setattr(os, "replace", watched(os.replace))
            patch.setattr("multirecall.engine.bundle.bundle.remove", watched(versions.remove))
            patch.setattr(Journal, "prune", watched(Journal.prune))
            patch.setattr(erasure, "finish", watched(erasure.finish))
            engine.save(folder)
    assert len(left) > 10
    assert traces(left[-1]) == set()
    assert traces(left[0])
    due = []
    for crashed in left:
        with Engine.load(crashed) as engine:
            assert_unknown(engine)
            assert contents(engine) == served
            due.append(store_of(engine).to_forget)
            if due[-1] == "refresh":
                engine.refresh().result(timeout=60)
            engine.add_interactions([event("u4", "i9")])
            engine.save(crashed)
            assert store_of(engine).to_forget is None
        assert traces(crashed) == set(), crashed
    assert due[0] == "refresh"
    assert "save" in due, "after the version is published the next save is enough"


def test_a_reader_of_the_journal_is_waited_for_or_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    from multirecall.engine.bundle.journal import connect

    with Engine.load(folder) as engine:
        engine.remove_users([PERSON])
        engine.refresh().result(timeout=60)
        reader = connect(folder / FILE, "mode=ro")
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM changes").fetchone()
        with caplog.at_level(logging.WARNING):
            engine.save(folder)
        assert "save again later" in caplog.text
        assert store_of(engine).to_forget == "save"
        reader.close()
        engine.save(folder)
        assert store_of(engine).to_forget is None
    assert traces(folder) == set()


def test_followers_forget(folder: Path) -> None:
    with Engine.load(folder) as writer, Engine.load(folder) as reader:
        writer.remove_users([PERSON])
        writer.refresh().result(timeout=60)
        writer.save(folder)
        followed = bundle_reader(reader, folder)
        assert followed.data.users.ids.row(PERSON) == -1
        assert contents_of(followed.data) == contents(writer)
        with pytest.raises(RequestError, match="only follows"), Engine.load(folder, follow=True) as follower:
            follower.remove_users([PERSON])


def test_salvage_keeps_what_takes_back(folder: Path) -> None:
    with Engine.load(folder) as engine:
        engine.remove_users([PERSON])
        held = contents(engine)
    version = Engine.versions(folder)[-1]
    with bundle.claim(folder):
        salvage(folder, version.bundle, version.journal_seq)
    with Engine.load(folder) as engine:
        assert contents(engine) == held
        assert_unknown(engine)


def test_all_may_leave(tmp_path: Path) -> None:
    with Engine(CONFIG).fit(shop()) as engine:
        everyone = engine.data.users.ids.ids().tolist()
        assert engine.remove_users(everyone) == 8
        assert engine.data.n_events == 0
        assert len(engine.retrieve("u1")) == 5
        engine.add_interactions([event("u1", "i3")])
        assert contents(engine)["u1"] == ["i3"]
        engine.save(tmp_path / "b")
        with Engine.load(tmp_path / "b") as again:
            assert contents(again)["u1"] == ["i3"]


def test_what_cannot_be_taken_back_is_refused_and_nothing_changes(folder: Path) -> None:
    with Engine.load(folder) as engine:
        before = engine.data
        for given, message in [
            ([{"user_id": "u1", "item_id": "i1", "time": 5}], r"column 'time' does not identify events of the log"),
            ([{"user_id": "u1", "item_id": "i1", "position": 5}], "column 'position' does not identify events"),
            ([{"user_id": "u1", "item_id": "i1", "timestamp": None}], "row 0"),
            ([{"user_id": "u1"}], "'item_id' is missing"),
        ]:
            with pytest.raises(DataError, match=message):
                engine.remove_interactions(given)
        with pytest.raises(IdTypeError, match="user ids are str"):
            engine.remove_users([7])
        with pytest.raises(IdTypeError, match="user ids are str"):
            engine.remove_interactions([{"user_id": 7, "item_id": "i1"}])
        with pytest.raises(DataError, match="pass a list of ids"):
            engine.remove_users(PERSON)
        assert engine.remove_users([]) == 0
        assert engine.data is before


def store_of(engine: Engine) -> Any:
    store = engine.health().store
    assert store is not None
    return store


def contents_of(data: Dataset) -> dict[Any, list[Any]]:
    rows = set(range(data.n_users)) - set(data.users.ids.gone.tolist())
    ids = {data.users.ids.id(row): row for row in rows}
    return {id_: data.items.ids.ids(data.history(row).items).tolist() for id_, row in ids.items()}


def contents(engine: Engine) -> dict[Any, list[Any]]:
    return contents_of(engine.data)


def bundle_reader(reader: Engine, folder: Path) -> Any:
    """What a follower that last read what `reader` holds makes of the bundle."""
    from multirecall.engine.follower import Followed

    store = reader._writer.store
    assert store is not None
    return Followed(store, reader.config).newer(reader._current(), reader._adopt)

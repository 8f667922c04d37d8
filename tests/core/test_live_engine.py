"""Live changes of an engine: visible at once, shared by threads, journaled, followed, refitted."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
import pytest
from crashes import base_frames, contents_of
from faulty import Rows
from patience import PATIENCE_S, eventually

from multirecall import Dataset, Engine, EngineConfig, PathConfig, User
from multirecall.data import Changes
from multirecall.engine.bundle.journal import Journal
from multirecall.errors import BundleError, DataError, NotFitted, RequestError
from multirecall.progress import Progress

PATHS = ("popularity", "user_cf", "item_cf", "content")
NOW = 1_800_000_000


def engine_of(*paths: str, **options: Any) -> Engine:
    log, items = base_frames()
    config = EngineConfig(k=30, paths=tuple(PathConfig(retriever=name) for name in paths or PATHS), **options)
    return Engine(config).fit(Dataset.from_frames(log, items))


def event(user: str, item: str, at: int = NOW) -> dict[str, Any]:
    return {"user_id": user, "item_id": item, "timestamp": at}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("live") / "bundle"
    with engine_of() as engine:
        engine.save(folder)
    return folder


@pytest.fixture
def folder(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))


def test_an_event_counts_at_once_as_seen_and_in_every_history() -> None:
    engine = engine_of()
    first = engine.retrieve("u1").ids[0]
    assert engine.add_interactions([event("u1", str(first))]) == 1
    assert first not in engine.retrieve("u1", k=100).ids
    assert first in engine.retrieve("u1", k=100, seen=True).ids
    history = engine.data.history(engine.data.users.ids.row("u1")).items
    assert engine.data.items.ids.ids(history)[-1] == first
    told = engine.retrieve(User(history=engine.data.items.ids.ids(history)), k=20)
    stored = engine.retrieve("u1", k=20)
    assert told.ids.tolist() == stored.ids.tolist()


def test_unknown_users_and_items_join() -> None:
    engine = engine_of()
    engine.add_interactions([event("newcomer", "brand-new"), event("newcomer", "i3")])
    assert "brand-new" in engine.retrieve("u1", k=100).ids
    result = engine.retrieve("newcomer", k=10)
    assert len(result) == 10
    assert not {"brand-new", "i3"} & set(result.ids.tolist())
    assert all(status.state == "ok" for status in result.status.values())


def test_a_new_item_is_proposed_by_its_features_and_gone_when_they_change() -> None:
    engine = engine_of("content")
    reds = [f"i{number}" for number in range(0, 60, 4)]
    visitor = User(history=reds[:3])
    engine.add_items([{"item_id": "new-red", "colour": "red"}])
    assert "new-red" in proposed(engine, visitor)
    engine.update_items([{"item_id": "new-red", "colour": "blue"}])
    assert "new-red" not in proposed(engine, visitor)
    assert "new-red" in engine.retrieve(visitor, k=100, where={"colour": "blue"}).ids


def proposed(engine: Engine, user: User) -> set[str]:
    result = engine.retrieve(user, k=20)
    return set(result.ids[: len(result) - result.n_backfilled].tolist())


@pytest.mark.parametrize("cache_size", [0, 100])
def test_a_removed_item_never_comes_back_until_it_is_added(cache_size: int) -> None:
    engine = engine_of(cache_size=cache_size)
    first = str(engine.retrieve("u1").ids[0])
    assert engine.remove_items([first]) == 1
    for seen in (True, False):
        assert first not in engine.retrieve("u1", k=100, seen=seen).ids
        assert first not in engine.retrieve_batch(["u1", "u2", "nobody"], k=100, seen=seen).ids
    assert first not in engine.retrieve("u1", k=100, where={"colour": ["red", "green", "blue", "black"]}).ids
    assert engine.explain("u1", first).reason == "it was removed"
    engine.add_interactions([event("u2", first)])
    assert first not in engine.retrieve("u1", k=100).ids
    engine.refresh().result(PATIENCE_S)
    assert first not in engine.retrieve("u1", k=100).ids
    engine.add_items([{"item_id": first}])
    assert first in engine.retrieve("u1", k=100).ids


def test_a_refused_change_changes_nothing() -> None:
    engine = engine_of()
    before = contents_of(engine), engine.health().data_version
    with pytest.raises(DataError, match="timestamp"):
        engine.add_interactions([{"user_id": "u1", "item_id": "i1"}])
    with pytest.raises(DataError, match="nothing-like-it"):
        engine.update_items([{"item_id": "nothing-like-it", "colour": "red"}])
    with pytest.raises(DataError, match="unknown"):
        engine.remove_items(["i1", "unknown"])
    assert (contents_of(engine), engine.health().data_version) == before


def test_nothing_to_change_before_fit_and_after_close() -> None:
    engine = Engine(EngineConfig(paths=(PathConfig(retriever="popularity"),)))
    with pytest.raises(NotFitted):
        engine.add_interactions([event("u1", "i1")])
    engine = engine_of("popularity")
    engine.close()
    with pytest.raises(NotFitted):
        engine.remove_items(["i1"])


def test_an_engine_that_was_never_saved_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    engine = engine_of("popularity")
    with caplog.at_level(logging.WARNING, "multirecall.engine"):
        for at in range(3):
            engine.add_interactions([event("u1", "i1", NOW + at)])
    assert sum("never saved" in record.message for record in caplog.records) == 1


def test_changes_survive_without_a_save(folder: Path) -> None:
    with Engine.load(folder) as engine:
        engine.add_interactions([event("newcomer", "brand-new"), event("u1", "i3")])
        engine.add_items([{"item_id": "n1", "colour": "blue"}])
        engine.remove_items(["i5"])
        held, answer = contents_of(engine), engine.retrieve("u1")
        assert engine.health().data_version == 3
    with Engine.load(folder) as engine:
        assert contents_of(engine) == held
        assert engine.health().data_version == 3
        again = engine.retrieve("u1")
        assert again.ids.tolist() == answer.ids.tolist()
        assert again.scores.tolist() == answer.scores.tolist()


def test_a_save_shortens_the_journal_and_loses_nothing(folder: Path) -> None:
    with Engine.load(folder) as engine:
        for at in range(4):
            engine.add_interactions([event("u1", "i1", NOW + at)])
        store = engine.health().store
        assert store is not None
        assert (store.unsaved, store.journal_seq, store.held) == (4, 4, True)
        engine.save(folder)
        engine.save(folder)
        engine.add_interactions([event("u1", "i1", NOW + 9)])
        store = engine.health().store
        assert store is not None
        assert (store.unsaved, store.journal_seq) == (1, 5)
        held = contents_of(engine)
    version = Engine.versions(folder)[-1]
    with Journal(folder, version.bundle, version.journal_seq) as journal:
        assert [seq for seq, _ in journal.since(4)] == [5]
    with Engine.load(folder) as engine:
        assert contents_of(engine) == held


def test_a_copy_elsewhere_leaves_the_engine_where_it_lives(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    with Engine.load(folder) as engine:
        engine.add_interactions([event("u1", "brand-new")])
        engine.save(copy)
        engine.add_interactions([event("u1", "i1")])
        held = contents_of(engine)
    with Engine.load(folder) as engine:
        assert contents_of(engine) == held
    with Engine.load(copy) as engine:
        assert contents_of(engine)["histories"]["u1"][-1] == "brand-new"


def test_a_second_writer_is_told_who_holds_the_bundle(folder: Path) -> None:
    with Engine.load(folder) as first, Engine.load(folder) as second:
        first.add_interactions([event("u1", "i1")])
        with pytest.raises(BundleError, match="is being written by"):
            second.add_interactions([event("u1", "i2")])
        with pytest.raises(BundleError, match="is being written by"):
            Engine.rollback(folder)
        first.close()
        second.add_interactions([event("u1", "i2")])
        history = contents_of(second)["histories"]["u1"]
        assert history[-2:] == ["i1", "i2"]


def test_a_writer_that_missed_a_save_is_told_to_load_again(folder: Path) -> None:
    with Engine.load(folder) as first, Engine.load(folder) as second:
        first.save(folder)
        first.close()
        with pytest.raises(BundleError, match="load the bundle again"):
            second.add_interactions([event("u1", "i2")])


def test_a_fit_leaves_the_bundle_and_its_journal_behind(folder: Path) -> None:
    with Engine.load(folder) as engine:
        engine.add_interactions([event("u1", "old")])
        log, items = base_frames()
        engine.fit(Dataset.from_frames(log, items))
        assert engine.health().store is None
        engine.add_interactions([event("u1", "new")])
        engine.save(folder)
        engine.add_interactions([event("u1", "newer")])
        held = contents_of(engine)
    with Engine.load(folder) as engine:
        assert contents_of(engine) == held
        assert held["histories"]["u1"][-2:] == ["new", "newer"]


def test_a_follower_has_every_change_and_takes_a_new_version(folder: Path) -> None:
    with Engine.load(folder) as writer, Engine.load(folder, follow=True) as follower:
        writer.add_interactions([event("u1", "brand-new")])
        eventually(lambda: contents_of(follower) == contents_of(writer))
        writer.save(folder)
        writer.save(folder)
        writer.remove_items(["i1"])
        eventually(lambda: contents_of(follower) == contents_of(writer))
        store = follower.health().store
        assert store is not None
        assert store.version == "000003"
        with pytest.raises(RequestError, match="only follows"):
            follower.add_interactions([event("u1", "i1")])
        with pytest.raises(RequestError, match="only follows"):
            follower.save(folder)
        with pytest.raises(RequestError, match="only follows"):
            follower.fit(writer.data)


def test_rollback_keeps_the_changes_and_takes_the_older_fit(folder: Path) -> None:
    with Engine.load(folder) as engine:
        engine.add_interactions([event("u1", "brand-new")])
        engine.save(folder)
        engine.add_interactions([event("u2", "brand-new")])
        held = contents_of(engine)
    assert Engine.rollback(folder) == "000001"
    with Engine.load(folder) as engine:
        assert contents_of(engine) == held
    assert Engine.rollback(folder, "000002") == "000002"
    assert [(version.name, version.current) for version in Engine.versions(folder)] == [
        ("000001", False),
        ("000002", True),
    ]


def test_an_older_version_opens_as_it_was_saved(folder: Path) -> None:
    with Engine.load(folder) as engine:
        before = contents_of(engine)
        engine.add_interactions([event("u1", "brand-new")])
        engine.save(folder)
    with Engine.load(folder, version="000001") as old:
        assert contents_of(old) == before
        assert old.health().store is None
    with pytest.raises(RequestError, match="follow"):
        Engine.load(folder, version="000001", follow=True)


def test_threads_that_change_at_once_share_groups_and_lose_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups: list[int] = []
    append = Journal.append

    def counted(journal: Journal, payloads: list[bytes]) -> int:
        groups.append(len(payloads))
        return append(journal, payloads)

    monkeypatch.setattr(Journal, "append", counted)
    with Engine.load(folder) as engine:
        with ThreadPoolExecutor(8) as pool:
            rows = [[event(f"u{number % 7}", f"x{number}", NOW + number)] for number in range(120)]
            assert list(pool.map(engine.add_interactions, rows)) == [1] * 120
        held = contents_of(engine)
    assert sum(groups) == 120
    assert len(groups) < 120, "no two changes ever shared a transaction"
    with Engine.load(folder) as engine:
        assert contents_of(engine) == held
    assert sum(item.startswith("x") for history in held["histories"].values() for item in history) == 120


def test_a_failing_journal_refuses_the_change_and_the_next_one_is_taken(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(journal: Journal, payloads: list[bytes]) -> int:
        raise BundleError("the disk is full; make room")

    with Engine.load(folder) as engine:
        engine.add_interactions([event("u1", "i1")])
        before = contents_of(engine)
        with monkeypatch.context() as patch:
            patch.setattr(Journal, "append", full)
            with pytest.raises(BundleError, match="disk is full"):
                engine.add_interactions([event("u1", "i2")])
        assert contents_of(engine) == before
        engine.add_interactions([event("u1", "i3")])
        held = contents_of(engine)
    with Engine.load(folder) as engine:
        assert contents_of(engine) == held


class Grows(Rows):
    """Knows every item from the moment it joins."""

    live = frozenset({"items"})

    def with_changes(self, changes: Changes) -> Self:
        successor = type(self)(self.config)
        successor.n_items = changes.data.n_items
        return successor


class Counts(Grows):
    """Takes events, and knows of none that are taken back."""

    live = frozenset({"interactions", "items"})


def test_a_retriever_that_takes_nothing_back_is_stale_until_a_refit(plugins: Callable[..., None]) -> None:
    plugins(counts=f"{__name__}:Counts", grows=f"{__name__}:Grows")
    engine = engine_of("counts", "grows", "popularity")
    assert engine.remove_users(["nobody"]) == 0
    assert engine.health().paths["counts"].stale is None
    engine.remove_users(["u1"])
    engine.add_interactions([event("u1", "x1")])
    health = engine.health()
    assert "cannot take back" in str(health.paths["counts"].stale)
    assert (health.paths["grows"].stale, health.paths["popularity"].stale) == (None, None)
    assert engine.retrieve("u1").status["counts"].state == "ok"
    engine.refresh().result(timeout=60)
    assert engine.health().paths["counts"].stale is None


class Stubborn(Grows):
    """Cannot take the second change."""

    taken = 0

    def with_changes(self, changes: Changes) -> Self:
        if self.taken:
            raise ValueError("enough")
        successor = super().with_changes(changes)
        successor.taken = 1
        return successor


def test_a_retriever_that_cannot_take_a_change_serves_as_before_and_says_so(plugins: Callable[..., None]) -> None:
    plugins(stubborn=f"{__name__}:Stubborn")
    engine = engine_of("stubborn", "item_cf")
    for item in ("i1", "x1", "x2"):
        engine.add_interactions([event("u1", item)])
    stale = engine.health().paths["stubborn"].stale
    assert stale is not None
    assert "ValueError: enough" in stale
    assert engine.retrieve("u1").status["stubborn"].state == "ok"
    assert contents_of(engine)["histories"]["u1"][-3:] == ["i1", "x1", "x2"]
    engine.refresh().result(PATIENCE_S)
    assert engine.health().paths["stubborn"].stale is None


def test_a_refit_has_what_changed_while_it_ran(plugins: Callable[..., None]) -> None:
    plugins(paused=f"{__name__}:Paused")
    Paused.gate.set()
    engine = engine_of("paused", "item_cf")
    Paused.gate.clear()
    refit = engine.refresh()
    assert engine.refresh() is refit
    assert engine.health().refit.running
    engine.add_interactions([event("newcomer", "brand-new")])
    engine.remove_items(["i1"])
    assert "i1" not in engine.retrieve("u1", k=100).ids
    Paused.gate.set()
    refit.result(PATIENCE_S)
    held = contents_of(engine)
    assert held["histories"]["newcomer"] == ["brand-new"]
    assert held["removed"] == {"i1"}
    health = engine.health().refit
    assert (health.running, health.served, health.last_fault) == (False, 1, None)


class Paused(Rows):
    """Is fitted once the gate is open."""

    gate = threading.Event()

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        assert self.gate.wait(PATIENCE_S)
        super().fit(data, rng=rng, progress=progress)


def test_a_refit_that_fails_leaves_the_engine_as_it_is(plugins: Callable[..., None]) -> None:
    plugins(once=f"{__name__}:Once")
    Once.fits = 0
    engine = engine_of("once")
    answer = engine.retrieve("u1").ids.tolist()
    with pytest.raises(ValueError, match="only once"):
        engine.refresh().result(PATIENCE_S)
    assert engine.retrieve("u1").ids.tolist() == answer
    assert "only once" in str(engine.health().refit.last_fault)
    engine.add_interactions([event("u1", "i1")])


class Once(Rows):
    """Can be fitted once."""

    fits = 0

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        Once.fits += 1
        if Once.fits > 1:
            raise ValueError("only once")
        super().fit(data, rng=rng, progress=progress)


def test_a_refit_equals_a_fit_on_all_events() -> None:
    engine = engine_of()
    rng = np.random.default_rng(2)
    fresh = pl.DataFrame(
        {
            "user_id": [f"u{number}" for number in rng.integers(0, 50, 200)],
            "item_id": [f"i{number}" for number in rng.integers(0, 70, 200)],
            "timestamp": NOW + np.arange(200),
        }
    )
    engine.add_interactions(fresh)
    engine.refresh().result(PATIENCE_S)
    log, items = base_frames()
    again = Engine(engine.config).fit(Dataset.from_frames(pl.concat([log, fresh]), items))
    for user in ("u0", "u7", "u49"):
        ours, theirs = engine.retrieve(user), again.retrieve(user)
        assert ours.ids.tolist() == theirs.ids.tolist()
        assert ours.scores.tolist() == theirs.scores.tolist()


def test_readers_see_whole_states_while_a_writer_changes_them() -> None:
    """Each change makes one item the most popular; every answer must be that of some state."""
    engine = engine_of("popularity")
    steps = 40
    allowed = {tuple(engine.retrieve("watcher", k=8).ids.tolist())}
    expected = engine_of("popularity")
    for step in range(steps):
        expected.add_interactions(burst(step))
        allowed.add(tuple(expected.retrieve("watcher", k=8).ids.tolist()))
    expected.refresh().result(PATIENCE_S)
    done = threading.Event()

    def watch(_: int) -> set[tuple[str, ...]]:
        answers = set()
        while not done.is_set():
            answers.add(tuple(engine.retrieve("watcher", k=8).ids.tolist()))
        return answers

    with ThreadPoolExecutor(3) as pool:
        watchers = pool.map(watch, range(3))
        for step in range(steps):
            engine.add_interactions(burst(step))
            if step == steps // 2:
                refit = engine.refresh()
        refit.result(PATIENCE_S)
        done.set()
        seen = set().union(*watchers)
    assert seen <= allowed
    assert engine.retrieve("watcher", k=8).ids.tolist() == expected.retrieve("watcher", k=8).ids.tolist()


def burst(step: int) -> pl.DataFrame:
    """Enough events on one item to make it the most popular."""
    users = [f"u{number}" for number in range(30)]
    return pl.DataFrame({"user_id": users, "item_id": [f"i{step}"] * 30, "timestamp": [NOW + step] * 30})

"""Live changes in trouble: interrupted, refused, closed upon, forked, in groups that do not fit together."""

from __future__ import annotations

import gc
import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from crashes import base_frames, contents_of
from faulty import Rows
from patience import PATIENCE_S, eventually

from multirecall import Dataset, Engine, EngineConfig, PathConfig
from multirecall.data import Changes
from multirecall.engine import follower
from multirecall.engine.bundle import bundle
from multirecall.engine.bundle.journal import Journal
from multirecall.engine.bundle.journal_head import HEAD
from multirecall.engine.bundle.store import Store
from multirecall.engine.state import Blueprint
from multirecall.errors import BundleError, IdTypeError, NotFitted, PluginError, RequestError
from multirecall.progress import Progress
from multirecall.testing import small_shop

NOW = 1_800_000_000
MANY = 300
POPULARITY = EngineConfig(k=30, paths=(PathConfig(retriever="popularity"),))


def new_engine(config: EngineConfig = POPULARITY) -> Engine:
    log, items = base_frames()
    return Engine(config).fit(Dataset.from_frames(log, items))


def event(item: str, **others: Any) -> list[dict[str, Any]]:
    return [{"user_id": "u1", "item_id": item, "timestamp": NOW, **others}]


def last_of(engine: Engine, n: int) -> list[str]:
    """The newest items of the user of `event`."""
    return list(contents_of(engine)["histories"]["u1"][-n:])


@pytest.fixture(scope="module")
def bundle_of_all(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trouble") / "bundle"
    with new_engine() as engine:
        engine.save(folder)
    return folder


@pytest.fixture
def folder(bundle_of_all: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle_of_all, tmp_path / "bundle"))


def test_events_with_and_without_a_column_are_replayed_together(folder: Path) -> None:
    with Engine.load(folder) as engine:
        engine.add_interactions(event("i1"))
        engine.add_interactions(event("i2", weight=2.0))
        held = contents_of(engine)
    with Engine.load(folder) as engine:
        assert contents_of(engine) == held


def test_what_does_not_fit_its_group_is_refused_alone_and_never_journaled(tmp_path: Path) -> None:
    """Each id fits by itself, but no integer type holds both."""
    engine = Engine(POPULARITY).fit(Dataset.from_frames(pl.DataFrame({"user_id": [1, 2], "item_id": [1, 2]})))
    engine.save(tmp_path / "bundle")
    large = pl.DataFrame({"user_id": pl.Series([2**64 - 1], dtype=pl.UInt64), "item_id": [1]})
    frames = [large, pl.DataFrame({"user_id": [-5], "item_id": [1]}), pl.DataFrame({"user_id": [3], "item_id": [1]})]
    with ThreadPoolExecutor(3) as pool:
        with engine._writer._turn:
            calls = [pool.submit(engine.add_interactions, frame) for frame in frames]
            while len(engine._writer._waiting) < 3:
                pass
        faults = [call.exception(PATIENCE_S) for call in calls]
    assert sorted(map(type, faults), key=str) == sorted([type(None), type(None), IdTypeError], key=str)
    held = engine.data.users.ids.ids().tolist()
    engine.close()
    with Engine.load(tmp_path / "bundle") as engine:
        assert engine.data.users.ids.ids().tolist() == held


def test_a_writer_whose_first_write_fails_keeps_what_others_wrote(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Engine.load(folder) as first, Engine.load(folder) as second:
        first.add_interactions(event("theirs"))
        first.close()
        with monkeypatch.context() as patch:
            patch.setattr(Journal, "_transaction", refused)
            with pytest.raises(BundleError, match="no space"):
                second.add_interactions(event("lost"))
        second.add_interactions(event("ours"))
        assert last_of(second, 2) == ["theirs", "ours"]


def refused(journal: Journal) -> Any:
    raise OSError("no space left")


def test_an_interrupt_behind_the_commit_leaves_engine_and_journal_in_step(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = Journal.append

    def interrupted(journal: Journal, payloads: list[bytes]) -> int:
        append(journal, payloads)
        raise KeyboardInterrupt

    with Engine.load(folder) as engine:
        with monkeypatch.context() as patch:
            patch.setattr(Journal, "append", interrupted)
            with pytest.raises(KeyboardInterrupt):
                engine.add_interactions(event("interrupted"))
        with monkeypatch.context() as patch:
            patch.setattr(Journal, "_note", interrupt)
            with pytest.raises(KeyboardInterrupt):
                engine.add_interactions(event("again"))
        engine.add_interactions(event("later"))
        held = contents_of(engine)
        assert last_of(engine, 3) == ["interrupted", "again", "later"]
    with Engine.load(folder) as engine:
        assert contents_of(engine) == held


def test_a_transaction_that_an_interrupt_left_open_is_undone(folder: Path) -> None:
    with Engine.load(folder) as engine:
        engine.add_interactions(event("i1"))
        store = engine._writer.store
        assert store is not None
        journal = store._held_journal()
        journal._connection.execute("BEGIN IMMEDIATE")
        journal._last = None
        engine.add_interactions(event("i2"))
        assert last_of(engine, 2) == ["i1", "i2"]


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_an_engine_that_nobody_has_any_more_lets_go_of_its_bundle(folder: Path) -> None:
    engine = Engine.load(folder)
    engine.add_interactions(event("i1"))
    del engine
    gc.collect()
    with Engine.load(folder) as engine:
        engine.add_interactions(event("i2"))


def test_a_folder_is_the_same_wherever_the_process_goes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder.parent / "link").symlink_to(folder)
    monkeypatch.chdir(folder.parent)
    with Engine.load("link") as engine:
        monkeypatch.chdir("/")
        engine.add_interactions(event("i1"))
        engine.save(folder)
        (folder.parent / "link").unlink()
        engine.add_interactions(event("i2"))
        engine.save(folder)
        assert [version.name for version in Engine.versions(folder)] == ["000002", "000003"]


def test_closing_waits_for_a_save_and_refuses_what_comes_later(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, gate = threading.Event(), threading.Event()
    save = bundle.save

    def slow(*given: Any) -> Any:
        entered.set()
        assert gate.wait(PATIENCE_S)
        return save(*given)

    monkeypatch.setattr(bundle, "save", slow)
    engine = Engine.load(folder)
    with ThreadPoolExecutor(2) as pool:
        saved = pool.submit(engine.save, folder)
        assert entered.wait(PATIENCE_S)
        closed = pool.submit(engine.close)
        gate.set()
        saved.result(PATIENCE_S)
        closed.result(PATIENCE_S)
    with pytest.raises(NotFitted):
        engine.add_interactions(event("i1"))
    with Engine.load(folder) as again:
        again.add_interactions(event("i1"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_cannot_save_over_its_parent(folder: Path) -> None:
    with Engine.load(folder) as engine:
        engine.add_interactions(event("i1"))
        child = os.fork()
        if not child:
            try:
                engine.save(folder)
            except BundleError:
                os._exit(7)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 7
        assert [version.name for version in Engine.versions(folder)] == ["000001"]
        engine.add_interactions(event("i2"))
        held = contents_of(engine)
    with Engine.load(folder) as engine:
        assert contents_of(engine) == held


def test_a_refit_that_was_asked_for_too_early_does_not_stand_in_the_way() -> None:
    engine = Engine(POPULARITY)
    with pytest.raises(NotFitted):
        engine.refresh()
    log, items = base_frames()
    engine.fit(Dataset.from_frames(log, items))
    refit = engine.refresh()
    assert not refit.cancel()
    refit.result(PATIENCE_S)


class Gated(Rows):
    """Is fitted on many events once the gate is open, and not at all while `broken`."""

    gate = threading.Event()
    entered = threading.Event()
    broken = False

    def fit(self, data: Dataset, *, rng: Any, progress: Progress) -> None:
        if data.n_events > MANY:
            self.entered.set()
            assert self.gate.wait(PATIENCE_S)
        if self.broken:
            raise ValueError("broken")
        super().fit(data, rng=rng, progress=progress)


@pytest.fixture
def refit(plugins: Callable[..., None], folder: Path) -> Any:
    """Begins a refit of an engine in the middle of which the test goes on; the rest runs when `Gated.gate` is set."""
    plugins(gated=f"{__name__}:Gated")
    Gated.gate.set()
    Gated.broken = False
    engine = new_engine(EngineConfig(k=30, paths=(PathConfig(retriever="gated"),)))
    shutil.rmtree(folder)
    engine.save(folder)
    engine.close()

    def begun(engine: Engine) -> Future[None]:
        Gated.gate.clear()
        Gated.entered.clear()
        future = engine.refresh()
        assert Gated.entered.wait(PATIENCE_S)
        return future

    yield begun
    Gated.gate.set()


def test_a_refit_has_what_others_wrote_before_this_engine_was_the_writer(
    refit: Callable[[Engine], Future[None]], folder: Path
) -> None:
    with Engine.load(folder) as first, Engine.load(folder) as second:
        future = refit(second)
        first.add_interactions(event("theirs"))
        first.close()
        second.add_interactions(event("ours"))
        Gated.gate.set()
        future.result(PATIENCE_S)
        assert last_of(second, 2) == ["theirs", "ours"]


def test_a_refit_that_failed_keeps_no_changes(refit: Callable[[Engine], Future[None]], folder: Path) -> None:
    with Engine.load(folder) as engine:
        Gated.broken = True
        future = refit(engine)
        engine.add_interactions(event("i1"))
        Gated.gate.set()
        assert isinstance(future.exception(PATIENCE_S), ValueError)
        assert engine._writer._missed is None
        assert "broken" in str(engine.health().refit.last_fault)
        Gated.broken = False
        engine.refresh().result(PATIENCE_S)
        assert engine.health().refit.last_fault is None


def test_a_fit_drops_a_refit_and_does_not_hand_it_out_again(
    refit: Callable[[Engine], Future[None]], folder: Path
) -> None:
    with Engine.load(folder) as engine:
        dropped = refit(engine)
        log, items = base_frames()
        engine.fit(Dataset.from_frames(log[:MANY], items))
        again = engine.refresh()
        again.result(PATIENCE_S)
        Gated.gate.set()
        with pytest.raises(NotFitted, match="dropped"):
            dropped.result(PATIENCE_S)
        assert engine.data.n_events == MANY


def test_closing_drops_a_refit_which_says_so(refit: Callable[[Engine], Future[None]], folder: Path) -> None:
    engine = Engine.load(folder)
    future = refit(engine)
    engine.close()
    Gated.gate.set()
    with pytest.raises(NotFitted, match="dropped"):
        future.result(PATIENCE_S)


class Forgetful(Rows):
    """Returns nothing where a successor is due."""

    live = frozenset({"items"})

    def with_changes(self, changes: Changes) -> Any:
        return None


def test_a_retriever_without_a_successor_goes_on_as_it_was(plugins: Callable[..., None]) -> None:
    plugins(forgetful=f"{__name__}:Forgetful")
    engine = new_engine(EngineConfig(k=30, paths=(PathConfig(retriever="forgetful"),)))
    for _ in range(2):
        engine.add_interactions(event("brand-new"))
    assert "NoneType" in str(engine.health().paths["forgetful"].stale)
    assert engine.retrieve("u1").status["forgetful"].state == "ok"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_worker_threads_of_its_own(plugins: Callable[..., None]) -> None:
    plugins(rows="faulty:Rows")
    engine = new_engine(EngineConfig(k=30, paths=(PathConfig(retriever="rows"),)))
    assert engine.retrieve("u1").status["rows"].state == "ok"
    child = os.fork()
    if not child:
        try:
            answered = engine.retrieve("u1", deadline_ms=PATIENCE_S * 1e3).status["rows"].state == "ok"
            os._exit(7 if answered else 1)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7


def test_a_bundle_whose_plug_in_is_missing_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Blueprint, "of", missing)
    with pytest.raises(PluginError, match=r"000001: no retriever .* install or fix what it was saved with"):
        Engine.load(folder)


def missing(config: EngineConfig, **_: Any) -> Any:
    raise PluginError("no retriever plug-in is named 'theirs'")


class Unsaveable(Rows):
    """Cannot be saved."""

    def save(self, folder: Path) -> None:
        raise ValueError("not today")


def test_a_retriever_that_cannot_be_saved_is_named_and_the_version_before_stays(
    plugins: Callable[..., None], folder: Path
) -> None:
    plugins(unsaveable=f"{__name__}:Unsaveable")
    engine = new_engine(EngineConfig(k=30, paths=(PathConfig(retriever="unsaveable"),)))
    with pytest.raises(BundleError, match="not today"):
        engine.save(folder)
    with Engine.load(folder) as engine:
        assert engine.paths == ("popularity",)


def test_a_follower_goes_on_after_whatever_fault(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "INTERVAL_S", 0.01)

    def broken(*_: object) -> Any:
        raise OSError("stale file handle")

    with Engine.load(folder) as writer, Engine.load(folder, follow=True) as reader:
        with monkeypatch.context() as patch:
            patch.setattr(follower, "replay", broken)
            writer.add_interactions(event("brand-new"))
            eventually(lambda: "stale file handle" in str(reader.health().store))
        eventually(lambda: contents_of(reader) == contents_of(writer))
        store = reader.health().store
        assert store is not None
        assert store.fault is None


def test_a_follower_takes_another_bundle_that_stands_in_the_same_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "INTERVAL_S", 0.01)
    with new_engine() as other, Engine.load(folder, follow=True) as reader:
        other.add_interactions(event("of-the-other"))
        other.save(folder.parent / "other")
        other.add_interactions(event("behind-it"))
        other.close()
        folder.rename(folder.parent / "before")
        (folder.parent / "other").rename(folder)
        eventually(lambda: last_of(reader, 2) == ["of-the-other", "behind-it"])


def test_a_follower_takes_a_version_whose_journal_could_not_be_read_at_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not go on with the fit before, as though it had taken the version over."""
    with Engine.load(folder) as writer, Engine.load(folder, follow=True) as reader:
        assert reader._follower is not None
        reader._follower.close()
        followed = follower.Followed(reader._writer.store, reader.config)  # type: ignore[arg-type]
        writer.save(folder)
        with monkeypatch.context() as patch:
            patch.setattr(follower, "replay", interrupt)
            with pytest.raises(KeyboardInterrupt):
                followed.newest(reader._current(), reader._adopt)
        assert followed.store.version.name == "000001"
        followed.newest(reader._current(), reader._adopt)
        assert followed.store.version.name == "000002"


def killed_behind_the_commit(folder: Path) -> None:
    """As if the writer had been killed after its change was on disk, and before it noted and acknowledged that."""
    head = folder / HEAD
    with Engine.load(folder) as engine:
        noted = head.read_bytes()
        engine.add_interactions(event("committed"))
    head.write_bytes(noted)


def test_a_change_that_is_committed_but_not_noted_is_there_from_the_first_load_on(folder: Path) -> None:
    """Otherwise a caller that misses it and tries again would have it twice once the next writer finds it."""
    killed_behind_the_commit(folder)
    with Engine.load(folder) as engine:
        assert last_of(engine, 1) == ["committed"]
        with Engine.load(folder, follow=True) as reader:
            assert last_of(reader, 1) == ["committed"]
            engine.add_interactions(event("next"))
            eventually(lambda: last_of(reader, 2) == ["committed", "next"])
        assert last_of(engine, 2) == ["committed", "next"]


def test_another_engine_that_is_saved_over_a_bundle_takes_no_change_that_was_not_noted(folder: Path) -> None:
    killed_behind_the_commit(folder)
    with new_engine() as other:
        other.save(folder)
    with Engine.load(folder) as engine:
        assert "committed" not in contents_of(engine)["colours"]
        engine.add_interactions(event("next"))
        assert "committed" not in contents_of(engine)["colours"]


def test_a_version_that_a_follower_refuses_is_loaded_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, state, version = bundle.load(folder)
    followed = follower.Followed(Store(folder, version), config)
    other = EngineConfig(paths=(PathConfig(retriever="popularity", quota=7),))
    with Engine(other).fit(small_shop()) as engine:
        engine.save(folder)
    loads: list[Path] = []
    load = bundle.load

    def refuse(_: Blueprint) -> None:
        raise RequestError("variants are in use")

    def counted(place: Path, **more: Any) -> Any:
        loads.append(place)
        return load(place, **more)

    monkeypatch.setattr(bundle, "load", counted)
    for _ in range(3):
        with pytest.raises(RequestError, match="variants are in use"):
            followed.newest(state, refuse)
    assert len(loads) == 1
    assert followed.store.version.name == "000001"

"""`Retriever.close`: once for each path, when its state has retired, and while the process lives never under a call."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

import faulty
import numpy as np
import pytest
from patience import PATIENCE_S, eventually

from multirecall import Engine, EngineConfig
from multirecall.data import Changes, Dataset
from multirecall.engine.bundle.store import Store
from multirecall.errors import BundleError, CannotFit
from multirecall.lists import RankedList
from multirecall.progress import Progress
from multirecall.query import Query
from multirecall.storage import MANIFEST, read_json, write_manifest
from multirecall.testing import small_shop

EVENT = [{"user_id": 1, "item_id": 2, "timestamp": 1, "position": 0}]


class Connected(faulty.Rows):
    """Has a connection, which all that follow by live changes share; `number` tells them apart."""

    live = frozenset({"interactions"})
    opened: ClassVar[list[list[int]]] = []
    gate = threading.Event()
    entered = threading.Event()

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        super().fit(data, rng=rng, progress=progress)
        self.number = 0
        self.connection: list[int] = []
        self.opened.append(self.connection)

    def retrieve(self, query: Query, quota: int) -> RankedList:
        if query.context.get("waits"):
            self.entered.set()
            assert self.gate.wait(PATIENCE_S)
        return super().retrieve(query, quota)

    def with_changes(self, changes: Changes) -> Self:
        path = type(self)(self.config)
        path.n_items, path.number, path.connection = changes.data.n_items, self.number + 1, self.connection
        return path

    def close(self) -> None:
        self.connection.append(self.number)

    @classmethod
    def load(cls, config: Any, folder: Path, data: Dataset) -> Self:
        path = super().load(config, folder, data)
        path.number, path.connection = 0, []
        cls.opened.append(path.connection)
        return path


class Inline(Connected):
    inline = True


class Stubborn(Connected):
    def close(self) -> None:
        super().close()
        raise RuntimeError("still busy")


class Unfed(faulty.Rows):
    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        raise CannotFit("there is nothing to eat")


@pytest.fixture(autouse=True)
def opened() -> Iterator[list[list[int]]]:
    """The connections of the test, each with the numbers of the retrievers that have closed it."""
    Connected.opened.clear()
    Connected.gate.clear()
    Connected.entered.clear()
    yield Connected.opened
    Connected.gate.set()


def engine_of(*paths: type, fallback: Any = "popularity") -> Engine:
    config = {"k": 5, "paths": [{"retriever": path} for path in paths], "fallback": {"retriever": fallback}}
    return Engine(EngineConfig.model_validate(config))


def test_close_of_the_engine_closes_each_path_once(opened: list[list[int]]) -> None:
    with engine_of(Connected, Inline, fallback=Stubborn).fit(small_shop()) as engine:
        engine.retrieve(1)
        engine.retrieve_batch([1, 2])
        assert opened == [[], [], []]
    assert opened == [[0], [0], [0]]
    engine.close()
    assert opened == [[0], [0], [0]]


def test_path_and_fallback_of_one_config_are_one(opened: list[list[int]], tmp_path: Path) -> None:
    """One fit, one successor, one load and one end."""
    with engine_of(Connected, fallback=Connected).fit(small_shop()) as engine:
        engine.add_interactions(EVENT)
        engine.retrieve(1)
        engine.save(tmp_path / "shop")
        assert opened == [[]]
        gc.collect()
        assert opened == [[]]
    assert opened == [[1]], "one successor, closed once"
    with Engine.load(tmp_path / "shop", plugins=[Connected]) as loaded:
        loaded.add_interactions(EVENT)
        assert opened == [[1], []]
    assert opened == [[1], [1]]


def test_fallback_that_was_saved_apart_stays_apart(opened: list[list[int]], tmp_path: Path) -> None:
    """A bundle of an earlier release may hold two fits of one config."""
    with engine_of(Connected, fallback=Connected).fit(small_shop()) as engine:
        engine.save(tmp_path / "shop")
    version = tmp_path / "shop" / "000001"
    (version / "fallback" / "n_items").write_text("3")
    payload = {key: value for key, value in read_json(version / MANIFEST).items() if key not in ("files", "sha256")}
    write_manifest(version, payload)
    opened.clear()
    with Engine.load(tmp_path / "shop", version=version.name, plugins=[Connected]) as loaded:
        loaded.retrieve(1)
        assert opened == [[], []]
    assert opened == [[0], [0]]


def test_another_fit_closes_the_one_before(opened: list[list[int]]) -> None:
    engine = engine_of(Connected)
    engine.fit(small_shop()).fit(small_shop())
    assert opened == [[0], []]


def test_refit_closes_what_it_replaces(opened: list[list[int]]) -> None:
    engine = engine_of(Connected).fit(small_shop())
    engine.refresh().result()
    eventually(lambda: opened == [[0], []])  # the thread of the refit may end a little later


def test_live_changes_hand_the_connection_on(opened: list[list[int]]) -> None:
    engine = engine_of(Connected).fit(small_shop())
    for _ in range(3):
        engine.add_interactions(EVENT)
    gc.collect()
    assert opened == [[]]
    engine.close()
    assert opened == [[3]], "the newest alone"


def test_successor_that_was_never_served_is_not_the_one_that_is_closed(
    opened: list[list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(Connected).fit(small_shop())
    engine.save(tmp_path / "bundle")
    engine.add_interactions(EVENT)
    with monkeypatch.context() as full:

        def refuse(*_: object) -> int:
            raise BundleError("the disk is full")

        full.setattr(Store, "append", refuse)
        for _ in range(2):
            with pytest.raises(BundleError, match="full"):
                engine.add_interactions(EVENT)
    assert opened == [[]]
    engine.close()
    assert opened == [[1]]


def test_loaded_and_followed_states_are_closed(opened: list[list[int]], tmp_path: Path) -> None:
    writer = engine_of(Connected).fit(small_shop())
    writer.save(tmp_path / "bundle")
    follower = Engine.load(tmp_path / "bundle", follow=True, plugins=[Connected])
    writer.refresh().result()
    writer.save(tmp_path / "bundle")
    eventually(lambda: opened[1] == [0])  # the follower has gone on to the new version
    follower.close()
    writer.close()
    eventually(lambda: opened == [[0], [0], [0], [0]])


@pytest.mark.parametrize("retriever", [Connected, Inline])
def test_not_while_a_request_uses_it(opened: list[list[int]], retriever: type) -> None:
    engine = engine_of(retriever).fit(small_shop())
    asking = threading.Thread(target=lambda: engine.retrieve(1, context={"waits": True}))
    asking.start()
    assert Connected.entered.wait(PATIENCE_S)
    engine.close()
    gc.collect()
    assert opened == [[]]
    Connected.gate.set()
    asking.join()
    eventually(lambda: opened == [[0]])


def test_not_while_a_call_that_came_too_late_uses_it(opened: list[list[int]]) -> None:
    engine = engine_of(Connected).fit(small_shop())
    answer = engine.retrieve(1, context={"waits": True}, deadline_ms=20)
    assert answer.status["Connected"].state == "late"
    engine.close()
    gc.collect()
    assert opened == [[]]
    Connected.gate.set()
    eventually(lambda: opened == [[0]])


def test_engine_that_nobody_holds_closes_its_paths(opened: list[list[int]]) -> None:
    engine = engine_of(Connected).fit(small_shop())
    del engine
    gc.collect()
    assert opened == [[0]]


def test_state_that_never_served_is_closed(opened: list[list[int]]) -> None:
    with pytest.raises(CannotFit):
        engine_of(Connected, Unfed, fallback=Inline).fit(small_shop())
    gc.collect()
    assert opened == [[0], [0]]


def test_one_that_cannot_close_is_logged_and_holds_nobody_up(
    opened: list[list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    engine_of(Stubborn, Connected).fit(small_shop()).close()
    assert opened == [[0], [0]]
    assert "path 'Stubborn' could not be closed: RuntimeError('still busy')" in caplog.text


SCRIPT = """
import os, sys
import faulty
from multirecall import Engine, EngineConfig
from multirecall.testing import small_shop

class Says(faulty.Rows):
    def close(self):
        print("closed", flush=True)

engine = Engine(EngineConfig.model_validate({"paths": [{"retriever": Says}]})).fit(small_shop())
"""
FORKED = """
child = os.fork()
if not child:
    engine.close()
    sys.exit()
os.waitpid(child, 0)
print("the child has ended", flush=True)
"""


@pytest.mark.parametrize(("rest", "output"), [("", ["closed"]), (FORKED, ["the child has ended", "closed"])])
def test_end_of_the_process(rest: str, output: list[str]) -> None:
    """It closes what it has opened; a child by fork closes nothing of its parent's."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + rest],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.split("\n")[:-1] == output

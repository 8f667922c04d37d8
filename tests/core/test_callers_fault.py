"""What a caller sends counts against no path, and a change that a path cannot take is refused before it is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pytest
from faulty import Rows
from patience import PATIENCE_S

from multirecall import Engine, EngineConfig, User
from multirecall.data import Changes, Dataset
from multirecall.engine.breaker import FAILURES_TO_OPEN, FIRST_RETRY_S, Breaker
from multirecall.errors import DataError, IdTypeError, MultirecallError, PathError, RequestError
from multirecall.lists import RankedList
from multirecall.progress import Progress
from multirecall.query import Query
from multirecall.testing import small_shop

ODD = User(features={"country": "DE"})
"""Somebody whose query `Picky` cannot answer."""


class Picky(Rows):
    """Refuses some queries, in threads of its own."""

    error: ClassVar[type[Exception]] = RequestError

    def retrieve(self, query: Query, quota: int) -> RankedList:
        if query.features.get("country") == "DE":
            raise self.error("no country, please")
        return super().retrieve(query, quota)


class InlinePicky(Picky):
    """The same on the caller's thread, with another error."""

    inline = True
    error = IdTypeError


class Clumsy(Picky):
    """Breaks where it should refuse."""

    error = ValueError


class Fussy(Rows):
    """Takes no item whose title is `unfit`; once `gate` is closed, its fit waits."""

    live = frozenset({"items"})
    fault: ClassVar[type[Exception]] = DataError
    gate = threading.Event()
    entered = threading.Event()

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        self.entered.set()
        assert self.gate.wait(PATIENCE_S)
        super().fit(data, rng=rng, progress=progress)

    def with_changes(self, changes: Changes) -> Self:
        titles = [changes.data.items.features["title"].value(row) for row in changes.touched]
        if "unfit" in titles:
            raise self.fault("a title is unfit; choose another")
        return self


@pytest.fixture(autouse=True)
def registered(plugins: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    plugins(**{name.lower(): f"{__name__}:{name}" for name in ("Picky", "InlinePicky", "Clumsy", "Fussy", "Slow")})
    monkeypatch.setattr(Fussy, "fault", DataError)
    Fussy.gate.set()


def engine(*names: str, **settings: Any) -> Engine:
    paths = [{"retriever": name, **settings} for name in names]
    return Engine(EngineConfig.model_validate({"k": 5, "paths": paths})).fit(small_shop("str"))


@pytest.mark.parametrize("name", ["picky", "inlinepicky"])
def test_a_query_that_cannot_be_answered_never_opens_the_breaker(name: str) -> None:
    served = engine(name, "popularity")
    for _ in range(2 * FAILURES_TO_OPEN):
        status = served.retrieve(ODD).status[name]
        assert status.state == "failed"
        assert str(status.detail).endswith("Error: no country, please")
    assert served.retrieve(User()).status[name].state == "ok"
    health = served.health().paths[name]
    assert (health.breaker, health.consecutive_failures, health.failed, health.last_fault) == ("closed", 0, 0, None)


@pytest.mark.parametrize("name", ["picky", "inlinepicky"])
def test_one_user_of_a_batch_is_left_out_alone(name: str) -> None:
    served = engine(name, "popularity")
    batch = served.retrieve_batch([User(), ODD, User(history=["i0"])])
    assert batch.status[name].state == "ok"
    assert str(batch.status[name].detail).startswith("nothing for 1 of 3 users: ")
    assert [(one.ranks[:, 0] >= 0).any() for one in batch] == [True, False, True]
    assert batch[0].ids.tolist() == served.retrieve(User()).ids.tolist()
    assert [len(served.path_lists([ODD, User()])[name][user]) for user in range(2)] == [0, 65]
    assert served.health().paths[name].last_fault is None
    assert served.retrieve_batch([User()]).status[name].detail is None


def test_a_batch_of_such_users_alone_fails_and_counts_for_nothing() -> None:
    served = engine("picky", "popularity")
    for _ in range(2 * FAILURES_TO_OPEN):
        assert served.retrieve_batch([ODD, ODD]).status["picky"].state == "failed"
    assert served.retrieve_batch([User()]).status["picky"].state == "ok"


def test_what_a_path_alone_does_wrong_still_counts() -> None:
    served = engine("clumsy", "popularity")
    states = [served.retrieve(ODD).status["clumsy"].state for _ in range(FAILURES_TO_OPEN + 1)]
    assert states == ["failed"] * FAILURES_TO_OPEN + ["skipped"]
    assert served.health().paths["clumsy"].failed == FAILURES_TO_OPEN


@pytest.mark.parametrize(
    ("names", "settings", "error"),
    [
        (["picky"], {}, RequestError),
        (["picky", "popularity"], {"required": True}, RequestError),
        (["clumsy"], {}, PathError),
    ],
)
def test_a_request_that_fails_as_a_whole_names_whose_fault_it_was(
    names: list[str], settings: dict[str, Any], error: type[MultirecallError]
) -> None:
    served = engine(*names, **settings)
    for ask in (lambda: served.retrieve(ODD), lambda: served.retrieve_batch([ODD])):
        with pytest.raises(error, match="no country, please"):
            ask()


class Slow(Rows):
    """Answers once `gate` is open."""

    gate = threading.Event()

    def retrieve(self, query: Query, quota: int) -> RankedList:
        assert self.gate.wait(PATIENCE_S)
        return super().retrieve(query, quota)


@pytest.mark.parametrize(("deadline_ms", "counted"), [(20.0, 0), (200.0, 2)])
def test_a_caller_in_a_hurry_makes_no_path_late(deadline_ms: float, counted: int) -> None:
    Slow.gate.set()
    paths = [{"retriever": "slow"}, {"retriever": "popularity"}]
    served = Engine(EngineConfig.model_validate({"paths": paths, "deadline_ms": 200})).fit(small_shop("str"))
    Slow.gate.clear()
    try:
        for _ in range(2):
            assert served.retrieve(User(), deadline_ms=deadline_ms).status["slow"].state == "late"
        health = served.health().paths["slow"]
        assert (health.late, health.consecutive_failures) == (counted, counted)
    finally:
        Slow.gate.set()


def test_a_probe_with_a_faulty_query_lets_the_next_one_try() -> None:
    now = [0.0]
    breaker = Breaker(lambda: now[0])
    for _ in range(FAILURES_TO_OPEN):
        breaker.record(breaker.admit() or 0, "failed", "broken")
    now[0] += FIRST_RETRY_S
    probe = breaker.admit()
    assert probe is not None
    breaker.excuse(probe)
    again = breaker.admit()
    assert again is not None
    breaker.record(again, "ok")
    assert breaker.tally.state == "closed"


def item(name: str, title: str) -> list[dict[str, Any]]:
    return [{"item_id": name, "title": title}]


def test_a_change_that_a_path_refuses_leaves_no_trace(tmp_path: Path) -> None:
    with engine("fussy", "popularity") as served:
        served.save(tmp_path / "bundle")
        for _ in range(2):
            with pytest.raises(
                DataError, match="path 'fussy' cannot take the change: a title is unfit; choose another"
            ):
                served.add_items(item("new", "unfit"))
        assert served.data.items.ids.row("new") == -1
        served.add_items(item("other", "fine"))
        health = served.health()
        assert health.paths["fussy"].stale is None
        assert health.store is not None
        assert health.store.unsaved == 1
    with Engine.load(tmp_path / "bundle") as again:
        assert [again.data.items.ids.row(name) for name in ("new", "other")] == [-1, 65]


def test_a_refused_change_takes_none_of_its_group_with_it() -> None:
    served = engine("fussy")
    titles = ["fine", "unfit", "fine"]
    with ThreadPoolExecutor(3) as pool:
        with served._writer._turn:
            calls = [pool.submit(served.add_items, item(f"n{n}", title)) for n, title in enumerate(titles)]
            while len(served._writer._waiting) < 3:
                pass
        faults = [call.exception(PATIENCE_S) for call in calls]
    assert [type(fault) for fault in faults] == [type(None), DataError, type(None)]
    assert [served.data.items.ids.row(f"n{n}") >= 0 for n in range(3)] == [True, False, True]


def test_what_was_acknowledged_is_loaded_though_a_path_refuses_it_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Fussy, "fault", ValueError)
    with engine("fussy") as served:
        served.save(tmp_path / "bundle")
        served.add_items(item("new", "unfit"))
        assert "ValueError: a title is unfit" in str(served.health().paths["fussy"].stale)
    monkeypatch.setattr(Fussy, "fault", DataError)
    with Engine.load(tmp_path / "bundle") as again:
        assert again.data.items.ids.row("new") == 65
        assert "DataError: a title is unfit" in str(again.health().paths["fussy"].stale)
        again.add_items(item("later", "fine"))
        again.refresh().result(PATIENCE_S)
        assert again.health().paths["fussy"].stale is None


def test_a_refit_takes_what_was_acknowledged_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fussy, "fault", ValueError)
    served = engine("fussy")
    Fussy.gate.clear()
    Fussy.entered.clear()
    refit = served.refresh()
    assert Fussy.entered.wait(PATIENCE_S)
    served.add_items(item("new", "unfit"))
    monkeypatch.setattr(Fussy, "fault", DataError)
    Fussy.gate.set()
    refit.result(PATIENCE_S)
    assert served.data.items.ids.row("new") == 65
    assert "DataError: a title is unfit" in str(served.health().paths["fussy"].stale)

"""A path that fails, hangs or returns garbage: the request goes on, and says so."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import faulty
import numpy as np
import pytest

from multirecall import Engine, EngineConfig
from multirecall.engine import breaker
from multirecall.engine.breaker import FAILURES_TO_OPEN
from multirecall.engine.path import eligible_window, eligible_windows
from multirecall.errors import PathError
from multirecall.progress import SILENT
from multirecall.protocols import PluginConfig
from multirecall.query import Query
from multirecall.testing import small_shop

BOUND_S = 2.0
"""Generous; the tight figure is a benchmark's."""


def engine(*paths: dict[str, Any], **changed: Any) -> Engine:
    config = EngineConfig.model_validate({"k": 5, "paths": [*paths, {"retriever": "item_cf"}], **changed})
    return Engine(config).fit(small_shop())


@pytest.fixture
def misfits(plugins: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Plug-ins that misbehave; a breaker that has opened stays open however slow the machine."""
    monkeypatch.setattr(breaker, "FIRST_RETRY_S", 1000.0)
    plugins(
        raises="faulty:Raises", blocks="faulty:Blocks", garbage="faulty:Garbage",
        rows="faulty:Rows", exits="faulty:Exits", leaks="faulty:Leaks", shuffled="faulty:Shuffled",
        undeployed="faulty:Undeployed",
    )  # fmt: skip


@pytest.fixture
def closed_gate() -> Iterator[threading.Event]:
    """Fit with the gate open, then close it; whatever still waits at the end is let go."""
    faulty.Blocks.gate.set()
    faulty.Blocks.entered.clear()
    yield faulty.Blocks.gate
    faulty.Blocks.gate.set()


def test_raising_path_is_reported_and_the_others_serve(misfits: None) -> None:
    result = engine({"retriever": "raises"}).retrieve(1)
    alone = Engine(EngineConfig.model_validate({"k": 5, "paths": [{"retriever": "item_cf"}]})).fit(small_shop())
    assert result.status["raises"].state == "failed"
    assert result.status["raises"].detail == "RuntimeError: out of order"
    assert result.status["raises"].count == 0
    assert result.ids.tolist() == alone.retrieve(1).ids.tolist()
    assert (result.ranks[:, 0] == -1).all()


@pytest.mark.parametrize("kind", faulty.GARBAGE)
def test_garbage_is_a_failure(misfits: None, kind: str) -> None:
    fitted = engine({"retriever": "garbage", "params": {"kind": kind}})
    for result in (fitted.retrieve(1), fitted.retrieve_batch([1, 2])[0]):
        assert result.status["garbage"].state == "failed"
        assert "it returned garbage" in str(result.status["garbage"].detail)
        assert len(result) == 5


def test_path_that_is_not_deployed_is_skipped_and_not_blamed(
    misfits: None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = engine({"retriever": "undeployed"})
    note = "NotDeployed: no address here: set THE_URL"
    assert f"path 'undeployed' skipped when it was first asked: {note}" in caplog.messages
    for _ in range(2 * FAILURES_TO_OPEN):
        status = fitted.retrieve(1).status["undeployed"]
        assert (status.state, status.detail) == ("skipped", note)
    status = fitted.retrieve_batch([1, 2]).status["undeployed"]
    assert (status.state, status.detail) == ("skipped", note)
    health = fitted.health().paths["undeployed"]
    assert (health.breaker, health.failed, health.consecutive_failures) == ("closed", 0, 0)
    assert (health.skipped, health.last_fault) == (2 * FAILURES_TO_OPEN + 1, note)
    monkeypatch.setattr(faulty.Undeployed, "deployed", True)
    assert fitted.retrieve(1).status["undeployed"].state == "ok"


def test_fallback_delivers_where_no_path_is_deployed(misfits: None) -> None:
    config = EngineConfig.model_validate({"k": 5, "paths": [{"retriever": "undeployed"}]})
    result = Engine(config).fit(small_shop()).retrieve(1)
    assert (len(result), result.n_backfilled) == (5, 5)


def test_path_that_is_not_deployed_does_not_hide_that_all_others_failed(misfits: None) -> None:
    config = EngineConfig.model_validate({"k": 5, "paths": [{"retriever": "undeployed"}, {"retriever": "raises"}]})
    with pytest.raises(PathError, match=r"^all paths failed: raises: RuntimeError: out of order$"):
        Engine(config).fit(small_shop()).retrieve(1)


def test_required_path_must_be_deployed(misfits: None) -> None:
    with pytest.raises(PathError, match="required path 'undeployed' skipped: NotDeployed: no address here"):
        engine({"retriever": "undeployed", "required": True}).retrieve(1)


def test_required_path_fails_the_request(misfits: None) -> None:
    with pytest.raises(PathError, match="required path 'raises' failed: RuntimeError: out of order; fix the path"):
        engine({"retriever": "raises", "required": True}).retrieve(1)


def test_all_paths_failing_is_an_error(misfits: None) -> None:
    config = EngineConfig.model_validate({"paths": [{"name": name, "retriever": "raises"} for name in "ab"]})
    with pytest.raises(PathError, match="all paths failed: a: RuntimeError: out of order; b: RuntimeError"):
        Engine(config).fit(small_shop()).retrieve(1)


def test_late_path_is_left_behind(misfits: None, closed_gate: threading.Event) -> None:
    fitted = engine({"retriever": "blocks"})
    closed_gate.clear()
    start = time.perf_counter()
    result = fitted.retrieve(1, deadline_ms=300)
    assert time.perf_counter() - start < BOUND_S
    assert result.status["blocks"].state == "late"
    assert result.status["blocks"].detail == "no answer within 300 ms"
    assert result.status["item_cf"].state == "ok"
    assert len(result) == 5


def test_late_paths_alone_still_deliver_from_the_fallback(misfits: None, closed_gate: threading.Event) -> None:
    config = EngineConfig.model_validate({"k": 5, "paths": [{"retriever": "blocks"}]})
    fitted = Engine(config).fit(small_shop())
    closed_gate.clear()
    result = fitted.retrieve(1, deadline_ms=20)
    assert (len(result), result.n_backfilled) == (5, 5)


def test_worker_answers_when_it_is_in_time(misfits: None, closed_gate: threading.Event) -> None:
    result = engine({"retriever": "blocks", "quota": 3}).retrieve(1, deadline_ms=60_000, seen=True)
    assert result.status["blocks"].state == "ok"
    assert result.status["blocks"].count == 3


def test_path_that_is_always_late_is_no_longer_called(misfits: None, closed_gate: threading.Event) -> None:
    fitted = engine({"retriever": "blocks"})
    closed_gate.clear()
    statuses = [fitted.retrieve(1, deadline_ms=50).status["blocks"] for _ in range(2 * FAILURES_TO_OPEN)]
    assert {one.state for one in statuses} == {"late", "skipped"}
    assert statuses[-1].state == "skipped"
    assert [one.detail for one in statuses].count("no answer within 50 ms") == FAILURES_TO_OPEN


def test_whatever_a_worker_raises_reaches_the_request(misfits: None) -> None:
    result = engine({"retriever": "exits"}).retrieve(1)
    assert result.status["exits"].state == "failed"
    assert result.status["exits"].detail == "SystemExit: 3"


def test_failing_fallback_makes_way_for_any_item(misfits: None) -> None:
    result = engine(fallback={"retriever": "raises"}).retrieve(1, 60)
    assert (len(result) + result.shortfall, result.shortfall) == (60, 60 - len(result))
    assert result.n_backfilled > 0


def test_filter_is_enforced_on_a_path_that_breaks_its_promise(misfits: None) -> None:
    fitted = engine({"retriever": "leaks"}, fusion={"strategy": "cascade"})
    result = fitted.retrieve(1, 10, exclude=[0, 1, 2], where={"group": "even"})
    assert not {0, 1, 2} & set(result.ids.tolist())
    assert {int(item) % 2 for item in result.ids} == {0}


def test_each_path_has_a_random_stream_of_its_own(misfits: None) -> None:
    paths = [{"name": name, "retriever": "shuffled", "quota": 30} for name in ("a", "b", "c")]

    def orders(*chosen: dict[str, Any]) -> dict[str, list[int]]:
        fitted = Engine(EngineConfig.model_validate({"paths": chosen})).fit(small_shop())
        return {name: lists[0].items.tolist() for name, lists in fitted.path_lists([1]).items()}

    first = orders(*paths)
    assert len({tuple(order) for order in first.values()}) == 3
    assert orders(*paths) == first
    without = orders(paths[0], {**paths[1], "enabled": False}, paths[2])
    assert without == {"a": first["a"], "c": first["c"]}, "disabling a path changes no other"


def test_replaced_state_lets_its_threads_and_models_go(misfits: None) -> None:
    fitted = engine({"name": "replaced", "retriever": "rows"})
    old = weakref.ref(fitted._state.paths[0].retriever)  # type: ignore[union-attr]
    for _ in range(3):
        fitted.fit(small_shop())
        fitted.retrieve(1)
    for thread in [one for one in threading.enumerate() if one.name == "multirecall-replaced"][:-1]:
        thread.join(BOUND_S)
    gc.collect()
    assert [thread.name for thread in threading.enumerate()].count("multirecall-replaced") == 1
    assert old() is None


def test_failing_path_is_no_longer_called(misfits: None) -> None:
    fitted = engine({"retriever": "raises"})
    states = [fitted.retrieve(1).status["raises"] for _ in range(FAILURES_TO_OPEN + 2)]
    assert states[0].state == "failed"
    assert states[-1].state == "skipped"
    assert str(states[-1].detail).startswith("not called after 5 failures in a row; tried again in ")
    assert str(states[-1].detail).endswith("last fault: RuntimeError: out of order")


def rows(n_items: int = 65) -> faulty.Rows:
    path = faulty.Rows(PluginConfig())
    path.fit(small_shop(), rng=np.random.default_rng(0), progress=SILENT)
    path.n_items = n_items
    path.asked.clear()
    return path


def query(excluded: range) -> Query:
    return Query(-1, np.empty(0, np.int32), np.empty(0, np.float32), exclude=np.array(excluded, np.int32))


def test_window_doubles_until_the_quota_is_full() -> None:
    path = rows()
    ranked = eligible_window(path, query(range(10)), 4, 65)
    assert ranked.items.tolist() == [10, 11, 12, 13]
    assert path.asked == [4, 8, 16]


def test_window_stops_when_the_path_is_exhausted() -> None:
    path = rows(n_items=9)
    assert eligible_window(path, query(range(7)), 4, 65).items.tolist() == [7, 8]
    assert path.asked == [4, 8, 16]


def test_batch_asks_again_only_for_those_who_lack() -> None:
    path = rows()
    batch = eligible_windows(path, [query(range(0)), query(range(10))], 4, 65)
    assert [batch[user].items.tolist() for user in range(2)] == [[0, 1, 2, 3], [10, 11, 12, 13]]
    assert path.asked == [4, 4, 8, 16]

"""Whatever a path does, the request goes on in time, says so, and the engine recovers."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path as FilePath
from typing import Any

import faulty
import numpy as np
import pytest
from patience import eventually

from multirecall import Engine, EngineConfig
from multirecall.engine import breaker, warmup
from multirecall.engine.breaker import FAILURES_TO_OPEN, FIRST_RETRY_S
from multirecall.engine.deadline import Deadline
from multirecall.engine.path import Path, new_path
from multirecall.engine.runner import run_batch, run_fallback, run_paths
from multirecall.engine.workers import MOST_ABANDONED
from multirecall.errors import PathError
from multirecall.progress import SILENT
from multirecall.protocols import Retriever
from multirecall.query import Query
from multirecall.testing import small_shop

BOUND_S = 2.0
"""Generous; the tight figure is a benchmark's."""

WINDOW = 5
NOBODY = Query(-1, np.empty(0, np.int32), np.empty(0, np.float32))


class Clock:
    """Stands still unless told otherwise."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def path(plugin: type[Retriever], kind: str | None = None, clock: Clock | None = None, **changed: Any) -> Path:
    retriever = plugin(plugin.Config.model_validate({} if kind is None else {"kind": kind}))
    retriever.fit(small_shop(), rng=np.random.default_rng(0), progress=SILENT)
    values = {"name": "odd", "quota": WINDOW, "required": False, "n_items": 65, "n_users": 40, **changed}
    return new_path(retriever=retriever, clock=clock or time.perf_counter, **values)


def brief() -> Deadline:
    """Has passed for a caller that waits, and never for an inline path, however busy the machine is."""
    return Deadline(10, Clock())


def sound(**changed: Any) -> Path:
    return path(faulty.Shuffled, **{"name": "sound", **changed})


def asked(*paths: Path, deadline: Deadline | None = None, query: Query = NOBODY) -> dict[str, Any]:
    """The outcome of each path, after a check that nothing took long."""
    start = time.perf_counter()
    outcomes = run_paths(paths, [WINDOW] * len(paths), query, deadline or Deadline(None))
    assert time.perf_counter() - start < BOUND_S
    return dict(zip([one.name for one in paths], outcomes, strict=True))


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """No test waits for a kernel."""
    for plugin in (faulty.Rows, faulty.Shuffled):
        run_paths([path(plugin)], [WINDOW], NOBODY, Deadline(None))


@pytest.fixture
def closed_gate() -> Iterator[threading.Event]:
    """Paths that wait for the gate hang; at the end they are let go."""
    faulty.Blocks.gate.clear()
    yield faulty.Blocks.gate
    faulty.Blocks.gate.set()


@pytest.fixture
def misfits(plugins: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Plug-ins that misbehave; a breaker that has opened stays open however slow the machine."""
    monkeypatch.setattr(breaker, "FIRST_RETRY_S", 1000.0)
    plugins(blocks="faulty:Blocks", raises="faulty:Raises", garbage="faulty:Garbage", rows="faulty:Rows")
    faulty.Blocks.gate.set()
    yield
    faulty.Blocks.gate.set()


def engine(*paths: dict[str, Any], **changed: Any) -> Engine:
    return Engine(EngineConfig.model_validate({"k": 5, "paths": paths, **changed})).fit(small_shop())


MISBEHAVIOUR: list[tuple[type[Retriever], str]] = [
    *((plugin, kind) for plugin in (faulty.Garbage, faulty.InlineGarbage) for kind in faulty.GARBAGE),
    *((faulty.Throws, kind) for kind in faulty.THROWN),
    *((faulty.InlineThrows, kind) for kind in faulty.THROWN if kind != "interrupt"),
]


@pytest.mark.parametrize(("plugin", "kind"), MISBEHAVIOUR)
def test_misbehaviour_is_a_failure_of_that_path_alone(plugin: type[Retriever], kind: str) -> None:
    for deadline in (Deadline(None), Deadline(60_000)):
        outcomes = asked(path(plugin, kind), sound(), deadline=deadline)
        assert outcomes["odd"].state == "failed"
        assert outcomes["odd"].ranked is None
        assert outcomes["odd"].detail
        assert outcomes["sound"].state == "ok"
        assert len(outcomes["sound"].ranked) == WINDOW
    with pytest.raises(PathError, match="required path 'odd' failed: "):
        asked(path(plugin, kind, required=True), sound())
    with pytest.raises(PathError, match="all paths failed: odd: "):
        asked(path(plugin, kind))
    assert run_fallback(path(plugin, kind), WINDOW, NOBODY, Deadline(None)).state == "failed"
    if kind != "interrupt":
        assert run_batch([path(plugin, kind), sound()], [WINDOW] * 2, [NOBODY] * 3)[0].state == "failed"


@pytest.mark.parametrize("kind", ["short", "wide", "falling", "beyond", "late", "bare"])
def test_batch_with_bad_offsets_is_garbage(kind: str) -> None:
    outcomes = run_batch([path(faulty.BadOffsets, kind), sound()], [WINDOW] * 2, [NOBODY] * 3)
    assert [one.state for one in outcomes] == ["failed", "ok"]


def test_path_that_finds_nothing_is_well() -> None:
    nothing = Query(-1, NOBODY.history, NOBODY.weights, allowed=np.zeros(65, np.bool_))
    outcomes = asked(path(faulty.Rows), sound(), query=nothing)
    assert [(one.state, len(one.ranked)) for one in outcomes.values()] == [("ok", 0), ("ok", 0)]


def test_interrupt_from_the_keyboard_ends_the_request(closed_gate: threading.Event) -> None:
    """On the main thread it is the user's, and what was begun is given up; elsewhere it is the path's own doing."""
    hung = path(faulty.Blocks, name="hung")
    faulty.Blocks.entered.clear()
    paths = [hung, path(faulty.InlineThrows, "interrupt"), sound()]
    with pytest.raises(KeyboardInterrupt):
        asked(*paths)
    assert hung.workers.running == 0
    with ThreadPoolExecutor(1) as pool:
        outcomes = pool.submit(asked, *paths, deadline=brief()).result(BOUND_S)
    assert outcomes["odd"].detail == "KeyboardInterrupt: thrown"


def test_long_message_is_cut() -> None:
    class Talks(faulty.Rows):
        def retrieve(self, query: Query, quota: int) -> Any:
            raise RuntimeError("x" * 10**6)

    assert len(asked(path(Talks), sound())["odd"].detail) < 1000


def test_hanging_path_is_left_behind(closed_gate: threading.Event) -> None:
    hung = path(faulty.Blocks)
    outcomes = asked(hung, sound(), deadline=brief())
    assert (outcomes["odd"].state, outcomes["odd"].detail) == ("late", "no answer within 10 ms")
    assert outcomes["sound"].state == "ok"
    assert (hung.workers.running, hung.workers.abandoned) == (0, 1)
    with pytest.raises(PathError, match="required path 'odd' late: no answer within 10 ms"):
        asked(path(faulty.Blocks, required=True), sound(), deadline=brief())


def test_the_deadline_is_one_for_all_paths(closed_gate: threading.Event) -> None:
    """By the injected clock all time has gone once the first inline path returns."""
    clock = Clock()

    class Slow(faulty.Shuffled):
        def retrieve(self, query: Query, quota: int) -> Any:
            clock.now += 0.030
            return super().retrieve(query, quota)

    hung = [path(faulty.Blocks, name=f"hung{number}", clock=clock) for number in range(3)]
    paths = [hung[0], path(Slow, name="slow", clock=clock), hung[1], sound(clock=clock), hung[2]]
    outcomes = asked(*paths, deadline=Deadline(20, clock))
    assert [one.state for one in outcomes.values()] == ["late", "ok", "late", "late", "late"]
    assert outcomes["slow"].ms == pytest.approx(30)
    assert outcomes["sound"].detail == "the deadline had passed before its turn"
    assert outcomes["sound"].ms == pytest.approx(30)
    assert paths[3].breaker.tally.failures == 0, "having had no turn is no fault of its own"
    assert paths[3].breaker.tally.counts["late"] == 1


@pytest.mark.parametrize("plugin", [faulty.Rows, faulty.Shuffled])
def test_path_that_had_no_time_at_all_is_not_to_blame(plugin: type[Retriever]) -> None:
    clock = Clock()
    gone = Deadline(20, clock)
    clock.now += 1
    odd = path(plugin)
    for _ in range(2 * FAILURES_TO_OPEN):
        outcome = asked(odd, deadline=gone)["odd"]
        assert (outcome.state, outcome.detail) == ("late", "the deadline had passed before its turn")
    assert odd.breaker.tally.state == "closed"
    assert odd.workers.running == odd.workers.abandoned == 0
    late = run_fallback(path(faulty.Rows), WINDOW, NOBODY, gone)
    assert late.state == "late"
    assert run_fallback(path(faulty.Shuffled), WINDOW, NOBODY, gone).state == "ok", (
        "an inline fallback is what delivers"
    )


def test_answer_that_is_there_when_it_is_collected_is_taken() -> None:
    clock = Clock()

    class Overruns(faulty.Shuffled):
        def retrieve(self, query: Query, quota: int) -> Any:
            eventually(lambda: quick.workers.running == 0)
            clock.now += 1
            return super().retrieve(query, quota)

    quick = path(faulty.Rows, name="quick")
    outcomes = asked(quick, path(Overruns), deadline=Deadline(20, clock))
    assert outcomes["quick"].state == "ok"
    assert outcomes["odd"].state == "ok", "code on the caller's thread cannot be interrupted"


def test_paths_that_are_always_late_never_make_a_request_fail(misfits: None, closed_gate: threading.Event) -> None:
    faulty.Blocks.gate.set()
    fitted = engine({"name": "a", "retriever": "blocks"}, {"name": "b", "retriever": "blocks"})
    closed_gate.clear()
    for _ in range(100):
        result = fitted.retrieve(1, deadline_ms=5)
        assert (len(result), result.n_backfilled) == (5, 5)
        if {one.state for one in result.status.values()} == {"skipped"}:
            break
    assert {one.breaker for one in fitted.health().paths.values()} == {"open"}


def test_late_and_failing_paths_together_leave_it_to_the_fallback(misfits: None, closed_gate: threading.Event) -> None:
    faulty.Blocks.gate.set()
    fitted = engine({"retriever": "blocks"}, {"retriever": "raises"})
    closed_gate.clear()
    result = fitted.retrieve(1, deadline_ms=300)
    assert [one.state for one in result.status.values()] == ["late", "failed"]
    assert (len(result), result.n_backfilled) == (5, 5)


@pytest.mark.parametrize("retriever", ["blocks", "raises", "garbage"])
def test_unwell_fallback_makes_way_for_any_item(misfits: None, closed_gate: threading.Event, retriever: str) -> None:
    faulty.Blocks.gate.set()
    fitted = engine({"retriever": "item_cf"}, fallback={"retriever": retriever})
    closed_gate.clear()
    for _ in range(100):  # a few do, unless the machine leaves the fallback no time
        start = time.perf_counter()
        result = fitted.retrieve(1, 60, deadline_ms=20)
        assert time.perf_counter() - start < BOUND_S
        assert len(result) + result.shortfall == 60
        assert result.n_backfilled > 0
        if fitted.health().fallback.skipped:
            break
    assert fitted.health().fallback.breaker == "open"


def test_what_finishes_late_writes_into_nothing_that_is_read() -> None:
    faulty.Reuses.gate.clear()
    faulty.Reuses.written.clear()
    reuses = path(faulty.Reuses)
    known = Query(0, NOBODY.history, NOBODY.weights)
    late = asked(reuses, sound(), query=known, deadline=brief())["odd"]
    assert late.state == "late"
    answer = asked(reuses, sound())["odd"].ranked
    faulty.Reuses.gate.set()
    assert faulty.Reuses.written.wait(BOUND_S)
    assert answer.items.tolist() == [0, 1, 2, 3, 4]
    assert late.ranked is None
    assert asked(reuses, sound())["odd"].state == "failed"


def test_path_recovers_by_one_probe(closed_gate: threading.Event) -> None:
    clock = Clock()
    hung = path(faulty.Blocks, clock=clock)
    faulty.Blocks.entered.clear()
    for _ in range(FAILURES_TO_OPEN):
        assert asked(hung, sound(), deadline=brief())["odd"].state == "late"
    skipped = asked(hung, sound(), deadline=brief())["odd"]
    assert skipped.state == "skipped"
    assert skipped.detail == (
        "not called after 5 failures in a row; tried again in 1.0 s; last fault: no answer within 10 ms"
    )
    clock.now += FIRST_RETRY_S
    eventually(lambda: len(faulty.Blocks.entered) == hung.workers.abandoned)
    faulty.Blocks.entered.clear()
    with ThreadPoolExecutor(1) as pool:
        probe = pool.submit(asked, hung, sound())
        eventually(lambda: faulty.Blocks.entered != [])
        meanwhile = asked(hung, sound(), deadline=brief())["odd"]
        assert meanwhile.state == "skipped"
        assert "while a single call tries whether it answers again" in meanwhile.detail
        assert len(faulty.Blocks.entered) == 1
        closed_gate.set()
        assert probe.result(BOUND_S)["odd"].state == "ok"
    assert asked(hung, sound())["odd"].state == "ok"
    eventually(lambda: hung.workers.abandoned == 0)


def test_abandoned_calls_are_bounded_and_the_path_comes_back(closed_gate: threading.Event) -> None:
    clock = Clock()
    hung = path(faulty.Blocks, clock=clock)
    faulty.Blocks.entered.clear()
    for _ in range(3 * MOST_ABANDONED):
        clock.now += 1000
        outcome = asked(hung, sound(), deadline=brief())["odd"]
    eventually(lambda: len(faulty.Blocks.entered) == hung.workers.abandoned)
    assert outcome.state == "skipped"
    assert f"not called while {MOST_ABANDONED} abandoned calls still run" in outcome.detail
    assert hung.workers.abandoned == MOST_ABANDONED
    closed_gate.set()
    eventually(lambda: hung.workers.abandoned == 0)
    clock.now += 1000
    assert asked(hung, sound())["odd"].state == "ok"


@pytest.mark.parametrize("role", ["path", "required", "fallback"])
def test_start_is_bounded_while_something_hangs(
    misfits: None,
    closed_gate: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    role: str,
) -> None:
    monkeypatch.setattr(warmup, "DEADLINE_MS", 50.0)
    closed_gate.clear()
    hanging = {"retriever": "blocks", "required": role == "required"}
    paths: list[dict[str, Any]] = [{"retriever": "item_cf"}, *([] if role == "fallback" else [hanging])]
    start = time.perf_counter()
    fitted = engine(*paths, **({"fallback": {"retriever": "blocks"}} if role == "fallback" else {}))
    assert time.perf_counter() - start < 5 * BOUND_S
    health = fitted.health()
    for one in (*health.paths.values(), health.fallback):
        assert (one.breaker, one.ok, one.late, one.failed, one.skipped) == ("closed", 0, 0, 0, 0)
    hung = health.fallback if role == "fallback" else health.paths["blocks"]
    assert hung.abandoned <= 3
    assert role == "fallback" or "path 'blocks' late when it was first asked" in caplog.text
    closed_gate.set()
    assert fitted.retrieve(1).status.keys() == {one["retriever"] for one in paths}


def test_health_counts_what_requests_saw(misfits: None, closed_gate: threading.Event) -> None:
    faulty.Blocks.gate.set()
    fitted = engine({"retriever": "item_cf"}, {"retriever": "blocks"}, {"retriever": "raises"})
    fitted.retrieve_batch([1, 2])
    closed_gate.clear()
    seen = []
    while fitted.health().paths["raises"].breaker == "closed":  # on a busy machine it may not get its turn
        seen.append(fitted.retrieve(1, deadline_ms=20).status)
    health = fitted.health()
    for name in fitted.paths:
        states = [status[name].state for status in seen]
        one = health.paths[name]
        assert one.late == states.count("late")
        assert one.failed == states.count("failed") + (name == "raises")
        assert one.skipped == states.count("skipped")
        assert one.ok == states.count("ok") + (name != "raises")
    assert health.paths["item_cf"].breaker == "closed"
    assert health.paths["item_cf"].retry_in_s is None
    assert health.paths["raises"].breaker == "open"
    assert health.paths["raises"].consecutive_failures == FAILURES_TO_OPEN
    assert health.paths["raises"].last_fault == "RuntimeError: out of order"
    assert 0 < (health.paths["raises"].retry_in_s or 0) <= breaker.FIRST_RETRY_S
    assert health.paths["blocks"].abandoned + health.paths["blocks"].running <= FAILURES_TO_OPEN
    shop = small_shop()
    assert (health.n_items, health.n_users, health.n_events) == (shop.n_items, 42, 700)


def test_health_is_ready_for_json(misfits: None) -> None:
    fitted = engine({"retriever": "item_cf"}, cache_size=3)
    fitted.retrieve(1)
    fitted.retrieve(1)
    figures = json.loads(json.dumps(fitted.health().to_dict()))
    assert figures["cache"] == {"size": 3, "entries": 1, "hits": 1, "misses": 1, "hit_rate": 0.5}
    assert figures["paths"]["item_cf"]["ok"] == 1
    assert len(figures["config_hash"]) >= 8
    same = engine({"retriever": "item_cf"}, cache_size=3).health()
    assert same.config_hash == figures["config_hash"]
    assert fitted.fit(small_shop()).health().data_version > figures["data_version"]
    assert engine({"retriever": "item_cf", "quota": 7}).health().config_hash != figures["config_hash"]


def test_process_exits_while_paths_hang() -> None:
    script = """
        import threading
        import faulty
        import numpy as np
        from multirecall import Engine, EngineConfig
        from multirecall.engine import breaker, warmup
        from multirecall import plugins
        from multirecall.plugins import EntryPoint
        from multirecall.testing import small_shop

        known = plugins.entry_points
        own = EntryPoint("blocks", "faulty:Blocks", "multirecall.retrievers")
        plugins.entry_points = lambda group: [*known(group=group), *([own] if group == own.group else [])]
        warmup.DEADLINE_MS = 20.0
        paths = [{"retriever": "blocks"}, {"retriever": "popularity"}]
        engine = Engine(EngineConfig.model_validate({"k": 5, "paths": paths, "fallback": {"retriever": "blocks"}}))
        result = engine.fit(small_shop()).retrieve(1, deadline_ms=20)
        print(result.status["blocks"].state, len(result))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env={"PYTHONPATH": str(FilePath(__file__).parents[1]), "PATH": ""},
    )
    assert (done.returncode, done.stdout) == (0, "late 5\n"), done.stderr

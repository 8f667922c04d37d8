"""A path that fails, hangs or returns garbage: the request goes on, and says so."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import faulty
import numpy as np
import pytest

from multirecall import Engine, EngineConfig
from multirecall.engine.breaker import FAILURES_TO_OPEN, SECONDS_OPEN, Breaker
from multirecall.engine.path import eligible_window, eligible_windows
from multirecall.engine.workers import MOST_ABANDONED, Workers
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
def misfits(plugins: Callable[..., None]) -> None:
    plugins(
        raises="faulty:Raises", blocks="faulty:Blocks", inline_blocks="faulty:InlineBlocks", garbage="faulty:Garbage",
        rows="faulty:Rows",
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
        assert "garbage" in (result.status["garbage"].detail or "") or "no RankedBatch" in str(result.status["garbage"])
        assert len(result) == 5


def test_required_path_fails_the_request(misfits: None) -> None:
    with pytest.raises(PathError, match="required path 'raises' failed: RuntimeError: out of order; mend it"):
        engine({"retriever": "raises", "required": True}).retrieve(1)


def test_all_paths_failing_is_an_error(misfits: None) -> None:
    config = EngineConfig.model_validate({"paths": [{"name": name, "retriever": "raises"} for name in "ab"]})
    with pytest.raises(PathError, match="all paths failed: a: RuntimeError: out of order; b: RuntimeError"):
        Engine(config).fit(small_shop()).retrieve(1)


def test_late_path_is_left_behind(misfits: None, closed_gate: threading.Event) -> None:
    fitted = engine({"retriever": "blocks"})
    closed_gate.clear()
    start = time.perf_counter()
    result = fitted.retrieve(1, deadline_ms=20)
    assert time.perf_counter() - start < BOUND_S
    assert result.status["blocks"].state == "late"
    assert result.status["blocks"].detail == "no answer within 20 ms"
    assert result.status["item_cf"].state == "ok"
    assert len(result) == 5


def test_late_paths_alone_still_deliver_from_the_fallback(misfits: None, closed_gate: threading.Event) -> None:
    config = EngineConfig.model_validate({"k": 5, "paths": [{"retriever": "blocks"}]})
    fitted = Engine(config).fit(small_shop())
    closed_gate.clear()
    result = fitted.retrieve(1, deadline_ms=20)
    assert (len(result), result.n_refilled) == (5, 5)


def test_inline_path_does_not_begin_after_the_deadline(misfits: None, closed_gate: threading.Event) -> None:
    fitted = engine({"retriever": "inline_blocks"})
    closed_gate.clear()
    threading.Timer(0.05, closed_gate.set).start()
    result = fitted.retrieve(1, deadline_ms=1)
    assert result.status["inline_blocks"].state == "ok", "code on the caller's thread cannot be interrupted"
    assert result.status["item_cf"].state == "late"
    assert result.status["item_cf"].detail == "the deadline had passed before its turn"


def test_worker_answers_when_it_is_in_time(misfits: None, closed_gate: threading.Event) -> None:
    result = engine({"retriever": "blocks", "quota": 3}).retrieve(1, deadline_ms=60_000, seen=True)
    assert result.status["blocks"].state == "ok"
    assert result.status["blocks"].count == 3


def test_hanging_calls_are_bounded(misfits: None, closed_gate: threading.Event) -> None:
    fitted = engine({"retriever": "blocks"})
    closed_gate.clear()
    faulty.Blocks.entered.clear()
    states = [fitted.retrieve(1, deadline_ms=1).status["blocks"] for _ in range(2 * MOST_ABANDONED)]
    assert [one.state for one in states].count("skipped") >= MOST_ABANDONED
    assert len(faulty.Blocks.entered) <= MOST_ABANDONED
    assert states[-1].detail == "not called, since abandoned calls still run"


def test_failing_path_is_no_longer_called(misfits: None) -> None:
    fitted = engine({"retriever": "raises"})
    states = [fitted.retrieve(1).status["raises"] for _ in range(FAILURES_TO_OPEN + 2)]
    assert states[0].state == "failed"
    assert states[-1].state == "skipped"
    assert states[-1].detail == "not called, since it failed several times in a row"


def test_breaker_opens_half_opens_and_closes() -> None:
    now = [0.0]
    breaker = Breaker(lambda: now[0])
    for _ in range(FAILURES_TO_OPEN):
        assert breaker.allows()
        breaker.record(succeeded=False)
    assert not breaker.allows()
    now[0] += SECONDS_OPEN
    assert breaker.allows(), "one call is let through"
    assert not breaker.allows(), "only one"
    breaker.record(succeeded=False)
    assert not breaker.allows()
    now[0] += SECONDS_OPEN
    assert breaker.allows()
    breaker.record(succeeded=True)
    assert breaker.allows()
    assert breaker.allows()


def test_one_success_resets_the_count() -> None:
    breaker = Breaker(lambda: 0.0)
    for _ in range(3):
        for _ in range(FAILURES_TO_OPEN - 1):
            breaker.record(succeeded=False)
        breaker.record(succeeded=True)
    assert breaker.allows()


def test_workers_end_when_closed() -> None:
    workers: Workers[int] = Workers("test")
    assert workers.submit(lambda: 7).result(BOUND_S) == 7
    threads = [thread for thread in threading.enumerate() if thread.name == "multirecall-test"]
    assert threads
    assert all(thread.daemon for thread in threads)
    workers.close()
    for thread in threads:
        thread.join(BOUND_S)
        assert not thread.is_alive()


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


def test_process_exits_while_a_path_hangs() -> None:
    script = """
        import threading
        from multirecall.engine.workers import Workers
        begun = threading.Event()
        def hang():
            begun.set()
            threading.Event().wait()
        Workers("hung").submit(hang)
        begun.wait(10)
        print("leaving")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (0, "leaving\n")

"""The threads that paths run on: bounded, left behind, and gone in the end."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
import threading

import pytest

from multirecall.engine.workers import MOST_ABANDONED, MOST_THREADS, Workers

BOUND_S = 2.0


class Stuck:
    """Calls that hang until they are let go."""

    def __init__(self) -> None:
        self.gate, self.entered = threading.Event(), threading.Semaphore(0)

    def __call__(self) -> int:
        self.entered.release()
        self.gate.wait(60)
        return 1

    def wait_for(self, n: int) -> None:
        for _ in range(n):
            assert self.entered.acquire(timeout=BOUND_S)


def threads_of(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == f"multirecall-{name}"]


def all_ended(threads: list[threading.Thread]) -> bool:
    for thread in threads:
        thread.join(BOUND_S)
    return not any(thread.is_alive() for thread in threads)


def test_abandoned_calls_are_counted_until_they_return() -> None:
    workers: Workers[int] = Workers("test")
    gate, entered = threading.Event(), threading.Semaphore(0)

    def hang() -> int:
        entered.release()
        gate.wait(60)
        return 1

    calls = [workers.submit(hang, lambda _: 0) for _ in range(MOST_ABANDONED)]
    for _ in calls:
        assert entered.acquire(timeout=BOUND_S)
    for number, call in enumerate(calls):
        assert workers.clogged == (number == MOST_ABANDONED)
        workers.abandon(call)
    assert workers.clogged
    gate.set()
    for call in calls:
        assert call.result(BOUND_S) == 1
    assert not workers.clogged
    workers.close()


def test_calls_that_never_began_are_cancelled_not_abandoned() -> None:
    workers: Workers[int] = Workers("test")
    gate, entered = threading.Event(), threading.Semaphore(0)
    ran = threading.Event()

    def hang() -> int:
        entered.release()
        gate.wait(60)
        return 1

    running = [workers.submit(hang, lambda _: 0) for _ in range(MOST_THREADS)]
    for _ in running:
        assert entered.acquire(timeout=BOUND_S)
    queued = [workers.submit(lambda: int(ran.set() is None), lambda _: 0) for _ in range(10)]  # type: ignore[func-returns-value]
    for call in queued:
        workers.abandon(call)
    assert not workers.clogged
    gate.set()
    assert [call.result(BOUND_S) for call in running] == [1] * MOST_THREADS
    workers.close()
    assert not ran.is_set()


def test_workers_end_when_closed() -> None:
    workers: Workers[int] = Workers("closed")
    assert workers.submit(lambda: 7, lambda _: 0).result(BOUND_S) == 7
    threads = [thread for thread in threading.enumerate() if thread.name == "multirecall-closed"]
    assert threads
    assert all(thread.daemon for thread in threads)
    workers.close()
    for thread in threads:
        thread.join(BOUND_S)
        assert not thread.is_alive()


def test_process_exits_while_a_path_hangs() -> None:
    script = """
        import threading
        from multirecall.engine.workers import Workers
        begun = threading.Event()
        def hang():
            begun.set()
            threading.Event().wait()
        Workers("hung").submit(hang, print)
        begun.wait(10)
        print("leaving")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (0, "leaving\n")


def test_abandoned_calls_take_no_place_from_others() -> None:
    workers: Workers[int] = Workers("crowded")
    stuck = Stuck()
    calls = [workers.submit(stuck, lambda _: 0) for _ in range(MOST_THREADS)]
    stuck.wait_for(MOST_THREADS)
    waiting = workers.submit(lambda: 7, lambda _: 0)
    for call in calls[:2]:
        workers.abandon(call)
    assert waiting.result(BOUND_S) == 7
    stuck.gate.set()
    workers.close()


def test_threads_are_bounded_whatever_happens() -> None:
    workers: Workers[int] = Workers("bounded")
    stuck = Stuck()
    calls = [workers.submit(stuck, lambda _: 0) for _ in range(3 * (MOST_THREADS + MOST_ABANDONED))]
    stuck.wait_for(MOST_THREADS)
    for call in calls:
        workers.abandon(call)
    assert workers.clogged
    assert len(threads_of("bounded")) <= MOST_THREADS + MOST_ABANDONED
    stuck.gate.set()
    workers.close()
    assert all_ended(threads_of("bounded"))
    assert (workers.running, workers.abandoned) == (0, 0)


def test_call_on_a_closed_pool_is_still_made_even_beside_one_that_hangs() -> None:
    """A request that began on a state must finish on it, though the state was replaced meanwhile."""
    workers: Workers[int] = Workers("late-comer")
    stuck = Stuck()
    hung = workers.submit(stuck, lambda _: 0)
    stuck.wait_for(1)
    workers.abandon(hung)
    workers.close()
    workers.close()
    assert [workers.submit(lambda: 7, lambda _: 0).result(BOUND_S) for _ in range(5)] == [7] * 5
    stuck.gate.set()
    assert all_ended(threads_of("late-comer"))


def test_closing_while_others_submit_loses_no_call() -> None:
    for _ in range(50):
        workers: Workers[int] = Workers("race")
        start = threading.Barrier(4)
        answers: list[int] = []

        def submit(workers: Workers[int] = workers, start: threading.Barrier = start) -> None:
            start.wait()
            answers.extend([workers.submit(lambda: 7, lambda _: 0).result(BOUND_S) for _ in range(5)])  # noqa: B023

        threads = [threading.Thread(target=submit) for _ in range(3)]
        for thread in threads:
            thread.start()
        start.wait()
        workers.close()
        assert all_ended(threads)
        assert answers == [7] * 15
    assert all_ended(threads_of("race"))


def test_thread_that_cannot_start_fails_the_call_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    workers: Workers[str] = Workers("starved")

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        assert workers.submit(lambda: "ran", str).result(BOUND_S) == "can't start new thread"
    assert workers.submit(lambda: "ran", str).result(BOUND_S) == "ran"
    workers.close()


def test_pool_that_nobody_holds_lets_its_threads_go() -> None:
    workers: Workers[int] = Workers("dropped")
    assert workers.submit(lambda: 7, lambda _: 0).result(BOUND_S) == 7
    threads = threads_of("dropped")
    assert threads
    del workers
    gc.collect()
    assert all_ended(threads)

"""The breaker: when it opens, whom it lets through, how it closes, and what it counts."""

from __future__ import annotations

import threading

from multirecall.engine.breaker import FAILURES_TO_OPEN, FIRST_RETRY_S, LONGEST_RETRY_S, LOST_PROBE_S, Breaker


class Clock:
    """Stands still unless told otherwise."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def admitted(breaker: Breaker) -> int:
    ticket = breaker.admit()
    assert ticket is not None
    return ticket


def state_of(breaker: Breaker) -> str:
    return breaker.tally.state


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(clock)
    for _ in range(FAILURES_TO_OPEN):
        breaker.record(admitted(breaker), "failed", "broken")
    assert state_of(breaker) == "open"
    return breaker


def test_opens_half_opens_and_closes() -> None:
    clock = Clock()
    breaker = opened(clock)
    assert breaker.admit() is None
    clock.now += FIRST_RETRY_S
    probe = admitted(breaker)
    assert state_of(breaker) == "half_open"
    assert breaker.admit() is None, "only one at a time"
    breaker.record(probe, "ok")
    assert state_of(breaker) == "closed"
    assert breaker.tally.failures == 0
    assert breaker.tally.retry_in_s is None
    admitted(breaker)
    admitted(breaker)


def test_lateness_opens_it_as_failure_does() -> None:
    breaker = Breaker(Clock())
    for state in ("late", "failed", "late", "failed", "late"):
        breaker.record(admitted(breaker), state, f"it was {state}")
    assert breaker.admit() is None
    assert breaker.failed_by == "late"
    assert breaker.tally.last_fault == "it was late"


def test_one_success_resets_the_count() -> None:
    breaker = Breaker(Clock())
    for _ in range(3):
        for _ in range(FAILURES_TO_OPEN - 1):
            breaker.record(admitted(breaker), "failed")
        breaker.record(admitted(breaker), "ok")
    admitted(breaker)


def test_failing_probes_wait_longer_and_longer_up_to_a_limit() -> None:
    clock = Clock()
    breaker = opened(clock)
    waits = []
    for _ in range(10):
        wait = breaker.tally.retry_in_s
        assert wait is not None
        waits.append(wait)
        clock.now += wait
        breaker.record(admitted(breaker), "late")
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    clock.now += LONGEST_RETRY_S
    breaker.record(admitted(breaker), "ok")
    for _ in range(FAILURES_TO_OPEN):
        breaker.record(admitted(breaker), "failed")
    assert breaker.tally.retry_in_s == FIRST_RETRY_S


def test_probe_that_never_returns_does_not_block_recovery() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += FIRST_RETRY_S
    lost = admitted(breaker)
    clock.now += LOST_PROBE_S - 0.5
    assert breaker.admit() is None
    clock.now += 0.5
    other = admitted(breaker)
    breaker.record(lost, "late")
    assert state_of(breaker) == "half_open", "the lost probe no longer speaks for the path"
    breaker.record(other, "ok")
    assert state_of(breaker) == "closed"


def test_straggler_is_not_taken_for_the_probe() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    straggler, other = admitted(breaker), admitted(breaker)
    for _ in range(FAILURES_TO_OPEN):
        breaker.record(admitted(breaker), "failed")
    breaker.record(other, "ok")
    assert state_of(breaker) == "open"
    clock.now += FIRST_RETRY_S
    probe = admitted(breaker)
    breaker.record(straggler, "failed")
    assert state_of(breaker) == "half_open"
    breaker.record(probe, "ok")
    assert state_of(breaker) == "closed"
    assert breaker.tally.counts == {"ok": 2, "partial": 0, "late": 0, "failed": FAILURES_TO_OPEN + 1, "skipped": 0}


def test_exactly_one_of_many_threads_gets_the_probe() -> None:
    clock = Clock()
    breaker = opened(clock)
    for _ in range(20):
        clock.now += LONGEST_RETRY_S
        start = threading.Barrier(8)
        tickets: list[int | None] = []

        def ask(start: threading.Barrier = start, tickets: list[int | None] = tickets) -> None:
            start.wait()
            tickets.append(breaker.admit())

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (probe,) = [ticket for ticket in tickets if ticket is not None]
        breaker.record(probe, "failed")


def test_counts_lose_nothing() -> None:
    n_threads = 8
    breaker = Breaker(Clock())

    def call() -> None:
        for _ in range(500):
            breaker.record(admitted(breaker), "ok")
            breaker.count("skipped")

    threads = [threading.Thread(target=call) for _ in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert breaker.tally.counts == {
        "ok": 500 * n_threads,
        "partial": 0,
        "late": 0,
        "failed": 0,
        "skipped": 500 * n_threads,
    }
    assert breaker.faults == 500 * n_threads


def test_reset_forgets_everything() -> None:
    breaker = opened(Clock())
    breaker.reset()
    assert breaker.tally == Breaker(Clock()).tally

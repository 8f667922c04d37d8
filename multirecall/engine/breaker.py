"""The circuit breaker that stops calling a path which keeps failing, and counts how its calls end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal, NamedTuple

from multirecall.result import State

FAILURES_TO_OPEN = 5
FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 60.0
LOST_PROBE_S = 30.0
"""Seconds after which a probe that has not ended no longer blocks the next probe."""

BreakerState = Literal["closed", "open", "half_open"]


class Tally(NamedTuple):
    """A snapshot of a breaker; `retry_in_s` is None while the breaker is closed."""

    state: BreakerState
    failures: int
    counts: dict[State, int]
    last_fault: str | None
    retry_in_s: float | None


class Breaker:
    """Opens after five failures in a row, late answers among them, then lets one probe through at a time.

    The first probe is allowed after `first_retry_s`. Each probe that fails doubles the wait, up to `longest_retry_s`. A
    probe that succeeds closes the breaker. Each call gets a ticket when it is admitted, and its outcome is recorded
    with that ticket. If the breaker has changed its state in the meantime, the outcome is only counted. So a late call
    is never mistaken for the probe.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        first_retry_s: float = FIRST_RETRY_S,
        longest_retry_s: float = LONGEST_RETRY_S,
    ) -> None:
        self._clock = clock
        self._first_retry_s, self._longest_retry_s = first_retry_s, longest_retry_s
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Begin anew, closed and with nothing counted."""
        with self._lock:
            self._state: BreakerState = "closed"
            self._changes = 0
            self._failures = 0
            self._failed_by: State = "failed"
            self._fault: str | None = None
            self._wait_s = self._first_retry_s
            self._retry_at = 0.0
            self._counts: dict[State, int] = {"ok": 0, "partial": 0, "late": 0, "failed": 0, "skipped": 0}

    def admit(self) -> int | None:
        """A ticket for a call of the path, or None where it is not to be called now."""
        ticket = self._changes  # read before the state, so that a race can only make the ticket too old
        return ticket if self._state == "closed" else self._admit_probe()

    def record(self, ticket: int, state: State, fault: str | None = None) -> None:
        """Take note of how an admitted call ended."""
        with self._lock:
            self._counts[state] += 1
            if fault is not None:
                self._fault = fault
            if ticket != self._changes:
                return
            if state == "ok":
                self._failures = 0
                if self._state == "half_open":
                    self._wait_s = self._first_retry_s
                    self._turn("closed", 0.0)
                return
            self._failures += 1
            self._failed_by = state
            if self._state == "half_open" or self._failures >= FAILURES_TO_OPEN:
                self._turn("open", self._wait_s)
                self._wait_s = min(2 * self._wait_s, self._longest_retry_s)

    def excuse(self, ticket: int) -> None:
        """Record that an admitted call failed for no fault of the path. It does not count; the next probe may begin."""
        with self._lock:
            if ticket == self._changes and self._state == "half_open":
                self._turn("open", 0.0)

    def count(self, state: State, fault: str | None = None) -> None:
        """Count a request in which the path was not called, or had no turn; `fault` says why, if that is new."""
        with self._lock:
            self._counts[state] += 1
            self._fault = fault or self._fault

    @property
    def failed_by(self) -> State:
        """How the last unsuccessful call ended: `late` or `failed`."""
        return self._failed_by

    @property
    def faults(self) -> int:
        """The number of requests that went without the path. It never falls."""
        with self._lock:
            return sum(self._counts.values()) - self._counts["ok"]

    @property
    def tally(self) -> Tally:
        """A snapshot."""
        with self._lock:
            closed = self._state == "closed"
            left = None if closed else max(0.0, self._retry_at - self._clock())
            return Tally(self._state, self._failures, dict(self._counts), self._fault, left)

    def _admit_probe(self) -> int | None:
        with self._lock:
            if self._state != "closed":
                if self._clock() < self._retry_at:
                    return None
                self._turn("half_open", LOST_PROBE_S)
            return self._changes

    def _turn(self, state: BreakerState, seconds: float) -> None:
        self._state = state
        self._changes += 1
        self._retry_at = self._clock() + seconds

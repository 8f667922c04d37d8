"""The circuit breaker that keeps a failing path from being called each time."""

from __future__ import annotations

import threading
from collections.abc import Callable

FAILURES_TO_OPEN = 5
SECONDS_OPEN = 30.0


class Breaker:
    """Opens after five failures in a row; every 30 s it then lets one call through to try again."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._retry_at = 0.0

    def allows(self) -> bool:
        """Whether the path may be called now."""
        with self._lock:
            if self._failures < FAILURES_TO_OPEN:
                return True
            if self._clock() < self._retry_at:
                return False
            self._retry_at = self._clock() + SECONDS_OPEN
            return True

    def record(self, succeeded: bool) -> None:
        """Take note of how a call ended."""
        if succeeded and not self._failures:
            return
        with self._lock:
            self._failures = 0 if succeeded else self._failures + 1
            if self._failures == FAILURES_TO_OPEN:
                self._retry_at = self._clock() + SECONDS_OPEN

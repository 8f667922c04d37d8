"""How long the shards take, for the decision when another replica is asked."""

from __future__ import annotations

import threading

import numpy as np

KEPT = 512
"""The number of latencies, newest first, whose quantile counts."""

LEAST = 32
"""Below so many latencies nothing is known yet."""

RENEWED = 16
"""The quantile is computed again after so many new latencies."""


class Latencies:
    """The 95th percentile of the newest latencies. Any number of threads may call it."""

    def __init__(self) -> None:
        self._seconds = np.empty(KEPT)
        self._count = 0
        self._p95: float | None = None
        self._lock = threading.Lock()

    def note(self, seconds: float) -> None:
        """Take note of one latency."""
        with self._lock:
            self._seconds[self._count % KEPT] = seconds
            self._count += 1
            if self._count >= LEAST and self._count % RENEWED == 0:
                self._p95 = float(np.quantile(self._seconds[: min(self._count, KEPT)], 0.95))

    @property
    def p95(self) -> float | None:
        """Seconds; None while too few are known."""
        return self._p95

"""Waiting for what another thread or process is about to do."""

from __future__ import annotations

import threading
from collections.abc import Callable

PATIENCE_S = 60


def eventually(holds: Callable[[], object]) -> None:
    """Wait until `holds()`, asking again and again, but not for ever."""
    done = threading.Event()
    for _ in range(PATIENCE_S * 20):
        if holds():
            return
        done.wait(0.05)
    raise AssertionError("it does not come true")

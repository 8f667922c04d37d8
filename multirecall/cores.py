"""How many cores this process may use, and how many of them a linear algebra library takes."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any, Literal

from multirecall.validation import AUTO

Threads = int | Literal["auto"]
"""A number of threads, or "auto": one for each usable core."""

CGROUP = Path("/sys/fs/cgroup")
"""Where Linux shows a container the limits of its own processes."""

_lock = threading.Lock()
_limits: list[int] = []
_limiter: Any = None


def usable_cores() -> int:
    """The cores that this process may use, at least 1: by its affinity, and by the CPU time of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    return max(1, cores if quota is None else min(cores, ceil(quota)))


def number_of_threads(threads: Threads) -> int:
    """The number that `threads` stands for on this machine."""
    return usable_cores() if threads == AUTO else int(threads)


def _quota() -> float | None:
    """The CPU seconds a second that the container gets, by version 2 or 1 of control groups; None: no limit."""
    for quota_file, period_file in (("cpu.max", None), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, *rest = (CGROUP / quota_file).read_text(encoding="ascii").split()
            period = rest[0] if period_file is None else (CGROUP / period_file).read_text(encoding="ascii")
            return int(quota) / int(period) if quota != "max" and int(quota) > 0 else None
        except (OSError, ValueError, IndexError, ZeroDivisionError):
            continue
    return None


@contextmanager
def blas_threads(n: int) -> Iterator[None]:
    """Within it, the linear algebra of numpy and scipy has `n` threads.

    The number holds for the whole process. Where several bodies run at once, the least of their numbers holds; the
    last one to end restores the former number.
    """
    with _lock:
        _limits.append(n)
        _apply()
    try:
        yield
    finally:
        with _lock:
            _limits.remove(n)
            _apply()


def _apply() -> None:
    from threadpoolctl import threadpool_limits

    global _limiter
    if _limiter is not None:
        _limiter.restore_original_limits()
        _limiter = None
    if _limits:
        _limiter = threadpool_limits(min(_limits), user_api="blas")

"""A pool of daemon threads for one path. A call that hangs blocks neither the request nor the end of the process."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Generic, TypeVar
from weakref import WeakSet

T = TypeVar("T")

MOST_THREADS = 16
"""The most calls of one path that run at once while requests wait for them. Further calls queue."""

MOST_ABANDONED = 16
"""The number of abandoned calls of one path, still running, at which no further call begins."""


class Workers(Generic[T]):
    """A pool of threads for one path. It grows with concurrent calls, and its threads never keep the process alive.

    Abandoned calls do not count against `MOST_THREADS`. So there are at most `MOST_THREADS + MOST_ABANDONED` threads.
    """

    def __init__(self, name: str) -> None:
        self._name = f"multirecall-{name}"
        self._begin()
        _pools.add(self)

    def _begin(self) -> None:
        """Start without threads. A forked child must do so too, because it does not have its parent's threads."""
        self._lock = threading.Lock()
        self._tasks: queue.SimpleQueue[Task[T] | None] = queue.SimpleQueue()
        self._threads = 0
        self._open = 0
        self._abandoned = 0
        self._closed = False

    @property
    def clogged(self) -> bool:
        """Whether so many abandoned calls still run that no further one should start."""
        return self._abandoned >= MOST_ABANDONED

    @property
    def abandoned(self) -> int:
        """The number of calls that still run although their request has gone on without them."""
        return self._abandoned

    @property
    def running(self) -> int:
        """The number of calls that a request waits for, including those in the queue."""
        return max(0, self._open - self._abandoned)

    def submit(self, function: Callable[[], T], crash_result: Callable[[BaseException], T]) -> Future[T]:
        """Run `function` on a thread. If it raises or no thread can start, `crash_result` gives a result."""
        future: Future[T] = Future()
        future.add_done_callback(lambda _: self._note_end())
        try:
            self._hand_over((future, function, crash_result))
        except RuntimeError as fault:  # the system cannot start another thread
            future.set_result(crash_result(fault))
        return future

    def abandon(self, future: Future[T]) -> None:
        """Give up waiting for a call. If it is running, it counts as abandoned until it ends."""
        if future.cancel():
            return
        with self._lock:
            self._abandoned += 1
            with suppress(RuntimeError):  # the queue then waits until a thread is free
                self._grow()
        future.add_done_callback(lambda _: self._note_return())

    def close(self) -> None:
        """Let each thread end when it is idle. A call that still comes gets a thread of its own."""
        with self._lock:
            self._closed = True
            threads, self._threads = self._threads, 0
            for _ in range(threads):
                self._tasks.put(None)

    def __del__(self) -> None:
        self.close()

    def _hand_over(self, task: Task[T]) -> None:
        """It runs under the lock, so that no task is queued behind the end marks of `close`."""
        with self._lock:
            self._open += 1
            if self._closed:
                self._start(_run, task)
                return
            self._grow()
            self._tasks.put(task)

    def _grow(self) -> None:
        most = MOST_THREADS + min(self._abandoned, MOST_ABANDONED)
        if not self._closed and self._threads < min(self._open, most):
            self._start(_work, self._tasks)
            self._threads += 1

    def _start(self, target: Callable[[Any], None], argument: object) -> None:
        threading.Thread(target=target, args=(argument,), name=self._name, daemon=True).start()

    def _note_end(self) -> None:
        with self._lock:
            self._open -= 1

    def _note_return(self) -> None:
        with self._lock:
            self._abandoned -= 1


_pools: WeakSet[Workers[Any]] = WeakSet()


def _begin_in_child() -> None:
    for pool in list(_pools):
        pool._begin()


os.register_at_fork(after_in_child=_begin_in_child)

Task = tuple[Future[T], Callable[[], T], Callable[[BaseException], T]]


def _work(tasks: queue.SimpleQueue[Task[T] | None]) -> None:
    """The loop of one thread. It holds the queue only, so that an unused pool and its threads can be collected."""
    while (task := tasks.get()) is not None:
        _run(task)
        del task  # an idle thread must not keep a retriever alive


def _run(task: Task[T]) -> None:
    future, function, crash_result = task
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = function()
    except BaseException as fault:  # noqa: BLE001 - the waiting request must learn of it, whatever it is
        result = crash_result(fault)
    future.set_result(result)

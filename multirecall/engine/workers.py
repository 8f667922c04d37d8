"""Daemon threads that a path can hang on without holding up the request or the process."""

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
"""Calls of one path that run at the same time while somebody waits for them; further ones wait for their turn."""

MOST_ABANDONED = 16
"""Abandoned calls of one path that still run before no further one begins."""


class Workers(Generic[T]):
    """A pool for one path. It grows with concurrent calls; its threads never keep the process alive.

    Abandoned calls take no place from others; with them, `MOST_THREADS + MOST_ABANDONED` threads are the most ever.
    """

    def __init__(self, name: str) -> None:
        self._name = f"multirecall-{name}"
        self._begin()
        _pools.add(self)

    def _begin(self) -> None:
        """Begin without a thread, as a child by fork must, whose parent's threads it does not have."""
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
        """Calls that run although nobody waits for them any more."""
        return self._abandoned

    @property
    def running(self) -> int:
        """Calls that somebody waits for, those in the queue among them."""
        return max(0, self._open - self._abandoned)

    def submit(self, function: Callable[[], T], crashed: Callable[[BaseException], T]) -> Future[T]:
        """Run `function` on a thread of the pool; should it raise, or no thread start, `crashed` makes the result."""
        future: Future[T] = Future()
        future.add_done_callback(lambda _: self._note_end())
        try:
            self._hand_over((future, function, crashed))
        except RuntimeError as fault:  # the system has no thread left
            future.set_result(crashed(fault))
        return future

    def abandon(self, future: Future[T]) -> None:
        """Give up waiting for a call; if it runs already, it counts as abandoned until it ends."""
        if future.cancel():
            return
        with self._lock:
            self._abandoned += 1
            with suppress(RuntimeError):  # then what is queued waits for a thread to return
                self._grow()
        future.add_done_callback(lambda _: self._note_return())

    def close(self) -> None:
        """Let each thread end once it has nothing to do; a call that still comes gets a thread of its own."""
        with self._lock:
            self._closed = True
            threads, self._threads = self._threads, 0
            for _ in range(threads):
                self._tasks.put(None)

    def __del__(self) -> None:
        self.close()

    def _hand_over(self, task: Task[T]) -> None:
        """Under the lock, so that no task ever comes to stand behind the end marks of `close`."""
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
    """Knows the queue alone, so that a pool that nobody holds any more can go, and its threads with it."""
    while (task := tasks.get()) is not None:
        _run(task)
        del task  # an idle thread must not keep a retriever alive


def _run(task: Task[T]) -> None:
    future, function, crashed = task
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = function()
    except BaseException as fault:  # noqa: BLE001 - the waiting request must learn of it, whatever it is
        result = crashed(fault)
    future.set_result(result)

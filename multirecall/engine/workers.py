"""Daemon threads that a path can hang on without holding up the request or the process."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")

MOST_THREADS = 16
"""Calls of one path that run at the same time; further ones wait for their turn."""

MOST_ABANDONED = 4
"""Abandoned calls of one path that still run before it is no longer called."""


class Workers(Generic[T]):
    """A pool for one path. It grows with concurrent calls; its threads never keep the process alive."""

    def __init__(self, name: str) -> None:
        self._name = name
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

    def submit(self, function: Callable[[], T], crashed: Callable[[BaseException], T]) -> Future[T]:
        """Run `function` on a thread of the pool; should it raise, `crashed` makes the result."""
        future: Future[T] = Future()
        with self._lock:
            self._open += 1
            if self._threads < min(self._open, MOST_THREADS):
                self._threads += 1
                threading.Thread(target=self._work, name=f"multirecall-{self._name}", daemon=True).start()
        future.add_done_callback(lambda _: self._ended())
        self._tasks.put((future, function, crashed))
        if self._closed:
            self.close()
        return future

    def abandon(self, future: Future[T]) -> None:
        """Give up waiting for a call; if it runs already, it counts as abandoned until it ends."""
        if future.cancel():
            return
        with self._lock:
            self._abandoned += 1
        future.add_done_callback(lambda _: self._returned())

    def close(self) -> None:
        """Let each thread end once it has nothing to do."""
        with self._lock:
            self._closed = True
            threads, self._threads = self._threads, 0
        for _ in range(threads):
            self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            _run(task)
            del task  # an idle thread must not keep a retriever alive

    def _ended(self) -> None:
        with self._lock:
            self._open -= 1

    def _returned(self) -> None:
        with self._lock:
            self._abandoned -= 1


Task = tuple[Future[T], Callable[[], T], Callable[[BaseException], T]]


def _run(task: Task[T]) -> None:
    future, function, crashed = task
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = function()
    except BaseException as fault:  # noqa: BLE001 - the waiting request must learn of it, whatever it is
        result = crashed(fault)
    future.set_result(result)

"""Daemon threads that a path can hang on without holding up the request or the process."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")

MOST_ABANDONED = 4
"""Calls of one path that may hang at the same time before it is no longer called."""


class Workers(Generic[T]):
    """A pool for one path. It grows with concurrent calls; its threads never keep the process alive."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._tasks: queue.SimpleQueue[tuple[Future[T], Callable[[], T]] | None] = queue.SimpleQueue()
        self._threads = 0
        self._open = 0
        self._abandoned = 0

    @property
    def clogged(self) -> bool:
        """Whether so many abandoned calls still run that no further one should start."""
        return self._abandoned >= MOST_ABANDONED

    def submit(self, function: Callable[[], T]) -> Future[T]:
        """Run `function`, which must not raise, on a thread of the pool."""
        future: Future[T] = Future()
        with self._lock:
            self._open += 1
            if self._open > self._threads:
                self._threads += 1
                threading.Thread(target=self._work, name=f"multirecall-{self._name}", daemon=True).start()
        future.add_done_callback(lambda _: self._closed())
        self._tasks.put((future, function))
        return future

    def abandon(self, future: Future[T]) -> None:
        """Give up waiting for a call; if it runs already, it counts as abandoned until it ends."""
        if future.cancel():
            return
        with self._lock:
            self._abandoned += 1
        future.add_done_callback(lambda _: self._returned())

    def close(self) -> None:
        """Let idle threads end."""
        with self._lock:
            threads, self._threads = self._threads, 0
        for _ in range(threads):
            self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            future, function = task
            if future.set_running_or_notify_cancel():
                future.set_result(function())

    def _closed(self) -> None:
        with self._lock:
            self._open -= 1

    def _returned(self) -> None:
        with self._lock:
            self._abandoned -= 1

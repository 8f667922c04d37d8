"""Several tasks of a fit at once, on threads of their own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from time import monotonic
from typing import Generic, TypeVar

from multirecall.blocks import blocks_on
from multirecall.cores import Threads, blas_threads, number_of_threads
from multirecall.progress import Advance, Progress

T = TypeVar("T")

GRACE_S = 2.0
"""Seconds that the tasks which still run get to end once one has failed. They end when they next report progress."""


@contextmanager
def fit_threads(threads: Threads, n_blas: int = 1) -> Iterator[int]:
    """Within it, blocks of rows and linear algebra have the threads of a fit; yields how many `threads` stands for.

    The linear algebra of numpy and scipy has `n_blas` threads: its results depend on the number.
    """
    n_threads = number_of_threads(threads)
    with blas_threads(n_blas), blocks_on(n_threads):
        yield n_threads


class Stopped(BaseException):
    """Ends a task whose result nobody waits for any more; no `Exception`, so that no plug-in takes it for a fault."""


def run_together(tasks: Sequence[Callable[[Progress], T]], n_threads: int, progress: Progress) -> list[T]:
    """The results of all tasks, in their order. At most `n_threads` run at once, and they begin in their order.

    Each task has a copy of the caller's context. With one thread, the caller's own does everything. Where a task
    fails, or the caller is interrupted, none begins any more, those that run end when they next report progress, and
    the call raises; of several failures, that of the first task.

    Args:
        tasks: each takes where to report its progress. They share nothing that one of them writes.
        n_threads: of the tasks; they may have further threads of their own.
        progress: what they report to.
    """
    if n_threads == 1 or len(tasks) < 2:
        return [task(progress) for task in tasks]
    crew = _Crew(tasks, progress)
    threads = [
        threading.Thread(target=crew.work, daemon=True, name=f"multirecall-fit-{number}")
        for number in range(min(n_threads, len(tasks)))
    ]
    try:
        for thread in threads:
            thread.start()
        for _ in threads:
            crew.left.acquire()
            if crew.stopped.is_set():
                break
    finally:
        if crew.stopped.is_set() or len(crew.results) < len(tasks):
            crew.stopped.set()
            end = monotonic() + GRACE_S
            for thread in threads:
                if thread.ident is not None:
                    thread.join(max(end - monotonic(), 0.0))
    if crew.faults:
        raise crew.faults[min(crew.faults)]
    return [crew.results[number] for number in range(len(tasks))]


class _Crew(Generic[T]):
    """Threads that take the next task until none is left or one has failed.

    Attributes:
        results, faults: what the tasks that have ended returned or raised, by the number of the task.
        stopped: set once no result is wanted any more.
        left: released by each thread as it ends.
    """

    def __init__(self, tasks: Sequence[Callable[[Progress], T]], progress: Progress) -> None:
        self.results: dict[int, T] = {}
        self.faults: dict[int, BaseException] = {}
        self.stopped = threading.Event()
        self.left = threading.Semaphore(0)
        self._waiting = deque((number, copy_context(), task) for number, task in enumerate(tasks))
        self._progress = _Stoppable(progress, self.stopped)

    def work(self) -> None:
        """Do tasks until there is no more to do."""
        try:
            while not self.stopped.is_set():
                try:
                    number, context, task = self._waiting.popleft()
                except IndexError:
                    return
                try:
                    self.results[number] = context.run(task, self._progress)
                except Stopped:
                    return
                except BaseException as fault:  # noqa: BLE001 - the caller raises it
                    self.faults[number] = fault
                    self.stopped.set()
        finally:
            self.left.release()


class _Stoppable:
    """A `Progress` that ends a task, at its next report, once `stopped` is set."""

    def __init__(self, progress: Progress, stopped: threading.Event) -> None:
        self._progress = progress
        self._stopped = stopped

    @contextmanager
    def task(self, name: str, total: int, *, steady: bool = True) -> Iterator[Advance]:
        """See `Progress.task`."""
        with self._progress.task(name, total, steady=steady) as advance:

            def checked(steps: int, note: str = "") -> None:
                if self._stopped.is_set():
                    raise Stopped
                advance(steps, note)

            yield checked

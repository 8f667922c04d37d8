"""Work on blocks of rows: by the threads of this process, or where the caller of a fit says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from typing import Any, Protocol

from numpy.typing import NDArray

Arrays = tuple[NDArray[Any], ...]

Work = Callable[..., Arrays]
"""A function at the top of a module, of a first row, the row behind the last, and arguments that are arrays or numbers.

Its result depends on these alone. It does not change the arrays, which may be read-only.
"""

Bounds = Sequence[tuple[int, int]]
"""The first row of each block, and the row behind its last."""


class Runner(Protocol):
    """Calls `work(start, stop, *arguments)` for each block, and yields the results in the order of the blocks."""

    def __call__(self, work: Work, arguments: Sequence[Any], bounds: Bounds, threads: int) -> Iterator[Arrays]:
        """`threads` is the number of threads of this process, if any blocks are done in it."""


_least: ContextVar[int] = ContextVar("least", default=1)


@contextmanager
def blocks_on(threads: int) -> Iterator[None]:
    """Let blocks that are done in this process have at least so many threads within the body.

    A retriever may have fewer because the rest of its fit depends on their number. Its blocks do not.
    """
    token = _least.set(threads)
    try:
        yield
    finally:
        _least.reset(token)


def threads_of_blocks(threads: int) -> int:
    """The threads of a step of a fit that has the same result on any number: `threads`, or more by `blocks_on`."""
    return max(threads, _least.get())


def run_here(work: Work, arguments: Sequence[Any], bounds: Bounds, threads: int) -> Iterator[Arrays]:
    """A `Runner` of this process, with `threads` or those of `blocks_on`."""
    with ThreadPoolExecutor(threads_of_blocks(threads)) as pool:
        yield from pool.map(lambda bound: work(*bound, *arguments), bounds)


_runner: ContextVar[Runner] = ContextVar("runner", default=run_here)


def run_blocks(work: Work, arguments: Sequence[Any], bounds: Bounds, threads: int) -> Iterator[Arrays]:
    """Call `work` for each block by the runner of the context, by default `run_here`."""
    return _runner.get()(work, arguments, bounds, threads)


@contextmanager
def blocks_run_by(runner: Runner) -> Iterator[None]:
    """Let `runner` do the blocks of every fit in the body."""
    token = _runner.set(runner)
    try:
        yield
    finally:
        _runner.reset(token)


def name_of(work: Work) -> str:
    """The name by which `work_named` finds a function in another process."""
    return f"{work.__module__}:{work.__name__}"


def work_named(name: str) -> Work:
    """The function of a name; only those of this package are found.

    Raises:
        ValueError: it is a name of something else.
    """
    module, _, function = name.partition(":")
    if not module.startswith("multirecall."):
        raise ValueError(f"{name!r} is no function of multirecall")
    work: Work = getattr(import_module(module), function)
    return work

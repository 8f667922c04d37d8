"""Progress of long work: a bar on a terminal, silence elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]


class Progress(Protocol):
    """What long work reports to."""

    def task(self, name: str, total: int) -> AbstractContextManager[Advance]:
        """Begin a task of `total` steps; inside the block, `advance(n)` reports `n` more steps done."""


class Silent:
    """Reports nothing."""

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Advance]:
        """See `Progress.task`."""
        yield lambda _: None


SILENT: Progress = Silent()


@contextmanager
def terminal_progress() -> Iterator[Progress]:
    """Bars on standard error where that is a terminal, else `SILENT`."""
    if not sys.stderr.isatty():
        yield SILENT
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import (
        Progress as Bars,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        yield _Terminal(bars.add_task, bars.advance)


class _Terminal:
    def __init__(self, add: Callable[..., int], advance: Callable[..., None]) -> None:
        self._add = add
        self._advance = advance

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Advance]:
        task = self._add(name, total=total)
        yield lambda steps: self._advance(task, steps)

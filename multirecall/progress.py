"""Progress of long work: a bar on a terminal, silence elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress as Bars


class Advance(Protocol):
    """Reports that steps of a task are done."""

    def __call__(self, steps: int, note: str = "") -> None:
        """`steps` more are done; `note` stands beside the bar, for instance a loss."""


class Progress(Protocol):
    """What long work reports to."""

    def task(self, name: str, total: int) -> AbstractContextManager[Advance]:
        """Begin a task of `total` steps; inside the block, `advance(n)` or `advance(n, note)` reports `n` more done."""


def unheard(steps: int, note: str = "") -> None:
    """An `Advance` that tells nobody."""


class Silent:
    """Reports nothing."""

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Advance]:
        """See `Progress.task`."""
        yield unheard


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
        TextColumn("{task.fields[note]}", style="dim"),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        yield _Terminal(bars)


class _Terminal:
    def __init__(self, bars: Bars) -> None:
        self._bars = bars

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Advance]:
        task = self._bars.add_task(name, total=total, note="")

        def advance(steps: int, note: str = "") -> None:
            self._bars.update(task, advance=steps, note=note)

        yield advance

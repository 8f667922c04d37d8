"""Bars on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from multirecall.progress.base import Advance


@contextmanager
def terminal_bars() -> Iterator[Bars]:
    """Bars on standard error until the block ends."""
    columns = (
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        _Remaining(),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        yield Bars(bars)


class Bars:
    """A bar for each task."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars

    @contextmanager
    def task(self, name: str, total: int, *, steady: bool = True) -> Iterator[Advance]:
        """See `Progress.task`."""
        task = self._bars.add_task(name, total=total, note="", steady=steady)

        def advance(steps: int, note: str = "") -> None:
            self._bars.update(task, advance=steps, note=note)

        try:
            yield advance
        except BaseException:
            self._bars.stop_task(task)
            raise
        done = self._bars.tasks[self._bars.task_ids.index(task)].completed
        self._bars.update(task, total=done, completed=done)
        self._bars.stop_task(task)


class _Remaining(TimeRemainingColumn):
    """The remaining time of a steady task; nothing for any other."""

    def render(self, task: Task) -> Text:
        return super().render(task) if task.fields["steady"] and not task.finished else Text("")

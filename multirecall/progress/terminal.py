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
from rich.table import Column
from rich.text import Text

from multirecall.progress.base import Advance

FULL_WIDTH = 110
"""Characters from which the bars have room for all of a name and a note; on less, bars are short and texts are cut."""


@contextmanager
def terminal_bars(console: Console | None = None) -> Iterator[Bars]:
    """Bars on standard error, or on another console, until the block ends."""
    console = console or Console(stderr=True)
    narrow = console.width < FULL_WIDTH

    def text(width: int) -> Column:
        return Column(no_wrap=True, overflow="ellipsis", max_width=width if narrow else None)

    def figures(width: int) -> Column:
        return Column(no_wrap=True, min_width=width, justify="right")

    columns = (
        SpinnerColumn(finished_text=" ", table_column=figures(1)),
        TextColumn("{task.description}", markup=False, table_column=text(26)),
        BarColumn(bar_width=6 if narrow else 24, table_column=figures(6)),
        MofNCompleteColumn(table_column=figures(9)),
        TimeElapsedColumn(table_column=figures(7)),
        _Remaining(table_column=figures(7)),
        TextColumn("{task.fields[note]}", style="dim", markup=False, table_column=text(18)),
    )
    with Progress(*columns, console=console) as bars:
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

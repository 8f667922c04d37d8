"""The interface that long work reports its progress to, and an implementation that shows nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Advance(Protocol):
    """Reports that steps of a task are done."""

    def __call__(self, steps: int, note: str = "") -> None:
        """`steps` more are done; `note` stands beside the bar, for instance a loss."""


class Progress(Protocol):
    """What long work reports to. Tasks of one fit may run at once, each on a thread of its own."""

    def task(self, name: str, total: int, *, steady: bool = True) -> AbstractContextManager[Advance]:
        """Begin a task of `total` steps; inside the block, `advance(n)` or `advance(n, note)` reports `n` more done.

        The task ends with its block. A task that stops early counts as complete.

        Args:
            name: what is done, in plain words.
            total: how many steps at most.
            steady: whether all steps take about equally long. Only then a remaining time is shown.
        """


def unheard(steps: int, note: str = "") -> None:
    """An `Advance` that does nothing."""


class Silent:
    """A `Progress` that shows nothing."""

    @contextmanager
    def task(self, name: str, total: int, *, steady: bool = True) -> Iterator[Advance]:
        """See `Progress.task`."""
        yield unheard


SILENT: Progress = Silent()

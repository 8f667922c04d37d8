"""Progress of long work: bars on a terminal and in a notebook, silence elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Advance(Protocol):
    """Reports that steps of a task are done."""

    def __call__(self, steps: int, note: str = "") -> None:
        """`steps` more are done; `note` stands beside the bar, for instance a loss."""


class Progress(Protocol):
    """What long work reports to."""

    def task(self, name: str, total: int, *, steady: bool = True) -> AbstractContextManager[Advance]:
        """Begin a task of `total` steps; inside the block, `advance(n)` or `advance(n, note)` reports `n` more done.

        The task ends with its block, whatever was reported: one that stops early is complete.

        Args:
            name: what is done, in plain words.
            total: how many steps at most.
            steady: whether steps take about equally long; only then can a remaining time be told.
        """


def unheard(steps: int, note: str = "") -> None:
    """An `Advance` that tells nobody."""


class Silent:
    """Reports nothing."""

    @contextmanager
    def task(self, name: str, total: int, *, steady: bool = True) -> Iterator[Advance]:
        """See `Progress.task`."""
        yield unheard


SILENT: Progress = Silent()


@contextmanager
def terminal_progress() -> Iterator[Progress]:
    """Bars on standard error where that is a terminal, bars below the cell in a notebook, else `SILENT`."""
    if in_notebook():
        from multirecall.progress.notebook import notebook_bars

        with notebook_bars() as progress:
            yield progress
    elif sys.stderr.isatty():
        from multirecall.progress.terminal import terminal_bars

        with terminal_bars() as progress:
            yield progress
    else:
        yield SILENT


def in_notebook() -> bool:
    """Whether a notebook's kernel runs this, which can show HTML; the IPython of a terminal cannot."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")

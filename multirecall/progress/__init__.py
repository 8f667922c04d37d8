"""Progress of long work: bars on a terminal and in a notebook, silence elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from multirecall.progress.base import SILENT, Advance, Progress, Silent, unheard

__all__ = ["SILENT", "Advance", "Progress", "Silent", "in_notebook", "terminal_progress", "unheard"]


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

"""Bars below a notebook's cell, as HTML that needs no widgets."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from time import monotonic
from typing import Any

from multirecall.progress.base import Advance

EVERY_S = 0.2
"""The least seconds between two updates."""


@dataclass
class Row:
    """One task: its steps, its note, when it began and, once it has ended, how long it took."""

    name: str
    total: int
    steady: bool
    done: int = 0
    note: str = ""
    began: float = field(default_factory=monotonic)
    took: float | None = None

    def html(self) -> str:
        """The task as a row of a table."""
        elapsed = monotonic() - self.began if self.took is None else self.took
        times = f"{elapsed:.1f} s"
        if self.took is None and self.steady and 0 < self.done < self.total:
            times += f", about {elapsed * (self.total - self.done) / self.done:.0f} s left"
        cells = (
            escape(self.name),
            f"<progress value='{self.done}' max='{max(self.total, 1)}'></progress>",
            f"{self.done:,}/{self.total:,}",
            times,
            escape(self.note),
        )
        return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


class NotebookBars:
    """One table with a row for each task. It is redrawn as tasks advance."""

    def __init__(self, handle: Any) -> None:
        """Take `update`, which shows an object that has `_repr_html_`."""
        self._handle = handle
        self._rows: list[Row] = []
        self._drawn = 0.0

    @contextmanager
    def task(self, name: str, total: int, *, steady: bool = True) -> Iterator[Advance]:
        """See `Progress.task`."""
        row = Row(name, total, steady)
        self._rows.append(row)
        self.draw()

        def advance(steps: int, note: str = "") -> None:
            row.done, row.note = row.done + steps, note
            if monotonic() - self._drawn >= EVERY_S:
                self.draw()

        try:
            yield advance
            row.total = row.done
        finally:
            row.took = monotonic() - row.began
            self.draw()

    def draw(self) -> None:
        """Show all tasks as they are."""
        self._drawn = monotonic()
        self._handle.update(self)

    def _repr_html_(self) -> str:
        return f"<table>{''.join(row.html() for row in self._rows)}</table>"

    def __repr__(self) -> str:
        return "; ".join(f"{row.name} {row.done}/{row.total}" for row in self._rows)


@contextmanager
def notebook_bars() -> Iterator[NotebookBars]:
    """Bars below the cell that runs."""
    display = importlib.import_module("IPython.display")
    yield NotebookBars(display.display(display.HTML(""), display_id=True))

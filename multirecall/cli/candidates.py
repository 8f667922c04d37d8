"""The table of candidates, fitted to the width of the screen. Labels may be truncated, numbers never."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from multirecall.cli.screen import UNLIMITED
from multirecall.cli.tables import plain_table
from multirecall.display import short_number
from multirecall.result import Candidates

LABEL_WIDTHS = (24, 16)
"""Widths of a label in characters, tried from the widest on."""

LONGEST_ID = 24
"""The longest id, in characters, that is not broken into lines."""


def candidates_table(screen: Console, result: Candidates, labels: Sequence[str]) -> Table:
    """A row for each candidate, with a column for each path; on a narrow screen one column lists the paths."""
    for width in LABEL_WIDTHS:
        table = _wide(result, [shorten(label, width) for label in labels])
        if Measurement.get(screen, screen.options.update_width(UNLIMITED), table).maximum <= screen.width:
            return table
    return _narrow(result, [shorten(label, 20 if screen.width >= 72 else 12) for label in labels])


def shorten(text: str, width: int) -> str:
    """Truncate the text to `width` cells on one line. `…` marks the cut."""
    line = " ".join(text.split())
    return line if cell_len(line) <= width else set_cell_size(line, width - 1).rstrip() + "…"


def _wide(result: Candidates, labels: Sequence[str]) -> Table:
    table = _head(result, labels)
    for path in result.paths:
        table.add_column(path, justify="right", no_wrap=True)
    for one, cells in zip(result, _first_cells(result, labels), strict=True):
        table.add_row(*cells, *(str(one.provenance.get(path, "–")) for path in result.paths))
    return table


def _narrow(result: Candidates, labels: Sequence[str]) -> Table:
    table = _head(result, labels)
    table.add_column("rank in each path", overflow="fold")
    for one, cells in zip(result, _first_cells(result, labels), strict=True):
        table.add_row(*cells, " · ".join(f"{path}\N{NO-BREAK SPACE}{rank}" for path, rank in one.provenance.items()))
    return table


def _head(result: Candidates, labels: Sequence[str]) -> Table:
    table = plain_table()
    fits = all(cell_len(str(item)) <= LONGEST_ID for item in result.ids.tolist())
    table.add_column("item", no_wrap=fits, overflow="fold")
    if any(labels):
        table.add_column("", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    return table


def _first_cells(result: Candidates, labels: Sequence[str]) -> list[list[str]]:
    return [
        [str(item), *([label] if any(labels) else []), short_number(score)]
        for item, label, score in zip(result.ids.tolist(), labels, result.scores.tolist(), strict=True)
    ]

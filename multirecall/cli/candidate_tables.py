"""Candidates on the screen, in a table that fits its width, or as JSON or CSV. Labels may be cut, numbers never."""

from __future__ import annotations

import json
from collections.abc import Sequence

import typer
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from multirecall.cli.screen import UNLIMITED, console, is_unicode, note
from multirecall.cli.tables import plain_table
from multirecall.data import Table as ItemTable
from multirecall.display import short_number
from multirecall.errors import RequestError
from multirecall.result import Candidates

LABEL_WIDTHS = (24, 16)
"""Widths of a label in characters, tried from the widest on."""

NAMED = 5
"""The most unknown ids that a note lists."""

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


def refuse_both(as_json: bool, as_csv: bool) -> None:
    """Refuse two forms at once; raises `RequestError`."""
    if as_json and as_csv:
        raise RequestError("--json and --csv: only one can be printed; leave one out")


def print_candidates(result: Candidates, items: ItemTable, rows: int, *, as_json: bool, as_csv: bool) -> None:
    """Print the candidates as a table of the first `rows`, as JSON or as CSV; a note names unknown ids."""
    _note_unknown(result)
    if as_json:
        typer.echo(json.dumps(result.to_dict(), ensure_ascii=not is_unicode()))
    elif as_csv:
        typer.echo(result.to_polars().write_csv().encode(), nl=False)
    else:
        _show(result, items, rows)


def _note_unknown(result: Candidates) -> None:
    unknown = result.unknown_items
    if unknown:
        named = ", ".join(repr(item) for item in unknown[:NAMED])
        more = f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
        note(f"--history, --exclude: the catalogue does not have {named}{more}; passed over")


def _show(result: Candidates, items: ItemTable, rows: int) -> None:
    screen, shown = console(), result[:rows]
    labels = [items.label(row) for row in items.ids.rows(shown.ids).tolist()]
    screen.print(candidates_table(screen, shown, labels))
    if len(shown) < len(result):
        screen.print(
            f"{len(shown):,} of {len(result):,} shown; --rows {len(result)} shows all, --csv and --json hold all."
        )
    screen.print(_summary(result))


def _summary(result: Candidates) -> str:
    states = ", ".join(f"{path} {one.state} ({one.count} in {one.ms:.2f} ms)" for path, one in result.status.items())
    faults = "".join(f"\n{path}: {one.detail}" for path, one in result.status.items() if one.detail)
    return (
        f"A path's number is its rank there, from 0. {states}; {result.n_backfilled} from the fallback, "
        f"{result.shortfall} missing.{faults}"
    )

"""Printing of the command line: consoles, notes, and characters that a console cannot show."""

from __future__ import annotations

import codecs
import io
import logging
import sys

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

UNLIMITED = 10_000
"""Characters; no table is wider."""

PLAIN = {"–": "-", "—": "-", "−": "-", "…": "...", "·": "|", "─": "-", "≥": ">=", "≤": "<=", "\xa0": " "}
"""ASCII in place of the few other characters that the command line prints, for a console that cannot show them."""


def console(*, stderr: bool = False) -> Console:
    """A console without markup, so that a title with brackets is printed as it is."""
    return Console(stderr=stderr, markup=False, highlight=False, soft_wrap=stderr)


def note(text: str) -> None:
    """Print one line on standard error that is not an error."""
    console(stderr=True).print(f"note: {text}", style="yellow")


def show_error(fault: Exception) -> None:
    """Print an error of ours on standard error."""
    console(stderr=True).print(f"error: {fault}", style="red")


class _Notes(logging.Handler):
    """Print the library's log records on standard error, a line each; without progress bars, each fit too."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            note(record.getMessage())
        else:
            console(stderr=True).print(record.getMessage())


def show_log() -> None:
    """Print what the library logs."""
    logger = logging.getLogger("multirecall")
    logger.addHandler(_Notes())
    logger.propagate = False
    if not sys.stderr.isatty():
        logger.setLevel(logging.INFO)


def replace_unprintable() -> None:
    """Replace characters that standard output or error cannot show; by default Python would end the command."""
    codecs.register_error("multirecall", _replacement)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="multirecall")


def is_unicode() -> bool:
    """Whether standard output shows every character."""
    return codecs.lookup(sys.stdout.encoding or "ascii").name.startswith("utf")


def _replacement(fault: UnicodeError) -> tuple[str, int]:
    if not isinstance(fault, UnicodeEncodeError):
        raise fault
    return "".join(PLAIN.get(one, "?") for one in fault.object[fault.start : fault.end]), fault.end


def print_table(screen: Console, table: Table) -> None:
    """Print a table of numbers. If it is too wide, print it in parts, each with the first column; nothing is cut."""
    for part in _parts(table, screen):
        screen.print(part)


def _parts(table: Table, screen: Console) -> list[Table]:
    unlimited = screen.options.update_width(UNLIMITED)

    def fits(columns: list[int]) -> bool:
        return Measurement.get(screen, unlimited, _with_columns(table, columns)).maximum <= screen.width

    groups: list[list[int]] = [[0]]
    for column in range(1, len(table.columns)):
        if len(groups[-1]) > 1 and not fits([*groups[-1], column]):
            groups.append([0])
        groups[-1].append(column)
    return [table] if len(groups) == 1 else [_with_columns(table, columns) for columns in groups]


def _with_columns(table: Table, columns: list[int]) -> Table:
    """The same table with some of its columns."""
    part = Table(box=table.box, pad_edge=table.pad_edge, title=table.title, title_justify=table.title_justify)
    for column in columns:
        one = table.columns[column]
        part.add_column(one.header, justify=one.justify, no_wrap=True)
    cells = [list(table.columns[column].cells) for column in columns]
    for number, row in enumerate(table.rows):
        part.add_row(*(column[number] for column in cells), style=row.style)
    return part

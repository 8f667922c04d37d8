"""Where the command line prints: consoles, notes, and what a console can show."""

from __future__ import annotations

import codecs
import io
import sys

from rich.console import Console

PLAIN = {"–": "-", "—": "-", "−": "-", "…": "...", "·": "|", "─": "-", "\xa0": " "}
"""What stands for a sign of ours on a console that cannot show it."""


def console(*, stderr: bool = False) -> Console:
    """A console that prints what it is given, so that a title with brackets is no markup."""
    return Console(stderr=stderr, markup=False, highlight=False, soft_wrap=stderr)


def note(text: str) -> None:
    """One line on standard error that is no error."""
    console(stderr=True).print(f"note: {text}", style="yellow")


def show_what_the_console_can() -> None:
    """Let characters that standard output or error cannot show be replaced, instead of ending the command."""
    codecs.register_error("multirecall", _replaced)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="multirecall")


def is_unicode() -> bool:
    """Whether standard output shows every character."""
    return codecs.lookup(sys.stdout.encoding or "ascii").name.startswith("utf")


def _replaced(fault: UnicodeError) -> tuple[str, int]:
    if not isinstance(fault, UnicodeEncodeError):
        raise fault
    return "".join(PLAIN.get(one, "?") for one in fault.object[fault.start : fault.end]), fault.end

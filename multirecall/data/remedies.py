"""Options of `Dataset.load` as errors show them: in Python and on the command line."""

from __future__ import annotations

from collections.abc import Sequence


def columns(ours: str) -> str:
    """The option that maps one of the caller's columns to the column `ours`."""
    return f"columns={{{ours!r}: 'your name'}} (command line: --columns {ours}='your name')"


def kinds(field: str, *kinds: str) -> str:
    """The option that gives the column `field` one of `kinds`."""
    python = " or ".join(f"kinds={{{field!r}: {kind!r}}}" for kind in kinds)
    return f"{python} (command line: {' or '.join(f'--kinds {field}={kind}' for kind in kinds)})"


def future(*rules: str) -> str:
    """The option for events far beyond the rest of the log."""
    python = " or ".join(f"future={one!r}" for one in rules)
    return f"{python} (command line: {' or '.join(f'--future {one}' for one in rules)})"


def ids(types: Sequence[str] = ("text",)) -> str:
    """The option for the type of ids."""
    python = " or ".join(f"ids={one!r}" for one in types)
    return f"{python} (command line: {' or '.join(f'--ids {one}' for one in types)})"

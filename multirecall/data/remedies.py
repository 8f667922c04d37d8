"""Options of a reader as an error spells them: in Python and on the command line."""

from __future__ import annotations

from collections.abc import Sequence


def columns(ours: str) -> str:
    """How to say which column of the caller is `ours`."""
    return f"columns={{{ours!r}: 'your name'}} (command line: --columns {ours}='your name')"


def kinds(field: str, *kinds: str) -> str:
    """How to give a field one of some kinds."""
    python = " or ".join(f"kinds={{{field!r}: {kind!r}}}" for kind in kinds)
    return f"{python} (command line: {' or '.join(f'--kinds {field}={kind}' for kind in kinds)})"


def future(*rules: str) -> str:
    """How to say what becomes of events far beyond the rest."""
    python = " or ".join(f"future={one!r}" for one in rules)
    return f"{python} (command line: {' or '.join(f'--future {one}' for one in rules)})"


def ids(types: Sequence[str] = ("text",)) -> str:
    """How to fix the type of ids."""
    python = " or ".join(f"ids={one!r}" for one in types)
    return f"{python} (command line: {' or '.join(f'--ids {one}' for one in types)})"

"""`multirecall plugins`: which retrievers and fusions are installed."""

from __future__ import annotations

from multirecall.cli.screen import console
from multirecall.cli.tables import plain_table
from multirecall.registry import listings


def plugins() -> None:
    """List the installed retrievers and fusions, and what is wrong with a broken one."""
    table = plain_table("kind", "name", "from", "state")
    for one in listings():
        table.add_row(one.kind, one.name, one.origin, one.fault or "ok", style="red" if one.fault else None)
    console().print(table)

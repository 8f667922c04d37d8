"""`multirecall plugins`: which retrievers and fusions are installed."""

from __future__ import annotations

from multirecall.cli.screen import console
from multirecall.cli.tables import plain_table
from multirecall.registry import RETRIEVERS, listings


def plugins() -> None:
    """List the installed retrievers and fusions, and what is wrong with a broken one."""
    table = plain_table("kind", "name", "from", "state")
    for one in listings():
        kind = "retriever" if one.group == RETRIEVERS else "fusion"
        table.add_row(kind, one.name, one.origin, one.fault or "ok", style="red" if one.fault else None)
    console().print(table)

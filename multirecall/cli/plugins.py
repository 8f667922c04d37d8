"""`multirecall plugins`: list the installed plug-ins, or explain the settings of one."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from multirecall.cli.screen import console
from multirecall.cli.tables import plain_table
from multirecall.errors import PluginError
from multirecall.registry import GROUPS, listings
from multirecall.settings import Setting, settings_of
from multirecall.validation import nearest


def plugins(
    name: Annotated[str | None, typer.Argument(help="A plug-in, whose settings are then explained.")] = None,
) -> None:
    """List the installed plug-ins and what is wrong with a broken one, or explain the settings of one."""
    screen = console()
    if name is None:
        screen.print(_plugins_table())
        return
    groups = [group for group in GROUPS if name in group.names()]
    if not groups:
        known = {one for group in GROUPS for one in group.names()}
        raise PluginError(f"no plug-in is named {name!r}; {nearest(name, known)}")
    for group in groups:
        _explain(screen, f"{group.kind} {name}", group.load(name))


def _plugins_table() -> Table:
    table = plain_table("kind", "name", "from", "threads", "state")
    for column in table.columns[2:]:
        column.overflow = "fold"
    table.columns[3].no_wrap = True
    for one in listings():
        state = one.fault or "ok"
        table.add_row(one.kind, one.name, one.origin, one.threads, state, style="red" if one.fault else None)
    return table


def _explain(screen: Console, title: str, plugin: type[Any]) -> None:
    """Print what a plug-in does, and the type, range, default and meaning of each setting."""
    summary = " ".join((inspect.getdoc(plugin) or "").split("\n\n")[0].split())
    screen.print(f"{title}: {summary}\n" if summary else f"{title}\n")
    rows = settings_of(plugin.Config)
    if not rows:
        screen.print("It has no settings.")
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column()
    for row in rows:
        table.add_row(row.name, f"{_form(row)}\n{row.meaning}".rstrip())
    screen.print(table)


def _form(row: Setting) -> str:
    """The type, range and default of a setting, such as `int; 1 to 4,096; default 64`."""
    default = row.default if row.default in ("", "required") else f"default {row.default}"
    return "; ".join(filter(None, [row.type, row.range, default]))

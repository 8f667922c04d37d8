"""`multirecall shard`: split a bundle by items, for several processes or machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from multirecall.cli.options import Plugins, import_plugins, plugins_by_option
from multirecall.cli.screen import console, note
from multirecall.cli.tables import plain_table
from multirecall.engine.footprint import size
from multirecall.errors import RequestError
from multirecall.progress import terminal_progress
from multirecall.scaleout.split import ShardReport, shard_bundle


def shard(
    bundle: Annotated[Path, typer.Argument(help="Folder that `multirecall fit` or engine.save has written.")],
    out: Annotated[Path, typer.Option(help="Folder of the sharded bundle; new or empty.")],
    shards: Annotated[int, typer.Option(min=1, help="The number of shards.")],
    strict: Annotated[bool, typer.Option("--strict", help="Refuse a path that cannot be split.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Another seed splits the items in another way.")] = 0,
    plugin: Plugins = None,
) -> None:
    """Split a bundle by items into shards, which `multirecall serve` and ShardedEngine.connect serve on Ray."""
    try:
        with plugins_by_option(), terminal_progress() as progress:
            plugins = import_plugins(plugin)
            report = shard_bundle(bundle, shards, out, strict=strict, seed=seed, plugins=plugins, progress=progress)
    except RequestError as fault:
        raise RequestError(str(fault).replace("leave `strict` out", "leave --strict out")) from None
    _show(report)
    console().print(f"written to {out}; serve it with: multirecall serve {out}")


def _show(report: ShardReport) -> None:
    table = plain_table("path", "stands", "before", "in all shards", "and in each")
    for name, one in report.paths.items():
        stands = "in parts" if one.whole is None else f"whole on shard {one.whole}"
        table.add_row(name, stands, size(one.before), size(one.split), size(one.replicated))
    console().print(table)
    console().print(
        f"{min(report.items):,} to {max(report.items):,} items in each of {len(report.items)} shards; "
        f"each shard and the client have the data, {size(report.data)}."
    )
    whole = [name for name, one in report.paths.items() if one.whole is not None]
    if whole:
        note(f"{', '.join(whole)}: cannot be split, so that one shard has all of it")

"""`multirecall candidates`: the candidates of many users, in a folder of parquet files, by several processes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from multirecall.cli.options import (
    Context,
    Exclude,
    Length,
    Plugins,
    Predicates,
    Seen,
    import_plugins,
    json_option,
    load_bundle,
    plugins_by_option,
)
from multirecall.cli.screen import console
from multirecall.scaleout import write_candidates
from multirecall.vocabulary import Id


def candidates(
    bundle: Annotated[Path, typer.Argument(help="Folder that `multirecall fit` wrote; every worker must see it.")],
    users: Annotated[str, typer.Option(help="Parquet, CSV or TSV with a column user_id, path or glob pattern.")],
    out: Annotated[Path, typer.Option(help="Folder for the parts; every worker must see it.")],
    k: Length = None,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Ray cluster: auto, HOST:PORT or ray://…; default: processes here."),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Workers; default: one for each CPU.")] = None,
    chunk: Annotated[int, typer.Option(min=1, help="Users of a part.")] = 1000,
    exclude: Exclude = None,
    where: Predicates = None,
    context: Context = None,
    seen: Seen = False,
    plugin: Plugins = None,
) -> None:
    """Write the candidates of many users into a folder of parquet files, which other tools read as one table.

    The same command goes on where it was stopped or killed.
    """
    with plugins_by_option():
        written = write_candidates(
            bundle,
            users,
            out,
            k=k,
            ray=ray,
            workers=workers,
            chunk=chunk,
            exclude=_item_ids(bundle, exclude, plugin),
            where=json_option(where, "where"),
            seen=seen,
            context=json_option(context, "context"),
            plugins=import_plugins(plugin),
        )
    done = f", {written.new / written.seconds:,.0f} users/s" if written.new else ", all of it before"
    console().print(f"{out}: {written.rows:,} candidates of {written.users:,} users in {written.parts:,} files{done}")


def _item_ids(bundle: Path, texts: list[str] | None, plugins: list[str] | None) -> list[Id] | None:
    """The item ids that texts stand for in a bundle."""
    if not texts:
        return None
    with load_bundle(bundle, plugins) as engine:
        return [engine.data.items.ids.parse(text) for text in texts]

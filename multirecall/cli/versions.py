"""`multirecall versions`, `rollback` and `salvage`: list the versions of a bundle, go back, repair its journal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from multirecall.cli.screen import console
from multirecall.cli.tables import plain_table
from multirecall.engine import Engine

Bundle = Annotated[Path, typer.Argument(help="Folder that `multirecall fit` or engine.save has written.")]


def versions(bundle: Bundle) -> None:
    """List the versions of a bundle, oldest first."""
    table = plain_table("version", "saved (UTC)", "by", "data version", "config", "paths")
    for version in Engine.versions(bundle):
        table.add_row(
            version.name,
            version.created[:16].replace("T", " "),
            version.multirecall,
            str(version.data_version),
            version.config_hash[:8],
            ", ".join(version.paths),
            style="bold" if version.current else None,
        )
    console().print(table)
    console().print("The current version is bold.")


def rollback(
    bundle: Bundle,
    version: Annotated[str | None, typer.Option(help="Version to go back to; default: the one before.")] = None,
) -> None:
    """Make an older version of a bundle current. Live changes since then are kept."""
    console().print(f"version {Engine.rollback(bundle, version)} is now the current one of {bundle}")


def salvage(bundle: Bundle) -> None:
    """Repair the damaged journal of a bundle with the live changes that are intact. The old files are kept."""
    outcome = Engine.salvage(bundle)
    if outcome.whole:
        console().print(f"the journal of {bundle} is whole ({outcome.kept:,} live changes); nothing was done")
        return
    lost = "how many were lost cannot be told" if outcome.lost is None else f"{outcome.lost:,} were lost"
    console().print(f"{outcome.kept:,} live changes after version {outcome.version} are kept, {lost}")
    console().print(f"the damaged files are {bundle}/damaged-*")

"""`multirecall fit`: from a log to a bundle."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer

from multirecall.cli.options import (
    Config,
    InteractionFiles,
    ItemFiles,
    Seed,
    Threads,
    UserFiles,
    read_config,
    read_data,
)
from multirecall.cli.tables import console
from multirecall.engine import Engine


def fit(
    interactions: InteractionFiles,
    out: Annotated[Path, typer.Option(help="Folder of the bundle; a new version is added to an existing one.")],
    items: ItemFiles = None,
    users: UserFiles = None,
    config: Config = None,
    seed: Seed = None,
    threads: Threads = None,
) -> None:
    """Fit all paths on a log and save the engine as a bundle."""
    screen = console(stderr=True)
    engine = Engine(read_config(config, seed=seed, threads=threads))
    start = perf_counter()
    data = read_data(interactions, items, users, engine.config)
    screen.print(
        f"{len(data.interactions):,} interactions, {data.n_users:,} users, {data.n_items:,} items "
        f"read in {perf_counter() - start:.1f} s"
    )
    start = perf_counter()
    engine.fit(data)
    screen.print(f"{', '.join(engine.paths)} fitted in {perf_counter() - start:.1f} s")
    engine.save(out)
    screen.print(f"saved to {out}")

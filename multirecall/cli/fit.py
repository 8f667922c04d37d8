"""`multirecall fit`: from a log to a bundle."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer
from rich.table import Table

from multirecall.cli.first_run import compile_ahead
from multirecall.cli.options import (
    Columns,
    Config,
    Future,
    Ids,
    InteractionFiles,
    ItemFiles,
    Kinds,
    Seed,
    Threads,
    UserFiles,
    read_config,
    read_data,
)
from multirecall.cli.screen import console
from multirecall.cli.tables import plain_table
from multirecall.data import Dataset
from multirecall.engine import Engine
from multirecall.engine.bundle.bundle import require_vacant
from multirecall.engine.fitting import assist_fit
from multirecall.engine.footprint import saved_bytes, seconds, size
from multirecall.output import require_folder
from multirecall.progress import SILENT
from multirecall.scaleout.process_group import joined_processes
from multirecall.scaleout.ray_fit import fit_on_ray


def fit(
    interactions: InteractionFiles,
    out: Annotated[Path, typer.Option(help="Folder of the bundle; a new version is added to an existing one.")],
    items: ItemFiles = None,
    users: UserFiles = None,
    columns: Columns = None,
    kinds: Kinds = None,
    ids: Ids = None,
    future: Future = None,
    config: Config = None,
    seed: Seed = None,
    threads: Threads = None,
    distributed: Annotated[
        bool, typer.Option("--distributed", help="Fit together with the other processes that torchrun has started.")
    ] = False,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Fit in several processes of this Ray cluster, such as auto."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes of a fit on Ray.")] = 2,
) -> None:
    """Fit all paths on a log and save the engine as a bundle."""
    require_folder(out, "--out")
    require_vacant(out)
    if ray is not None:
        fit_on_ray(_without(sys.argv[2:], "--ray", "--workers"), workers, ray)
        return
    settings = read_config(config, columns=columns, kinds=kinds, ids=ids, future=future, seed=seed, threads=threads)
    with joined_processes() if distributed else nullcontext(0) as rank:
        start = perf_counter()
        if rank:
            assist_fit(settings, read_data(interactions, items, users, settings), SILENT)
            return
        engine = Engine(settings)
        data = read_data(interactions, items, users, settings)
        _fit_and_save(engine, data, out, perf_counter() - start)


def _fit_and_save(engine: Engine, data: Dataset, out: Path, read_s: float) -> None:
    screen = console(stderr=True)
    screen.print(f"{data.sizes} read in {read_s:.1f} s")
    if data.kinds:
        screen.print(_kinds_table(data))
    start = perf_counter()
    with compile_ahead():
        engine.fit(data)
    screen.print(f"{', '.join(engine.paths)} fitted in {perf_counter() - start:.1f} s")
    engine.save(out)
    screen.print(_paths_table(engine, out))
    screen.print(f"saved to {out}. Next: multirecall retrieve {out} --user {data.users.ids.id(0)}")


def _without(arguments: list[str], *options: str) -> list[str]:
    """The arguments without these options, each of which has a value."""
    left = []
    rest = iter(arguments)
    for one in rest:
        name, equals, _ = one.partition("=")
        if name not in options:
            left.append(one)
        elif not equals:
            next(rest, None)
    return left


def _kinds_table(data: Dataset) -> Table:
    """A table of the columns: the kind that each was read as, and why."""
    table = plain_table("table", "column", "kind", "why")
    for one in data.kinds:
        table.add_row(one.table, one.field, one.kind, one.reason)
    return table


def _paths_table(engine: Engine, folder: Path) -> Table:
    """A table of the paths: the time of each fit, its memory and its size on disk."""
    table = plain_table("path")
    for head in ("fitted in", "memory", "on disk"):
        table.add_column(head, justify="right", no_wrap=True)
    health, on_disk = engine.health(), saved_bytes(folder)
    for name, path in {**health.paths, "fallback": health.fallback}.items():
        table.add_row(name, seconds(path.fit_seconds), size(path.memory_bytes), size(on_disk[name]))
    table.add_row("the data", "", "", size(on_disk["data"]))
    return table

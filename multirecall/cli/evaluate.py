"""`multirecall evaluate`: how good is each path, and the fused list, on the newest part of a log."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from multirecall.cli.options import (
    AsJson,
    Config,
    InteractionFiles,
    ItemFiles,
    Seed,
    Seen,
    Threads,
    UserFiles,
    read_config,
    read_data,
)
from multirecall.cli.tables import console, describe, quality_tables
from multirecall.engine import Engine
from multirecall.evaluation import evaluate, time_split
from multirecall.progress import terminal_progress


def evaluate_command(
    interactions: InteractionFiles,
    items: ItemFiles = None,
    users: UserFiles = None,
    config: Config = None,
    fraction: Annotated[float, typer.Option(help="Share of events, the newest, that is the test part.")] = 0.1,
    k: Annotated[list[int] | None, typer.Option("-k", "--k", help="List length; repeat for several.")] = None,
    seen: Seen = False,
    seed: Seed = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Fit on the older part of a log, ask for the users of the newest part, score each path and the fused list."""
    engine = Engine(read_config(config, seed=seed, threads=threads))
    split = time_split(read_data(interactions, items, users, engine.config), fraction, seen=seen)
    with terminal_progress() as progress:
        engine.fit(split.train, progress=progress)
        report = evaluate(engine, split, k or (20, 100), progress=progress)
    if as_json:
        typer.echo(json.dumps(report.to_dict()))
        return
    screen = console()
    for table in quality_tables(report):
        screen.print(table)
    screen.print(describe(report))

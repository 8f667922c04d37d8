"""`multirecall evaluate`: how good is each path, and the fused list, on the newest part of a log."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

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
from multirecall.engine import Engine
from multirecall.evaluation import Report, evaluate, time_split
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
    console = Console()
    for table in quality_tables(report):
        console.print(table)
    console.print(describe(report), highlight=False)


def quality_tables(report: Report) -> list[Table]:
    """One table for each list length, a row for each path and the fused list."""
    tables = []
    for column, k in enumerate(report.ks):
        table = Table("list", title=f"k = {k}", title_justify="left")
        for metric in next(iter(report.figures.values())):
            table.add_column(metric.replace("_", " "), justify="right")
        for name, figures in report.figures.items():
            cells = [
                f"{values[column]:.2f}" if metric == "novelty" else f"{values[column]:.4f}"
                for metric, values in figures.items()
            ]
            table.add_row(name, *cells, style="bold" if name == "fused" else None)
        tables.append(table)
    return tables


def describe(report: Report) -> str:
    """What the figures were measured on, in one sentence."""
    return (
        f"{report.split}: {report.n_users:,} users ({report.n_unknown_users:,} not in the training log) with "
        f"{report.n_targets:,} targets, of which {report.unreachable:.2%} are not in the training catalogue."
    )

"""`multirecall evaluate`: how good is each path, and the fused list, on a part of a log that none was fitted on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from multirecall.cli.options import (
    AsJson,
    Config,
    Fraction,
    InteractionFiles,
    ItemFiles,
    Kind,
    Last,
    Seed,
    Seen,
    Threads,
    UserFiles,
    check_file,
    read_config,
    read_data,
)
from multirecall.cli.tables import console, overlap_table, quality_tables, segment_table, value_table
from multirecall.data import Dataset
from multirecall.engine import Engine
from multirecall.evaluation import (
    checked_ks,
    given_split,
    made_split,
    path_values,
    require_plots,
    retrieved,
    scored,
    write_page,
)
from multirecall.progress import terminal_progress


def evaluate_command(
    interactions: InteractionFiles,
    items: ItemFiles = None,
    users: UserFiles = None,
    config: Config = None,
    split: Kind = "time",
    fraction: Fraction = 0.1,
    last: Last = 1,
    test: Annotated[
        list[str] | None, typer.Option(help="A log to test on, in the same forms; --interactions is all training then.")
    ] = None,
    k: Annotated[list[int] | None, typer.Option("-k", "--k", help="List length; repeat for several.")] = None,
    seen: Seen = False,
    value: Annotated[bool, typer.Option("--value", help="Also say what each path is worth, at the largest k.")] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write an HTML page with plots; needs multirecall[plots].")
    ] = None,
    seed: Seed = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Fit on one part of a log, ask for the users of the other part, score each path and the fused list."""
    ks = checked_ks(k or [20, 100])
    if report is not None:
        check_file(report, "--report")
        require_plots()
    engine = Engine(read_config(config, seed=seed, threads=threads))
    data = read_data(interactions, items, users, engine.config)
    if test:
        parts = given_split(data, Dataset.load(test, config=engine.config.data), seen=seen)
    else:
        parts = made_split(data, split, fraction=fraction, last=last, seen=seen, seed=engine.config.seed)
    with terminal_progress() as progress:
        engine.fit(parts.train, progress=progress)
        lists = retrieved(engine, parts, max(ks), progress=progress)
        figures = scored(lists, ks)
        worth = path_values(engine, lists, max(ks), progress=progress) if value or report else None
    if report is not None and worth is not None:
        write_page(figures, worth, report)
    if as_json:
        typer.echo(json.dumps(figures.to_dict() | ({"value": worth.to_dict()} if worth else {})))
        return
    screen = console()
    for table in quality_tables(figures):
        screen.print(table)
    if len(figures.segments) > 1:
        screen.print(segment_table(figures))
    if worth is not None:
        screen.print(value_table(worth))
        screen.print(overlap_table(worth))
    screen.print(f"{figures.statement}.")
    if report is not None:
        screen.print(f"page written to {report}")

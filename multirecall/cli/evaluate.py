"""`multirecall evaluate`: measure each path and the fused list on a part of the log that no path was fitted on."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from multirecall.cli.first_run import compile_ahead
from multirecall.cli.options import (
    AsJson,
    Columns,
    Config,
    Fraction,
    Future,
    Ids,
    InteractionFiles,
    ItemFiles,
    Kind,
    Kinds,
    Last,
    Seed,
    Seen,
    Threads,
    UserFiles,
    Validation,
    read_config,
    read_data,
)
from multirecall.cli.screen import console, print_table
from multirecall.cli.tables import (
    explanations,
    gains_table,
    overlap_table,
    quality_tables,
    segment_table,
    show_embeddings,
    value_table,
)
from multirecall.data import Dataset
from multirecall.engine import Engine
from multirecall.errors import RequestError
from multirecall.evaluation import (
    EXPLAINED,
    Method,
    Report,
    aim_at,
    check_ks,
    describe_losses,
    explain_metrics,
    make_split,
    path_embeddings,
    path_values,
    require_plots,
    retrieve_lists,
    score_lists,
    split_of_logs,
    write_page,
)
from multirecall.extras import import_extra
from multirecall.output import require_file
from multirecall.progress import terminal_progress


def evaluate_command(
    interactions: InteractionFiles,
    items: ItemFiles = None,
    users: UserFiles = None,
    columns: Columns = None,
    kinds: Kinds = None,
    ids: Ids = None,
    future: Future = None,
    config: Config = None,
    split: Kind = "time",
    fraction: Fraction = 0.1,
    last: Last = 1,
    validation: Validation = 0,
    test: Annotated[
        list[str] | None, typer.Option(help="A log to test on, in the same forms; --interactions is all training then.")
    ] = None,
    k: Annotated[list[int] | None, typer.Option("-k", "--k", help="List length; repeat for several.")] = None,
    seen: Seen = False,
    value: Annotated[bool, typer.Option("--value", help="Also say what each path is worth, at the largest k.")] = False,
    embeddings: Annotated[
        bool, typer.Option("--embeddings", help="Also look at the item vectors of the paths that have any.")
    ] = False,
    layout: Annotated[
        Method | None,
        typer.Option("--map", help="How --embeddings lays items out in the page; tsne needs the extra `tsne`."),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML page with plots; needs the extra `plots`.")] = None,
    seed: Seed = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Fit on one part of a log, ask for the users of the other part, score each path and the fused list."""
    ks = check_ks(k or [20, 100])
    if layout is not None and not (embeddings and report):
        raise RequestError("--map lays items out in the page of --embeddings; add --embeddings and --report")
    if report is not None:
        require_file(report, "--report")
        require_plots()
        if embeddings and layout == "tsne":
            import_extra("sklearn", "--map tsne")
    read = read_config(config, columns=columns, kinds=kinds, ids=ids, future=future, seed=seed, threads=threads)
    engine = Engine(read if test else aim_at(split, read))
    data = read_data(interactions, items, users, engine.config)
    if test:
        parts = split_of_logs(data, Dataset.load(test, config=engine.config.data), seen=seen)
    else:
        parts = make_split(
            data, split, fraction=fraction, last=last, validation=validation, seen=seen, seed=engine.config.seed
        )
    with compile_ahead(), terminal_progress() as progress:
        engine.fit(parts.train, progress=progress)
        lists = retrieve_lists(engine, parts, max(ks), progress=progress)
        figures = score_lists(lists, ks)
        worth = path_values(engine, lists, max(ks), progress=progress) if value or report else None
    lay_out = (layout or "pca") if report else None
    looked = path_embeddings(engine, lay_out, seed=engine.config.seed) if embeddings else []
    if report is not None and worth is not None:
        facts = {
            "data set": f"{', '.join(interactions)}: {data.sizes}",
            "config": f"{config or 'the default paths'}, hash {engine.health().config_hash[:8]}",
            "written": datetime.now().astimezone().isoformat(timespec="minutes", sep=" "),
        }
        write_page(figures, worth, report, facts, looked)
    if as_json:
        values = figures.to_dict() | ({"value": worth.to_dict()} if worth else {})
        if embeddings:
            values["embeddings"] = {one.path: one.to_dict() for one in looked}
        typer.echo(json.dumps(values))
        return
    screen = console()
    for table in quality_tables(figures):
        print_table(screen, table)
    if figures.gains:
        print_table(screen, gains_table(figures))
    if len(figures.segments) > 1:
        print_table(screen, segment_table(figures))
    if worth is not None:
        print_table(screen, value_table(worth))
        print_table(screen, overlap_table(worth))
    explanations(screen, figures)
    if embeddings:
        show_embeddings(screen, looked)
    screen.print(f"{figures.statement}.")
    print_closing(screen, figures)
    if report is not None:
        screen.print(f"page written to {report}")


evaluate_command.__doc__ = f"{evaluate_command.__doc__}\n\nWhat the columns say:\n\n" + "\n\n".join(
    explain_metrics(EXPLAINED)
)

NEXT = {
    "gains": "Next: `multirecall tune` with the same files looks for weights that find more; --value says what each "
    "path is worth.",
    "loses": "Next: `multirecall tune` with the same files leaves out the paths that pull the list down.",
    "unclear": "Next: ask more users (a larger --fraction, or a longer log), or let `multirecall tune` weigh paths.",
}
"""The advice to print, by what fusing gains."""


def print_closing(screen: Console, report: Report) -> None:
    """Print what fusing gains or loses against the best path, wherever it loses, and what to do next."""
    if report.gain is None:
        screen.print("There is one path only, so nothing is fused. Next: name a second path in the config.")
        return
    lost = describe_losses(report.gains)
    screen.print(str(report.gain))
    if lost:
        screen.print(lost)
    screen.print(NEXT["loses" if lost else report.gain.outcome])

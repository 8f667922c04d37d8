"""`multirecall demo`: the whole engine at work on a generated log."""

from __future__ import annotations

from importlib import import_module
from socket import socket
from time import perf_counter
from typing import Annotated, Any

import typer
from rich.console import Console

from multirecall.cli.candidate_tables import candidates_table
from multirecall.cli.evaluate import print_closing
from multirecall.cli.first_run import compile_ahead
from multirecall.cli.options import Config, Threads, read_config
from multirecall.cli.screen import console, print_table
from multirecall.cli.tables import explanations, gains_table, plain_table, quality_tables
from multirecall.data import Dataset
from multirecall.datasets import generate
from multirecall.engine import Engine
from multirecall.evaluation import evaluate, time_split
from multirecall.extras import import_extra
from multirecall.progress import terminal_progress
from multirecall.serving import ServeSettings, create_app

SHOWN = 6
"""The number of items of each list that are printed."""


def demo(
    users: Annotated[int, typer.Option(min=1, help="Users of the generated log.")] = 2_000,
    items: Annotated[int, typer.Option(min=1, help="Items of the generated log.")] = 3_000,
    interactions: Annotated[int, typer.Option(min=1, help="Events of the generated log.")] = 120_000,
    show: Annotated[int, typer.Option(min=1, help="Users whose lists are printed.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the generated log and of the engine.")] = 7,
    config: Config = None,
    threads: Threads = None,
    serve: Annotated[bool, typer.Option("--serve", help="Serve the engine at the end, with the explorer.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port of --serve; 0: any free one.")] = 8000,
) -> None:
    """Generate a realistic log, fit all paths on its past, show what they propose, and measure it on its future."""
    screen = console()
    listening = _listen(port) if serve else None
    start = perf_counter()
    log = generate(users, items, interactions, seed=seed)
    engine = Engine(read_config(config, seed=seed, threads=threads))
    data = Dataset.from_frames(log.interactions, log.items, log.users, config=engine.config.data)
    screen.print(
        f"A made-up shop: {len(data.interactions):,} events of {data.n_users:,} users on {data.n_items:,} items, "
        f"in {perf_counter() - start:.1f} s",
        highlight=False,
    )
    split = time_split(data, 0.1)
    start = perf_counter()
    with compile_ahead(), terminal_progress() as progress:
        engine.fit(split.train, progress=progress)
        fitted_in = perf_counter() - start
        report = evaluate(engine, split, (20, 100), progress=progress)
    screen.print(f"{', '.join(engine.paths)} fitted on the first 90 % in {fitted_in:.1f} s")
    for user in split.users[:: max(1, split.users.size // show)][:show]:
        screen.print()
        _show(screen, engine, user.item())
    screen.print()
    for table in quality_tables(report):
        print_table(screen, table)
    if report.gains:
        print_table(screen, gains_table(report))
    explanations(screen, report)
    screen.print(f"{report.statement}.")
    print_closing(screen, report)
    screen.print(
        "On a log of your own: `multirecall evaluate --interactions LOG --items ITEMS`, then `multirecall fit`."
    )
    if listening is not None:
        screen.print(
            f"The explorer: http://127.0.0.1:{listening.getsockname()[1]}/explore (Ctrl-C ends it)", highlight=False
        )
        app = create_app(engine, ServeSettings(port=port))
        import_module("multirecall.serving.server").run(app, ServeSettings(port=port), [listening])


def _listen(port: int) -> socket:
    """The socket of the service; a missing library or a port that is taken is told before anything is fitted."""
    for library in ("fastapi", "httptools", "jinja2", "orjson", "uvicorn", "uvloop"):
        import_extra(library, "multirecall demo --serve")
    listening: socket = import_module("multirecall.serving.server").bind(ServeSettings(port=port))
    return listening


def _show(screen: Console, engine: Engine, user: Any) -> None:
    data = engine.data
    events = data.interactions.items[data.interactions.of_user(data.users.ids.row(user))]
    newest = [_name(data, row) for row in events[::-1][:SHOWN]]
    screen.print(f"User {user}, newest first: {'; '.join(newest) or 'no history'}")
    lists = {path: ranked[0].items[:SHOWN] for path, ranked in engine.path_lists([user]).items()}
    table = plain_table("path", "proposes first")
    for path, rows in lists.items():
        table.add_row(path, "; ".join(_name(data, row) for row in rows) or "–")
    screen.print(table)
    screen.print("What the fused list becomes, and the rank of each item in each path:")
    result = engine.retrieve(user, SHOWN)
    names = [_name(data, row) for row in data.items.ids.rows(result.ids).tolist()]
    screen.print(candidates_table(screen, result, names))


def _name(data: Dataset, row: int) -> str:
    return data.items.label(row) or str(data.items.ids.id(row))

"""`multirecall tune`: from an untuned config and a log to a tuned config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from multirecall.cli.first_run import compile_ahead
from multirecall.cli.options import (
    AsJson,
    Columns,
    Config,
    Future,
    Ids,
    InteractionFiles,
    ItemFiles,
    Kinds,
    Last,
    Seed,
    Seen,
    Threads,
    UserFiles,
    read_config,
    read_data,
)
from multirecall.cli.screen import console, print_table
from multirecall.cli.tables import plain_table
from multirecall.evaluation import EXPLAINED, METRICS, explain_metrics, make_split
from multirecall.output import require_file
from multirecall.progress import terminal_progress
from multirecall.tuning import (
    Comparison,
    Tuned,
    TuningConfig,
    compare_on,
    natural_kind,
    statement,
    tune,
    write_config,
)
from multirecall.validation import validate


def tune_command(
    interactions: InteractionFiles,
    out: Annotated[Path, typer.Option(help="File of the tuned config (TOML).")],
    items: ItemFiles = None,
    users: UserFiles = None,
    columns: Columns = None,
    kinds: Kinds = None,
    ids: Ids = None,
    future: Future = None,
    config: Config = None,
    metric: Annotated[
        str | None,
        typer.Option(help=f"What the tables compare; default recall. {'; '.join(explain_metrics(METRICS))}."),
    ] = None,
    k: Annotated[int | None, typer.Option("-k", "--k", help="List length at which it is taken.")] = None,
    split: Annotated[
        str | None, typer.Option(help="time, user-time, last or random; default: what the log allows, in this order.")
    ] = None,
    fraction: Annotated[float | None, typer.Option(help="Share of the events that each slice holds.")] = None,
    last: Last = 1,
    seen: Seen = False,
    search_users: Annotated[int | None, typer.Option(help="Most users that the fusion is learned from.")] = None,
    confirm_users: Annotated[int | None, typer.Option(help="Most users that confirm.")] = None,
    budget_ms: Annotated[
        float | None, typer.Option(help="Milliseconds that the paths of a request may take together.")
    ] = None,
    strategy: Annotated[list[str] | None, typer.Option(help="Fusion to choose from; repeat for several.")] = None,
    segments: Annotated[bool, typer.Option(help="Keep fusions by length of history where they gain.")] = True,
    hold_out: Annotated[
        bool, typer.Option("--hold-out", help="Keep a test part out of the tuning, and measure the outcome there.")
    ] = False,
    seed: Seed = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Learn paths and fusion on one slice of the log, confirm them on a second, and write the config."""
    require_file(out, "--out")
    start = read_config(config, columns=columns, kinds=kinds, ids=ids, future=future, seed=seed, threads=threads)
    given: dict[str, Any] = {
        "metric": metric,
        "k": k,
        "split": split,
        "fraction": fraction,
        "search_users": search_users,
        "confirm_users": confirm_users,
        "budget_ms": budget_ms,
        "strategies": tuple(strategy) if strategy else None,
    }
    chosen = {key: value for key, value in given.items() if value is not None}
    fixed = {"last": last, "seen": seen, "segments": segments, "seed": start.seed}
    settings = validate(TuningConfig, chosen | fixed, "command line")
    data = read_data(interactions, items, users, start)
    test = None
    if hold_out:
        kind = settings.split or natural_kind(data)
        test = make_split(data, kind, fraction=settings.fraction, last=last, seen=settings.seen, seed=settings.seed)
    with compile_ahead(), terminal_progress() as progress:
        tuned = tune(test.train if test else data, start, settings, progress=progress)
        on_test = compare_on(tuned, start, test, progress=progress) if test else None
    write_config(tuned, out)
    if as_json:
        typer.echo(json.dumps(tuned.to_dict() | {"test": on_test.to_dict() if on_test else None}))
        return
    screen = console()
    screen.print(f"{settings.metric} is the {EXPLAINED[settings.metric]}; k = {settings.k}.")
    screen.print(_path_table(tuned))
    screen.print(_fusion_table(tuned))
    print_table(screen, _gain_table(tuned, on_test))
    for line in statement(tuned):
        screen.print(line)
    screen.print(f"written to {out}")


def _path_table(tuned: Tuned) -> Table:
    table = plain_table("path", "takes", "weight", "")
    for name, ms in tuned.ms.items():
        weight = tuned.report.weights.get(name)
        table.add_row(name, f"{ms:.3f} ms", f"{weight:g}" if weight else "", tuned.report.dropped.get(name, ""))
    return table


def _fusion_table(tuned: Tuned) -> Table:
    table = plain_table("fusion, learned on half of the users, judged on the others", "score", "gain over best path")
    for one in tuned.report.trials:
        gain = one.over_path
        table.add_row(one.name, f"{one.score:.3f}", f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]")
    return table


def _gain_table(tuned: Tuned, on_test: Comparison | None) -> Table:
    what = f"{tuned.settings.metric}@{tuned.settings.k}"
    table = plain_table(
        what, "users", "best path", "equal weights", "learned", "gain over equal", "gain over best path"
    )
    parts = [("learned from", tuned.searched), ("second slice", tuned.confirmed)]
    for name, on in [*parts, *([("test: what is kept", on_test)] if on_test else [])]:
        gains = (f"{gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]" for gain in (on.over_plain, on.over_single))
        means = (f"{one.mean:.4f}" for one in (on.single, on.plain, on.tuned))
        table.add_row(name, f"{on.n_users:,}", *means, *gains)
    return table

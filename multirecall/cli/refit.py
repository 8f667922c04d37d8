"""`multirecall refit`: new events into a bundle, and a new fit of it, published unless it is worse than what serves."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from multirecall.cli.options import (
    AsJson,
    Plugins,
    Seen,
    Threads,
    import_plugins,
    plugins_by_option,
    read_config,
    read_threads,
)
from multirecall.cli.screen import console, print_table
from multirecall.cli.tables import plain_table
from multirecall.engine import Engine
from multirecall.engine.fitting import Refusion
from multirecall.errors import BundleHeld, RequestError
from multirecall.evaluation import Interval
from multirecall.monitoring.refresh import Decision, Guard, RefitReport, guarded_refit
from multirecall.progress import terminal_progress
from multirecall.validation import AUTO, validate

EXIT_CODES: dict[Decision, int] = {"published": 0, "kept": 3, "undecided": 4}
"""The exit code of each decision. An error has 1, a wrong option 2."""

DAYS = {"h": 1 / 24, "d": 1.0, "w": 7.0}
"""The days of each unit of a window."""


def refit(
    bundle: Annotated[Path, typer.Argument(help="Folder that `multirecall fit` wrote.")],
    events: Annotated[
        list[str] | None,
        typer.Option(help="New events: parquet, CSV or TSV, path or glob pattern; repeat. Those known count once."),
    ] = None,
    items: Annotated[
        list[str] | None, typer.Option(help="The item table with new and changed items, in the same forms.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="New settings (TOML); default: those of the bundle.")] = None,
    if_better: Annotated[
        bool, typer.Option("--if-better", help="Publish only what is not worse on the newest window.")
    ] = False,
    window: Annotated[
        str | None,
        typer.Option(
            metavar="LENGTH", help="The newest window, e.g. 36h, 30d or 4w; default: half of what is new since the fit."
        ),
    ] = None,
    fusion: Annotated[
        Refusion, typer.Option(help="What is left to the log: learn it anew, or keep what was learned.")
    ] = "learn",
    k: Annotated[int, typer.Option("-k", "--k", help="Length of the lists that are compared.")] = 100,
    seen: Seen = False,
    fewest_users: Annotated[int, typer.Option(help="Users of the window below which nothing is decided.")] = 100,
    level: Annotated[float, typer.Option(help="Confidence level of the intervals.")] = 0.95,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Compare and decide, but write nothing, neither events nor a version.")
    ] = False,
    threads: Threads = None,
    plugins: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Take new events into a bundle, and fit it anew.

    Exit codes: 0 published, 3 kept what serves because the fit would be worse, 4 too little is new to tell, 1 an error.
    """
    guard = validate(
        Guard,
        {
            "window_days": None if window is None else _days(window),
            "k": k,
            "seen": seen,
            "fewest_users": fewest_users,
            "level": level,
        },
        "command line",
    )
    new = None if config is None else read_config(config, threads=threads)
    with plugins_by_option():
        engine = Engine.load(bundle, threads=read_threads(threads) or AUTO, plugins=import_plugins(plugins))
    with engine, terminal_progress() as progress:
        try:
            report = guarded_refit(
                engine,
                events,
                items=items,
                config=new,
                fusion=fusion,
                guard=guard,
                unguarded=not if_better,
                dry_run=dry_run,
                progress=progress,
            )
        except BundleHeld as fault:
            raise BundleHeld(
                f"{fault}. Where a service writes it, send the service the events (POST /v1/interactions) and let it "
                "fit (POST /v1/refresh); --dry-run compares beside it"
            ) from None
    if as_json:
        typer.echo(json.dumps(report.to_dict()))
    else:
        _show(console(), report, bundle)
    raise typer.Exit(EXIT_CODES[report.decision])


def _days(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([hdw])", text.strip())
    if not found or float(found[1]) <= 0:
        raise RequestError(f"--window: {text!r} is no length; write a number and h, d or w, such as 36h, 30d or 4w")
    return float(found[1]) * DAYS[found[2]]


def _show(screen: Console, report: RefitReport, bundle: Path) -> None:
    brought = report.intake
    screen.print(f"events: {brought.events:,} given, {brought.known:,} of them known, {brought.new:,} new")
    if brought.new_items or brought.updated_items:
        screen.print(f"items: {brought.new_items:,} new, {brought.updated_items:,} updated")
    if report.arms:
        table = plain_table(f"at k = {report.k}")
        for head in ("fit", "recall", "ndcg"):
            table.add_column(head, justify="right")
        for arm in report.arms:
            table.add_row(
                arm.name,
                "–" if arm.fit_s is None else f"{arm.fit_s:.1f} s",
                f"{arm.recall.mean:.4f}",
                f"{arm.ndcg.mean:.4f}",
            )
        print_table(screen, table)
    if report.comparisons:
        table = plain_table("new against")
        for head in ("recall", "ndcg"):
            table.add_column(head, justify="right")
        for against in dict.fromkeys(one.against for one in report.comparisons):
            table.add_row(against, *(_signed(one.gain) for one in report.comparisons if one.against == against))
        print_table(screen, table)
    if report.window:
        screen.print(f"{report.window}.")
    fits = "1 fit" if report.fits == 1 else f"{report.fits} fits"
    screen.print(f"{fits}; {', '.join(f'{step} {seconds:.1f} s' for step, seconds in report.seconds.items())}.")
    screen.print(f"{report.decision}{' (dry run)' if report.dry_run else ''}: {report.reason}.")
    screen.print(_closing(report, bundle))


def _closing(report: RefitReport, bundle: Path) -> str:
    if report.dry_run:
        return "Nothing was written."
    if report.after == report.before:
        left = f"Version {report.before} serves on{', with the new events' if report.intake.new else ''}."
        if report.to_forget == "refresh":
            return f"{left} What was taken back is still in its fit; multirecall refit {bundle} fits without it."
        return left
    if report.rollback:
        return f"Version {report.after} serves now; multirecall rollback {bundle} goes back to {report.before}."
    return (
        f"Version {report.after} serves now. Version {report.before} held what was taken back, so that it is erased "
        "and there is no way back."
    )


def _signed(gain: Interval) -> str:
    return f"{gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"

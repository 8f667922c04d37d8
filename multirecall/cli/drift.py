"""`multirecall drift`: what moved since a bundle was fitted, for a person or for a scheduler."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from multirecall.cli.options import ItemFiles, Plugins, UserFiles, load_bundle
from multirecall.cli.screen import console, print_table, show_error
from multirecall.cli.tables import plain_table
from multirecall.engine import Engine
from multirecall.engine.bundle.versions import current_name
from multirecall.errors import MultirecallError, RequestError
from multirecall.evaluation import require_plots
from multirecall.monitoring.drift import DriftOptions, DriftReport, measure_drift, read_events, write_drift_page
from multirecall.monitoring.drift.page import cells, number
from multirecall.output import require_file
from multirecall.progress import terminal_progress

PAST_LIMITS, UNUSABLE = 1, 2
"""Exit codes: a figure is past its limit; an argument or a file cannot be used. 0: neither."""


def drift(
    bundle: Annotated[Path, typer.Argument(help="Folder that `multirecall fit` or engine.save has written.")],
    events: Annotated[
        list[str],
        typer.Option(help="Events after the fit: parquet, CSV or TSV, path or glob pattern; may be repeated."),
    ],
    items: ItemFiles = None,
    users: UserFiles = None,
    window: Annotated[
        float | None, typer.Option(help="Days of a window; default: as long as the events last, at most 28.")
    ] = None,
    refit: Annotated[
        bool,
        typer.Option(
            "--refit", help="Measure the recall at fit by another fit, without the last window; takes as long as a fit."
        ),
    ] = False,
    against: Annotated[
        Path | None, typer.Option(help="Another bundle, an earlier fit, whose item vectors are compared.")
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="An earlier version, of this bundle or of --against, to compare item vectors.")
    ] = None,
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="Candidates of a request.")] = 100,
    sample: Annotated[int, typer.Option("--sample", min=1, help="Most users of a window who are asked for.")] = 300,
    false_alarms: Annotated[
        float, typer.Option(help="Probability that a quiet period raises an alarm, over all figures.")
    ] = 0.001,
    seed: Annotated[int, typer.Option(help="Seed of samples.")] = 7,
    page: Annotated[
        Path | None, typer.Option("--page", help="Write an HTML page with plots; needs the extra `plots`.")
    ] = None,
    plugin: Plugins = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Say what moved since a bundle was fitted, and whether to refresh, to retune or to do nothing.

    Exit code 0: nothing is past its limit; 1: something is; 2: an argument or a file cannot be used.
    """
    try:
        options = DriftOptions(window, k, sample, false_alarms, refit, seed)
        if page is not None:
            require_file(page, "--page")
            require_plots()
        report = _measure(bundle, events, items, users, against, version, plugin, options)
        if page is not None:
            write_drift_page(report, page)
    except MultirecallError as fault:
        show_error(fault)
        raise typer.Exit(UNUSABLE) from None
    if as_json:
        typer.echo(json.dumps(report.to_dict()))
    else:
        _show(report)
        if page is not None:
            console().print(f"page written to {page}")
    if report.alarms:
        raise typer.Exit(PAST_LIMITS)


def _measure(
    bundle: Path,
    events: list[str],
    items: list[str] | None,
    users: list[str] | None,
    against: Path | None,
    version: str | None,
    plugin: list[str] | None,
    options: DriftOptions,
) -> DriftReport:
    current = current_name(bundle)
    if against is None and version == current:
        raise RequestError(
            f"--version: {version} is the current version; name an earlier one, see multirecall versions"
        )
    with terminal_progress() as progress, load_bundle(bundle, plugin, current) as engine:
        other: Engine | None = None
        if against is not None or version is not None:
            folder = bundle if against is None else against
            other = load_bundle(folder, plugin, version or current_name(folder))
        try:
            found = read_events(engine.data, events, items, users)
            return measure_drift(engine, found, options, other=other, progress=progress)
        finally:
            if other is not None:
                other.close()


def _show(report: DriftReport) -> None:
    screen = console()
    table = plain_table("figure")
    for head in ("before", "now", "value", "limit"):
        table.add_column(head, justify="right")
    table.add_column("")
    for one in report.figures:
        name, before, now, value, unit, _, limit, source, _ = cells(one)
        mark = "PAST" if one.alarm else "" if source == "past" else source
        table.add_row(name, before, now, f"{value} {unit:6}", limit, mark, style="bold" if one.alarm else None)
    print_table(screen, table)
    if report.vectors:
        table = plain_table("item vectors")
        for head in ("items", "neighbours kept", "shift", "residual", "cosines moved"):
            table.add_column(head, justify="right")
        for two in report.vectors:
            figures = (two.overlap, two.shift, two.residual, two.moved_cosines)
            table.add_row(two.path, f"{two.n_items:,}", *map(number, figures))
        print_table(screen, table)
    for name, fact in report.facts.items():
        screen.print(f"{name}: {fact}")
    for note in report.notes:
        screen.print(f"note: {note}")
    screen.print()
    for reason in report.advice.reasons:
        screen.print(reason)
    screen.print(f"Advice: {report.advice.action}")

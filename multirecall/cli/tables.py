"""The tables that the command line prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from multirecall.cli.screen import print_table
from multirecall.evaluation import EXPLAINED, MEANINGS, METRICS, PathEmbeddings, Report, ValueReport
from multirecall.evaluation.meanings import figure
from multirecall.evaluation.value import ms_per_hit

SHORT = {"hit_rate": "hit", "precision": "prec", "long_tail": "long tail"}


def plain_table(*columns: str, title: str | None = None) -> Table:
    """A table with a rule under its header and nothing else."""
    return Table(*columns, title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)


def quality_tables(report: Report) -> list[Table]:
    """Two tables for each list length: quality and coverage. Each has a row for each path and the fused list."""
    tables = []
    for column, k in enumerate(report.ks):
        found, shown = plain_table(f"at k = {k}"), plain_table(f"at k = {k}")
        for metric in next(iter(report.figures.values())):
            table = found if metric in METRICS else shown
            table.add_column(SHORT.get(metric, metric), justify="right")
        found.add_column("recall 95 %", justify="right")
        for name, figures in report.figures.items():
            cells = {metric: figure(metric, values[column]) for metric, values in figures.items()}
            low, high = report.intervals[name]["recall"][column]
            style = "bold" if name == "fused" else None
            found.add_row(name, *(cells[metric] for metric in METRICS), f"{low:.3f}–{high:.3f}", style=style)
            shown.add_row(name, *(cell for metric, cell in cells.items() if metric not in METRICS), style=style)
        tables += [found, shown]
    return tables


def explanations(screen: Console, report: Report) -> None:
    """One line for each column of `quality_tables` that says what it means."""
    meanings = {SHORT.get(metric, metric): EXPLAINED[metric] for metric in next(iter(report.figures.values()))}
    _explain(screen, meanings | {"recall 95 %": "bounds of the mean over users, by bootstrap"})


def _explain(screen: Console, meanings: Mapping[str, str]) -> None:
    table = Table.grid(padding=(0, 2), pad_edge=True)
    for name, meaning in meanings.items():
        table.add_row(name, meaning)
    screen.print(table)


def show_embeddings(screen: Console, looked: Sequence[PathEmbeddings]) -> None:
    """The health of the item vectors of paths, what is likely wrong with them, and what the columns mean."""
    if not looked:
        screen.print("No path has item vectors, so there are none to look at.\n")
        return
    table = plain_table("item vectors")
    for head in MEANINGS:
        table.add_column(head, justify="right")
    for one in looked:
        table.add_row(one.path, *(one.health.cells() if one.health else ["–"] * len(MEANINGS)))
    print_table(screen, table)
    for one in looked:
        for line in one.remarks:
            screen.print(f"{one.path}: {line}")
    screen.print()
    _explain(screen, MEANINGS)


def gains_table(report: Report) -> Table:
    """The fused list beside the best path, a row for each metric and list length."""
    table = plain_table("fused list", "best path")
    for head in ("fused", "gain over the best path"):
        table.add_column(head, justify="right")
    table.add_column("outcome")
    for one in report.gains:
        table.add_row(
            f"{one.metric}@{one.k}",
            f"{one.best:.4f} {one.path}",
            f"{one.fused:.4f}",
            f"{one.gain.mean:+.4f} [{one.gain.low:+.4f}, {one.gain.high:+.4f}]",
            one.outcome,
            style="bold" if one.outcome == "loses" else None,
        )
    return table


def segment_table(report: Report) -> Table:
    """Recall by segment of users at the largest k, a row for each path and the fused list."""
    table = plain_table(f"recall at k = {report.ks[-1]}")
    for segment in report.segments:
        table.add_column(f"{segment.name}\n{segment.n_users:,} users", justify="right")
    for name in report.figures:
        cells = (f"{segment.figures[name]['recall'][-1]:.4f}" for segment in report.segments)
        table.add_row(name, *cells, style="bold" if name == "fused" else None)
    return table


def value_table(worth: ValueReport) -> Table:
    """The value of each path, a row for each."""
    table = plain_table(f"at k = {worth.k}")
    for head in ("unique hits", "lost without it", "shapley", "ms", "ms per extra hit"):
        table.add_column(head, justify="right")
    for name, path in worth.paths.items():
        table.add_row(
            name,
            f"{path.unique_hits:,}",
            f"{path.loss.mean:.4f} ({path.loss.low:.3f}–{path.loss.high:.3f})",
            f"{path.shapley:.4f}",
            f"{path.ms:.3f}",
            ms_per_hit(path.ms_per_extra_hit),
        )
    table.add_row("fused", "", "", f"{worth.recall:.4f}", f"{worth.ms:.3f}", "", style="bold")
    return table


def overlap_table(worth: ValueReport) -> Table:
    """The share of a row's first k items that the column's path proposes too."""
    table = plain_table(f"share that is also in, first {worth.k}")
    for name in worth.overlap:
        table.add_column(name, justify="right")
    for name, shares in worth.overlap.items():
        table.add_row(name, *(f"{share:.2f}" for share in shares.values()))
    return table

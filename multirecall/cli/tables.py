"""How the command line prints tables."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from multirecall.evaluation import Report

SHORT = {"hit_rate": "hit", "precision": "prec"}


def console(*, stderr: bool = False) -> Console:
    """A console that prints what it is given, so that a title with brackets is no markup."""
    return Console(stderr=stderr, markup=False, highlight=False, soft_wrap=stderr)


def plain_table(*columns: str, title: str | None = None) -> Table:
    """A table with a rule under its header and nothing else."""
    return Table(*columns, title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)


def quality_tables(report: Report) -> list[Table]:
    """One table for each list length, a row for each path and the fused list."""
    tables = []
    for column, k in enumerate(report.ks):
        table = plain_table(f"at k = {k}")
        for metric in next(iter(report.figures.values())):
            table.add_column(SHORT.get(metric, metric), justify="right")
        for name, figures in report.figures.items():
            cells = (
                f"{values[column]:.2f}" if metric == "novelty" else f"{values[column]:.4f}"
                for metric, values in figures.items()
            )
            table.add_row(name, *cells, style="bold" if name == "fused" else None)
        tables.append(table)
    return tables


def describe(report: Report) -> str:
    """What the figures were measured on, in one sentence."""
    return (
        f"{report.split}: {report.n_users:,} users ({report.n_unknown_users:,} not in the training log) with "
        f"{report.n_targets:,} targets, of which {report.unreachable:.2%} are not in the training catalogue."
    )

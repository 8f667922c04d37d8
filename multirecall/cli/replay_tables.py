"""The tables that `multirecall replay` prints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from multirecall.cli.screen import print_table
from multirecall.cli.tables import plain_table
from multirecall.learning.bootstrap import Interval
from multirecall.monitoring.replay.changes import Changes, Likeness
from multirecall.monitoring.replay.estimates import Estimates
from multirecall.monitoring.replay.found import Found
from multirecall.monitoring.replay.fusing import Unknown
from multirecall.monitoring.replay.report import ReplayReport, Sameness


def show_replay(screen: Console, found: ReplayReport) -> None:
    """Print what a replay found."""
    if found.sameness is not None:
        _show_sameness(screen, found.sameness, found.requests)
    if found.changes is not None:
        _show_changes(screen, found.changes)
    if found.unknown is not None:
        _show_unknown(screen, found.unknown, found.requests)
    if found.found is not None and found.events is not None:
        _show_found(screen, found.found, found.events)
    if isinstance(found.estimates, Estimates):
        _show_estimates(screen, found.estimates)
    elif found.estimates is not None:
        screen.print(f"No estimates: {found.estimates}.")


def _show_sameness(screen: Console, same: Sameness, requests: int) -> None:
    screen.print(f"{same.equal:,} of {requests:,} answers are the same to the byte.")
    if same.differ:
        screen.print(
            f"{same.differ:,} differ, such as {', '.join(same.examples)}. A fusion plug-in may have changed since, or "
            "a path proposes what the filters refuse."
        )
    if same.untold:
        screen.print(
            f"{same.untold:,} cannot be told: two fusions were interleaved at less than full width, whose quotas the "
            "log lacks."
        )


def _show_changes(screen: Console, changes: Changes) -> None:
    groups: list[tuple[str, Mapping[str, Likeness]]] = [("requests", {"all": changes.all})]
    groups += [("segment", changes.segments)] if len(changes.segments) > 1 else []
    groups += [("arm", changes.arms)] if len(changes.arms) > 1 else []
    for title, kept in groups:
        table = plain_table(title)
        for head in ("number", *(f"overlap@{k}" for k in changes.ks), f"RBO, p = {changes.persistence:g}", "same"):
            table.add_column(head, justify="right")
        for name, one in sorted(kept.items()):
            values = one.to_dict(changes.ks)
            cells = (f"{value:.4f}" for value in (*values["overlap"].values(), values["rbo"]))
            table.add_row(name, f"{one.requests:,}", *cells, f"{one.unchanged / max(one.requests, 1):.1%}")
        print_table(screen, table)
    table = plain_table("entered most often")
    table.add_column("requests", justify="right")
    table.add_column("left most often")
    table.add_column("requests", justify="right")
    values = changes.to_dict()
    for row in range(max(len(values["entered"]), len(values["left"]))):
        table.add_row(*_named(values["entered"], row), *_named(values["left"], row))
    if table.row_count:
        screen.print(table)


def _named(items: Sequence[Mapping[str, Any]], row: int) -> tuple[str, str]:
    return (str(items[row]["item"]), f"{items[row]['requests']:,}") if row < len(items) else ("", "")


def _show_unknown(screen: Console, unknown: Unknown, requests: int) -> None:
    for path, n in unknown.cut.items():
        if n:
            screen.print(f"{path}: in {n:,} of {requests:,} requests its list ends where this config would read on.")
    for path, n in unknown.unasked.items():
        if n:
            screen.print(f"{path}: in {n:,} of {requests:,} requests it was not asked, and counts as empty.")
    if unknown.short:
        screen.print(f"{unknown.short:,} new answers are short, because the logged backfill does not suffice.")


def _show_found(screen: Console, found: Found, events: tuple[int, int]) -> None:
    screen.print(
        f"{events[1]:,} of {events[0]:,} events count for a request; {found.n_requests:,} requests have any. Means "
        "over users."
    )
    if not found.n_requests:
        return
    table = plain_table("list")
    for metric in ("recall", "hit rate"):
        for k in found.ks:
            table.add_column(f"{metric}@{k}", justify="right")
    for name, figures in found.figures().items():
        style = "bold" if name not in found.paths else None
        table.add_row(name, *(f"{value:.4f}" for row in figures.values() for value in row), style=style)
    print_table(screen, table)
    gains = found.gains()
    if gains:
        table = plain_table("replayed, beside as logged")
        for head in ("as logged", "replayed", "gain, 95 % interval"):
            table.add_column(head, justify="right")
        for one in gains:
            cells = (f"{one.old:.4f}", f"{one.new:.4f}", _signed(one.gain))
            table.add_row(f"{one.metric.replace('_', ' ')}@{one.k}", *cells)
        print_table(screen, table)


def _show_estimates(screen: Console, one: Estimates) -> None:
    table = plain_table("chosen of an answer")
    table.add_column("per request, 95 % interval", justify="right")
    for name, value in (("as logged", one.logged), ("IPS", one.ips), ("SNIPS", one.snips), ("doubly robust", one.dr)):
        table.add_row(name, str(value))
    table.add_row("gain, doubly robust", _signed(one.gain))
    print_table(screen, table)
    screen.print(
        f"From {one.requests:,} requests of {one.users:,} users with propensities, without {one.left_out:,} that have "
        f"none; {one.hits:,} shown candidates of the new answers were chosen, {one.by_chance:,} of them such as chance "
        f"might not have shown. {one.unsupported:.1%} of the new candidates could never be shown, and are left out."
    )


def _signed(value: Interval) -> str:
    if math.isinf(value.low):
        return f"{value.mean:+.4f}"
    return f"{value.mean:+.4f} [{value.low:+.4f}, {value.high:+.4f}]"

"""The tables of refits: what a month without one costs, and what the guard decides."""

from __future__ import annotations

from collections import Counter
from statistics import mean
from typing import Any

from _tables import machine_of, result, table


def refit_decay() -> str:
    """Recall by the age of a fit, with live changes and without."""
    figures = result("refit-decay")
    names = ["fused", *figures["paths"]]
    ages = sorted(figures["recall"]["live"], key=int)
    rows = []
    for how, label in (("live", "live changes"), ("as fitted", "as fitted")):
        for name in names:
            recall = [figures["recall"][how][age][name] for age in ages]
            lost = figures["brought_back"][how][ages[-1]][name]
            cells = [f"{value:.4f}" for value in recall]
            title = f"**{name}**" if name == "fused" else f"`{name}`"
            rows.append([f"{title}, {label}", *cells, f"{lost['mean']:+.4f} [{lost['low']:+.4f}, {lost['high']:+.4f}]"])
    head = ["list", *(f"month {age}" for age in ages), f"a refit brings back in month {ages[-1]}"]
    months, paths = figures["months"], ", ".join(f"`{name}`" for name in figures["paths"])
    return (
        f"Recall@{figures['k']} of items new to the user in {months[0][:7]} to {months[-1][:7]}, "
        f"{figures['requests']:,} users and months, by the months since the fit. Month 1, live, is an engine that is "
        f"refitted each month.\n\n{table(head, rows)}\n\n"
        f"Paths {paths} under `rrf`, with settings that no log chooses; a fit takes {figures['fit_s']:.1f} s (median). "
        f"Intervals are paired by user and month. {machine_of(figures)}."
    )


def refit_guard() -> str:
    """The decisions of the guard on settings that are the same, equal and worse."""
    figures = result("refit-guard")
    rows = [_decisions(name, rows) for name, rows in figures["decisions"].items()]
    head = ["new settings", "judged", "published", "refused", "against `old`", "against `serving`"]
    months, paths = figures["months"], ", ".join(f"`{name}`" for name in figures["paths"])
    users = [row["n_users"] for row in next(iter(figures["decisions"].values()))]
    return (
        f"{table(head, rows)}\n\n"
        f"Bundles of {paths} under `rrf`, fitted at the start of each of {len(months)} months ({months[0][:7]} to "
        f"{months[-1][:7]}), with the events of the next two; {min(users):,} to {max(users):,} users in a window. The "
        f"last columns are mean differences in recall@{figures['k']}, and half the width of a mean interval."
    )


def _decisions(name: str, rows: list[dict[str, Any]]) -> list[str]:
    made = Counter(row["decision"] for row in rows)
    return [
        name,
        str(len(rows)),
        str(made["published"]),
        str(made["kept"]),
        *(_gain(rows, arm) for arm in ("old", "serving")),
    ]


def _gain(rows: list[dict[str, Any]], against: str) -> str:
    gains = [row["gains"][against] for row in rows if against in row["gains"]]
    if not gains:
        return "–"
    half = mean((gain["high"] - gain["low"]) / 2 for gain in gains)
    return f"{mean(gain['mean'] for gain in gains):+.4f} ± {half:.4f}"

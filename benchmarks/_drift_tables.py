"""The tables of drift: markets of known truth, and the months of a real log."""

from __future__ import annotations

from statistics import median
from typing import Any

from _tables import machine_of, result, table

SHOWN = ("unknown items", "unknown users", "item popularity", "history length", "item price", "als scores")


def drift() -> str:
    """What was found in markets of known truth, and the alarms of quiet periods."""
    figures = result("drift-market")
    rows = []
    for injected, runs in figures["injected"].items():
        actions = sorted({run["action"] for run in runs})
        rows.append(
            [
                figures["sizes"][injected],
                ", ".join(figures["shows"][injected]),
                f"{sum(run['found'] for run in runs)} of {len(runs)}",
                f"{median(run['ratio'] for run in runs):.1f}",
                ", ".join(actions),
            ]
        )
    quiet = [names for one in figures["quiet"] for names in one["alarms"]]
    alarms = [names for names in quiet if names]
    named = f" ({'; '.join(', '.join(names) for names in alarms)})" if alarms else ""
    without = sum(not any(one["alarms"]) for one in figures["quiet"])
    nearest = max(max(one["nearest"]) for one in figures["quiet"])
    return (
        f"{table(['what changes', 'shown by one of', 'found', 'times its limit', 'advice'], rows)}\n\n"
        f"{len(quiet)} quiet periods, {figures['quiet_periods']} in each of {len(figures['quiet'])} markets, each "
        f"after a fit of its own: {len(alarms)} raised an alarm{named}; {without} of the markets had none. The nearest "
        f"that a quiet figure came to its limit was {nearest:.2f} times it. Markets of 1,500 users and 400 items, "
        f"windows of 7 days, about 13 of them before each fit. Machine: {machine_of(figures)}."
    )


def drift_months() -> str:
    """What the figures say about each month of online-retail, after a fit on all before it."""
    figures = result("drift-retail")
    rows = [_month(one) for one in figures["months"]]
    head = ["28 days from", *SHOWN, "recall@100 at fit → now", "past its limit", "advice"]
    paths = ", ".join(f"`{path['retriever']}`" for path in figures["config"]["paths"])
    return f"{table(head, rows)}\n\n{paths}, fused by `rrf`; the recall at fit is that of another fit (`--refit`)."


def _month(one: dict[str, Any]) -> list[str]:
    own = one["figures"]
    recall = own["recall@100"]
    past = [name for name, figure in own.items() if figure["alarm"]]
    return [
        one["from"],
        *(f"{own[name]['value']:.3f} / {own[name]['limit']:.3f}" for name in SHOWN),
        f"{recall['before']:.3f} → {recall['now']:.3f}",
        ", ".join(past) or "–",
        one["action"],
    ]

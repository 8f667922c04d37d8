"""The table of drift: the months of a real log."""

from __future__ import annotations

from typing import Any

from _tables import result, table

SHOWN = ("unknown items", "unknown users", "item popularity", "history length", "item price", "als scores")


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

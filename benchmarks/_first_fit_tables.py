"""The table of the first fit: what it takes and what it finds, by path, beside an earlier release and a peer."""

from __future__ import annotations

from typing import Any

from _tables import machine_of, result, table

ENGINE = ("now", "before")

FILES = ("first_fit", "first_fit-million")
"""Results of a small log beside an earlier release, and of logs of about a million events."""


def first_fit() -> str:
    """The default engine on each log: sums, then its paths, each beside what was before."""
    figures = result(FILES[0])
    rows = [row for file in FILES for row in result(file)["rows"]]
    beside = [one for one in ENGINE if any(row["fit"] == one for row in rows)]
    sums, paths = [], []
    for row in rows:
        quality = row["quality"]["fused" if row["fit"] in ENGINE else "ease"]
        sums.append([row["log"], row["fit"], str(row["seeds"]), *_costs(row), *_found(quality)])
    for log in dict.fromkeys(row["log"] for row in rows):
        own = {row["fit"]: row for row in rows if row["log"] == log}
        for name in own["now"]["paths"]:
            if name in own["now"]["quality"]:
                cells = [cell for one in beside for cell in _of_path(own.get(one), name)]
                paths.append([log, name, *cells])
    return (
        table(["log", "fit", "seeds", "CPU s", "peak", "saved", *_heads()], sums)
        + "\n\n"
        + table(["log", "path", *(f"{one}: {head}" for one in beside for head in ("CPU s", "saved", *_heads()))], paths)
        + f"\n\nHow it is measured: {figures['note']}. {machine_of(figures)}."
    )


def next_item_forms() -> str:
    """The forms of `next_item` on a slice that no setting was chosen on, and what the sparse one loses."""
    figures = result("next_item")
    metrics = [name for name in figures["rows"][0] if "@" in name]
    rows = [
        [row["form"], f"{row['cpu_s']:.1f}", f"{row['bytes'] / 1e6:,.1f} MB", *(f"{row[name]:.4f}" for name in metrics)]
        for row in figures["rows"]
    ]
    lost = "; ".join(
        f"{name.replace('ndcg', 'NDCG')} by {one['mean']:.4f} [{one['low']:.4f}, {one['high']:.4f}]"
        for name, one in figures["sparse_loses"].items()
    )
    return (
        f"{table(['form', 'CPU s', 'saved', *(name.replace('ndcg', 'NDCG') for name in metrics)], rows)}\n\n"
        f"Beside the exact form, the sparse one is lower in {lost} (paired 95 % intervals over {figures['users']} "
        f"users). {machine_of(figures)}."
    )


def _heads() -> list[str]:
    k, longer = result(FILES[0])["k"]
    return [f"recall@{k}", f"recall@{longer}", f"NDCG@{k}", f"NDCG@{longer}"]


def _costs(row: dict[str, Any]) -> list[str]:
    return [f"{row['cpu_s']:.1f}", f"{row['peak_mib']:,.0f} MiB", f"{row['bundle_bytes'] / 1e6:,.1f} MB"]


def _found(quality: dict[str, float]) -> list[str]:
    k, longer = result(FILES[0])["k"]
    values = (quality.get(name) for name in (f"recall@{k}", f"recall@{longer}", f"ndcg@{k}", f"ndcg@{longer}"))
    return ["–" if value is None else f"{value:.4f}" for value in values]


def _of_path(row: dict[str, Any] | None, name: str) -> list[str]:
    path = None if row is None else row["paths"].get(name)
    if row is None or path is None or name not in row["quality"]:
        return ["–"] * (2 + len(_heads()))
    seconds = "–" if path["cpu_s"] is None else f"{path['cpu_s']:.1f}"
    return [seconds, f"{path['bytes'] / 1e6:,.1f} MB", *_found(row["quality"][name])]

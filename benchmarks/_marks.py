"""The tables on the default engine: its fused list beside the best path alone, and what learning it costs."""

from __future__ import annotations

from typing import Any

from _harness import RESULTS
from _tables import machine_of, result, table

WORDS = {"gains": "above", "loses": "below", "unclear": "inside"}


def auto_results() -> list[dict[str, Any]]:
    """The results of bench_auto.py, by case."""
    return [result(file.stem) for file in sorted(RESULTS.glob("auto-*.json"))]


def marks() -> str:
    """The fused list of the default engine beside the best path alone, in every cell, and what learning costs."""
    found = auto_results()
    return "\n\n".join((gains_table(found), shares(found), costs_table(found)))


def gains_table(found: list[dict[str, Any]]) -> str:
    """A row for each case, a column for each metric and k."""
    head = ["case", "users", *(f"{cell['metric']}@{cell['k']}" for cell in found[0]["cells"])]
    rows = [[one["case"], f"{one['n_users']:,}", *map(gain_cell, one["cells"])] for one in found]
    return table(head, rows)


def gain_cell(cell: dict[str, Any]) -> str:
    """The gain as a share of the best path, which path that is, and on which side of its interval 0 lies."""
    return f"{relative(cell):+.1%} {cell['path']}, {WORDS[cell['outcome']]}"


def relative(cell: dict[str, Any]) -> float:
    """The gain over the best path as a share of the best path's mean."""
    return float(cell["gain"]["mean"] / cell["best"]) if cell["best"] else 0.0


def shares(found: list[dict[str, Any]]) -> str:
    """How many cells are above, inside and below, and the gain in recall@20."""
    cells = [cell for one in found for cell in one["cells"]]
    counts = {word: sum(WORDS[cell["outcome"]] == word for cell in cells) for word in WORDS.values()}
    named = ", ".join(f"{word} in {count} ({count / len(cells):.0%})" for word, count in counts.items())
    at_20 = {
        one["case"]: relative(cell) for one in found for cell in one["cells"] if (cell["metric"], cell["k"]) == SHOWN
    }
    least, mean = min(at_20, key=lambda case: at_20[case]), sum(at_20.values()) / len(at_20)
    return (
        f"Of {len(cells)} cells, the fused list is {named}. The gain in recall@20 is {mean:+.1%} in the "
        f"mean over the cases, and {at_20[least]:+.1%} at least ({least})."
        f"{form_shares(found)}"
    )


SHOWN = ("recall", 20)


def form_shares(found: list[dict[str, Any]]) -> str:
    """`learned` beside the best other weighted fusion from the same hold-out, in words."""
    cells = [cell for one in found if one["learned"] for cell in one["learned"]["cells"]]
    if not cells:
        return ""
    above, below = sum(cell["gain"]["low"] > 0 for cell in cells), sum(cell["gain"]["high"] < 0 for cell in cells)
    return (
        f" The fusion `learned` beside the best of `rrf` and `weighted_sum` with weights from the same hold-out: above "
        f"in {above} of {len(cells)} cells, below in {below}."
    )


def costs_table(found: list[dict[str, Any]]) -> str:
    """What was kept, the CPU time of the fit beside that of the paths alone, and the share of each part of the fit."""
    head = ["case", "fit, CPU s", "paths alone, CPU s", "ratio", "settings, share", "fusion, share", "what was kept"]
    rows = []
    for one in found:
        whole, alone = one["fit"]["cpu_s"], one["fit_of_paths_alone"]["cpu_s"]
        spent, report = one["report"]["seconds"], one["report"]
        parts = [f"{spent[part] / sum(spent.values()):.0%}" if spent else "–" for part in ("settings", "fusion")]
        kept = f"`{report['strategy']}` of {len(report['weights']) or 'all'} paths"
        rows.append([one["case"], f"{whole:.0f}", f"{alone:.0f}", f"{whole / alone:.2f}", *parts, kept])
    return f"{table(head, rows)}\n\nMachine: {', '.join(sorted({machine_of(one) for one in found}))}."

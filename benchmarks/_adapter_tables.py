"""What the fusion of three models of others finds, from the result file of `bench_adapters.py`."""

from __future__ import annotations

from typing import Any

from _tables import machine_of, result, table

SHOWN = (("recall", 20), ("ndcg", 20), ("recall", 100))


def other_models() -> str:
    """Each model alone and the fused list, and the paired gain over the best."""
    figures = result("adapters-online-retail-new")
    ks, report = figures["ks"], figures["report"]
    rows = [
        [name, *(f"{own[metric][ks.index(k)]:.4f}" for metric, k in SHOWN)] for name, own in report["figures"].items()
    ]
    gains = {(one["metric"], one["k"]): one for one in report["gains"]}
    told = "; ".join(_gain(gains[one]) for one in SHOWN)
    weights = ", ".join(f"{name} {weight:g}" for name, weight in figures["weights"].items())
    return (
        f"{figures['case']}: {figures['statement']}. Fusion: `{figures['fusion']['strategy']}`, weights {weights}.\n\n"
        f"{table(['list', *(f'{metric}@{k}' for metric, k in SHOWN)], rows)}\n\n"
        f"The fused list against the best model alone, with 95 % intervals: {told}. It was chosen for recall@{ks[-1]}. "
        f"Machine: {machine_of(figures)}."
    )


def _gain(one: dict[str, Any]) -> str:
    gain = one["gain"]
    return (
        f"{one['metric']}@{one['k']} {gain['mean']:+.4f} [{gain['low']:+.4f}, {gain['high']:+.4f}] over {one['path']}"
    )

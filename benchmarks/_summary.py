"""The README's two tables: what fusing finds beside the best single path, and how fast things are."""

from __future__ import annotations

from typing import Any

from _marks import auto_results
from _tables import result, table

SHOWN = (("recall", 20), ("ndcg", 10))


def summary() -> str:
    """Best path alone beside the fused list of the default engine, on every data set that was measured."""
    head = ["data set", *(column for metric, k in SHOWN for column in (f"best path, {metric}@{k}", "fused"))]
    return table(head, [_quality_row(one) for one in auto_results() if not one["generated"]])


def _quality_row(found: dict[str, Any]) -> list[str]:
    cells = {(cell["metric"], cell["k"]): cell for cell in found["cells"]}
    shown = [cells[one] for one in SHOWN]
    pairs = ((f"{one['best']:.3f} `{one['path']}`", f"{one['fused']:.3f} {one['outcome']}") for one in shown)
    return [found["case"], *(cell for pair in pairs for cell in pair)]


def speed_summary() -> str:
    """A few figures of speed, each beside a peer or what it is made of."""
    rows = []
    for size in (100_000, 1_000_000):
        one = result(f"latency-{size}")
        ours, bare = one["whole"]["rrf"]["p50_us"], one["whole"]["bare, ef=1000"]["p50_us"]
        job = f"a request: {one['k']} candidates of {size:,} items from five paths"
        rows.append([job, f"{ours / 1e3:.1f} ms", f"one bare hnswlib search: {bare / 1e3:.1f} ms"])
    fusion, load, bundle, live = (result(name) for name in ("fusion", "load", "bundle", "live-speed"))
    towers, item_cf, index = result("two_tower"), result("item_cf"), result("index")["searches"]["top_500"]
    costs = {name: row["cpu_us"] for name, row in fusion["per_user"].items()}
    rates = {(run["threads"], run["events_per_call"]): run["events_per_s"] for run in live["rates"]}
    per_s = towers["samples_per_cpu_s"]
    rows += [
        [
            f"fusing {fusion['paths']} lists of {fusion['quota']}",
            f"{costs['rrf: fuse']:.0f} µs",
            f"a dictionary: {costs['rrf: dictionary']:,.0f} µs",
        ],
        [
            "the first 500 of 100,000 vectors, recall .99",
            f"{index['as_chosen']['cpu_p50_us']:.0f} µs",
            f"bare hnswlib: {index['bare']['cpu_p50_us']:,.0f} µs",
        ],
        [
            f"`item_cf` on {item_cf['events']:,} events",
            f"{item_cf['fit']['multirecall']['cpu_s']:.1f} s",
            f"implicit: {item_cf['fit']['implicit']['cpu_s']:.1f} s",
        ],
        [
            "`two_tower`, samples a second",
            f"{per_s['multirecall']:,.0f}",
            f"torch-rechub's DSSM: {per_s['torch-rechub DSSM']:,.0f}",
        ],
        [
            f"a log of {load['rows']:,} rows, text ids",
            f"{load['text']['dataset_load']['wall_s']:.1f} s",
            f"{load['text']['wall_ratio']:.1f} × what polars takes to read and sort it",
        ],
        [
            f"`Engine.load`, {bundle['items']:,} items, {bundle['bundle_bytes'] / 1e9:.1f} GB",
            f"{bundle['load_s']:.1f} s",
            f"of which {bundle['verify_s']:.1f} s for SHA-256",
        ],
        [
            "live events, journaled and visible",
            f"{rates[1, 1_000]:,.0f} a second",
            f"one by one: {rates[1, 1]:,.0f}, each on the disk",
        ],
    ]
    caption = "One thread; machines and sizes are those of the benchmarks."
    return f"{table(['job', 'takes', 'beside'], rows, '---')}\n\n{caption}"

"""The tables of docs/indexes.md, from the result files of `bench_index.py kinds`."""

from __future__ import annotations

from typing import Any

from _harness import RESULTS
from _tables import machine_of, result, table

SOURCES = ("clustered-100000", "clustered-1000000")
"""The runs whose growth is shown, the smaller first."""

SHARES = {"0.5": "50 %", "0.05": "5 %", "0.005": "0.5 %"}

FAR = 100_000_000


def index_kinds() -> str:
    """Every kind on every set of vectors that was measured, what it would take for many more, and bare Faiss."""
    runs = [result(file.stem) for file in sorted(RESULTS.glob("index-kinds-*.json"), key=_size)]
    return "\n\n".join([*map(_run, runs), _growth()])


def _size(file: Any) -> tuple[int, str]:
    return int(file.stem.rpartition("-")[2]), file.stem


def _run(figures: dict[str, Any]) -> str:
    head = ["kind", "asked", "recall", "median", "95th", *(f"{share} of items" for share in SHARES.values())]
    rows = [
        [
            f"`{one['kind']}`",
            "–" if one["asked"] is None else f"{one['asked']:.2f}",
            f"{one['search']['recall']:.3f}",
            *(f"{one['search'][key]:,.0f}" for key in ("p50_us", "p95_us")),
            *(f"{one['filtered'][share]['p50_us']:,.0f}" for share in SHARES),
            f"{one['build_s']:,.0f}",
            f"{one['bytes_per_vector']:,.0f}",
            f"{one['adds_per_s']:,.0f}",
        ]
        for one in figures["kinds"]
    ]
    bare = [
        [one["index"], f"`{effort}` {one[effort]}", f"{one['recall']:.3f}", f"{one['p50_us']:,.0f}"]
        for one in figures["bare"]
        for effort in ("nprobe", "efSearch")
        if effort in one
    ]
    measure = figures["space"].replace("_", " ")
    name = f"{figures['items']:,} vectors of length {figures['dim']}, {figures['source']}"
    plot = f"assets/index-kinds-{figures['source']}-{figures['items']}.svg"
    return (
        f"### {name}\n\nTop {figures['k']} by {measure}, {figures['queries']} queries, µs on one thread; builds with "
        f"{figures['build_threads']}. Machine: {machine_of(figures)}.{_left_out(figures)}\n\n"
        f"{table([*head, 'build, s', 'bytes a vector', 'adds a second'], rows)}\n\n![Latency]({plot})\n\n"
        f"Bare Faiss on the same vectors, without filters, changes or checks:\n\n"
        f"{table(['index', 'effort', 'recall', 'median'], bare)}"
    )


def _left_out(figures: dict[str, Any]) -> str:
    return "".join(f" No `{kind}`: {why}." for kind, why in figures["missing"].items())


def _growth() -> str:
    """What a hundred million vectors would take, from the growth of both runs."""
    small, large = (result(f"index-kinds-{source}") for source in SOURCES)
    decades = len(str(FAR)) - len(str(large["items"]))
    rows = []
    for one in large["kinds"]:
        before = next(
            (own for own in small["kinds"] if (own["kind"], own["asked"]) == (one["kind"], one["asked"])), None
        )
        if before is None or one["asked"] not in (None, 0.95):
            continue
        factor = one["search"]["p50_us"] / before["search"]["p50_us"]
        rows.append(
            [
                f"`{one['kind']}`",
                f"{one['bytes_per_vector']:,.0f}",
                f"{one['bytes_per_vector'] * FAR / 1e9:,.0f}",
                f"{factor:.1f} ×",
                f"{one['search']['p50_us'] * factor**decades / 1e3:,.1f}",
            ]
        )
    head = ["kind", "bytes a vector", "GB", "latency for ten times as many", "ms of a query, if that goes on"]
    return (
        f"### {FAR:,} vectors, by growth\n\nNot measured: the bytes of a vector at {large['items']:,}, and the growth "
        f"of the latency from {small['items']:,}, asked for a recall of .95. One step of growth says little about two "
        f"more.\n\n{table(head, rows)}"
    )

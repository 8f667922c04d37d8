"""Fit time, memory and latency as the catalogue grows, as a table and a plot."""

from __future__ import annotations

import sys
from pathlib import Path
from time import perf_counter, process_time
from typing import Annotated, Any

import numpy as np
import typer
from _generated import PATHS
from _harness import in_process, peak_rss_mib, percentiles, rss_mib, write

from multirecall import Dataset, Engine, EngineConfig
from multirecall.datasets import generate
from multirecall.progress import SILENT, terminal_progress

SEED = 7
PLOT = Path(__file__).resolve().parent.parent / "docs" / "assets" / "growth.svg"
CHEAP: dict[str, dict[str, Any]] = {
    "two_tower": {"epochs": 1, "batch": 4096, "dim": 32},
    "item2vec": {"epochs": 1, "dim": 32, "neighbours": 100},
    "node2vec": {"walks_per_node": 1, "walk_length": 10, "dim": 32},
    "item_cf": {"neighbours": 100},
    "content": {},
}
SIZES = (10_000, 100_000, 1_000_000)
PLOTTED = {"fit_cpu_s": "fit, CPU s", "peak_rss_mib": "peak memory, MiB", "p50_us": "request, p50 µs"}


def main(
    items: Annotated[
        list[int] | None, typer.Option(help="Items; repeat for several; default: ten thousand to a million.")
    ] = None,
    events_per_item: Annotated[int, typer.Option(help="Events of the log for each item.")] = 2,
    path: Annotated[list[str] | None, typer.Option(help="Path; repeat for several; default: all five.")] = None,
    threads: Annotated[int, typer.Option(help="Threads of the fit; requests are asked by one.")] = 1,
    requests: Annotated[int, typer.Option(help="Requests that are timed, each for another user.")] = 300,
) -> None:
    """Fit at each size in a process of its own, with cheap settings of the training, and time requests for 500.

    Compile time is excluded from the requests and, by a small fit before, from the fit.
    """
    rows = []
    program = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import bench_growth; bench_growth.one()"
    sizes = items or list(SIZES)
    names = path or list(PATHS)
    with terminal_progress() as progress, progress.task("sizes", len(sizes)) as advance:
        for size in sizes:
            rows.append(
                in_process(program, str(size), str(size * events_per_item), str(threads), str(requests), *names)
            )
            advance(1)
    for row in rows:
        typer.echo("  ".join(f"{name} {value:,.0f}" for name, value in row.items() if not isinstance(value, dict)))
    draw(rows, PLOT)
    settings = {"events_per_item": events_per_item, "k": 500, "threads": threads, "seed": SEED, "requests": requests}
    typer.echo(write("growth", {**settings, "paths": {name: CHEAP[name] for name in names}, "sizes": rows}))


def one() -> None:
    """Measure one size, in this process, and print the row as JSON."""
    import json

    items, events, threads, requests = map(int, sys.argv[1:5])
    paths = [{"retriever": name, "params": CHEAP[name]} for name in sys.argv[5:]]
    config = EngineConfig.model_validate({"paths": paths, "seed": SEED, "threads": threads})
    small = generate(200, 300, 5_000)
    Engine(config).fit(Dataset.from_frames(small.interactions, small.items, small.users), progress=SILENT)
    log = generate(items // 2, items, events)
    data = Dataset.from_frames(log.interactions, log.items, log.users)
    del log
    before = rss_mib()
    engine = Engine(config)
    wall, cpu = perf_counter(), process_time()
    engine.fit(data, progress=SILENT)
    wall, cpu = perf_counter() - wall, process_time() - cpu
    users = np.random.default_rng(SEED).choice(np.unique(data.interactions.users), requests + 20)
    times = []
    for user in data.users.ids.ids(users).tolist():
        start = perf_counter()
        engine.retrieve(user, 500)
        times.append(perf_counter() - start)
    row = {
        "items": data.n_items,
        "users": data.n_users,
        "interactions": len(data.interactions),
        "fit_wall_s": wall,
        "fit_cpu_s": cpu,
        "peak_rss_mib": peak_rss_mib(),
        "before_fit_mib": before,
        "after_fit_mib": rss_mib(),
        **percentiles(times[20:]),
    }
    print(json.dumps(row))


def draw(rows: list[dict[str, Any]], file: Path) -> None:
    """One panel for each figure over the items, both axes logarithmic."""
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    rcParams["svg.hashsalt"] = "growth"
    figure = Figure(figsize=(9, 3), layout="constrained")
    for axes, (name, label) in zip(np.atleast_1d(figure.subplots(1, len(PLOTTED))), PLOTTED.items(), strict=True):
        axes.loglog([row["items"] for row in rows], [row[name] for row in rows], marker="o", color="tab:blue")
        for row in rows:
            axes.annotate(
                f"{row[name]:,.0f}", (row["items"], row[name]), textcoords="offset points", xytext=(0, 7), ha="center"
            )
        axes.set_title(label)
        axes.set_xlabel("items")
        axes.margins(0.2)
        axes.grid(alpha=0.3)
    figure.savefig(file, metadata={"Date": None})


if __name__ == "__main__":
    typer.run(main)

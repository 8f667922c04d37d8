"""Live changes: how many events a second an engine takes, and what they are worth without a refit."""

from __future__ import annotations

import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Annotated, Any

import numpy as np
import polars as pl
import typer
from _cases import CASES
from _harness import write

from multirecall import Dataset, Engine, EngineConfig, PathConfig
from multirecall.data.read_change import read_change
from multirecall.datasets import generate
from multirecall.evaluation import METRICS, Split, user_metrics
from multirecall.progress import SILENT, Progress, terminal_progress

BATCHES = (1, 100, 1_000, 10_000)
PATHS = ("popularity", "user_cf", "item_cf", "content")
SINGLE_PATHS = ("popularity", "user_cf", "content")
KS = (20, 100)
app = typer.Typer(help=__doc__)


@app.command()
def speed(
    interactions: Annotated[int, typer.Option(help="Events of the log that the engine is fitted on.")] = 1_000_000,
    items: Annotated[int, typer.Option(help="Items of the log.")] = 50_000,
    users: Annotated[int, typer.Option(help="Users of the log.")] = 50_000,
    seconds: Annotated[float, typer.Option(help="How long each batch size is tried, in each run.")] = 3.0,
    runs: Annotated[int, typer.Option(help="Runs; the median counts.")] = 3,
    threads: Annotated[int, typer.Option(help="Writing threads of the runs with several.")] = 4,
) -> None:
    """Add events to a saved engine: journaled, applied to every path and visible when a call returns."""
    log = generate(users, items, interactions)
    figures: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as home, terminal_progress() as progress:
        engine = Engine(EngineConfig(paths=tuple(PathConfig(retriever=name) for name in PATHS)))
        engine.fit(Dataset.from_frames(log.interactions, log.items, log.users), progress=progress)
        engine.save(Path(home) / "bundle")
        events = _events(log.interactions)
        for writers in (1, threads):
            for size in BATCHES:
                rates = [_rate(engine, events, size, writers, seconds) for _ in range(runs)]
                row: dict[str, float] = {"threads": writers, "events_per_call": size}
                row |= {name: median(rate[name] for rate in rates) for name in rates[0]}
                figures.append(row)
                typer.echo("  ".join(f"{name} {value:,.1f}" for name, value in row.items()))
        engine.close()
        start = perf_counter()
        with Engine.load(Path(home) / "bundle") as engine:
            replay = {"events": engine.data.n_events - interactions, "load_s": perf_counter() - start}
    shape = {"interactions": interactions, "items": items, "users": users, "paths": PATHS}
    typer.echo(write("live-speed", {**shape, "seconds": seconds, "runs": runs, "rates": figures, "replay": replay}))


def _events(log: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """Endless new events by the users and on the items of a log, each newer than the one before."""
    rng = np.random.default_rng(1)
    now = int(log["timestamp"].dt.epoch("s").max())  # type: ignore[arg-type]
    while True:
        chosen = log.sample(100_000, with_replacement=True, seed=int(rng.integers(2**31)))
        for user, item in chosen.select("user_id", "item_id").iter_rows():
            now += 1
            yield {"user_id": user, "item_id": item, "timestamp": now}


def _rate(
    engine: Engine, events: Iterator[dict[str, Any]], size: int, writers: int, seconds: float
) -> dict[str, float]:
    """Events and calls a second; the time of making the frames is left out."""
    batches = [pl.DataFrame(list(islice(events, size))) for _ in range(max(64, 20_000 // size))]
    walls: list[float] = []
    start, cpu = perf_counter(), process_time()

    def add(batch: pl.DataFrame) -> None:
        if perf_counter() - start < seconds:
            begun = perf_counter()
            engine.add_interactions(batch)
            walls.append(perf_counter() - begun)

    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(add, batches))
    took = perf_counter() - start
    return {
        "events_per_s": len(walls) * size / took,
        "p50_ms": float(np.percentile(walls, 50)) * 1e3,
        "p99_ms": float(np.percentile(walls, 99)) * 1e3,
        "cpu_share": (process_time() - cpu) / took,
    }


@app.command()
def single(
    items: Annotated[int, typer.Option(help="Items of the catalogue.")] = 200_000,
    interactions: Annotated[int, typer.Option(help="Events of the log that the engine is fitted on.")] = 1_000_000,
    users: Annotated[int, typer.Option(help="Users of the log.")] = 50_000,
    seconds: Annotated[float, typer.Option(help="How long each side is tried, in each run.")] = 2.0,
    runs: Annotated[int, typer.Option(help="Runs, in turn for all sides; the median counts.")] = 5,
    writers: Annotated[int, typer.Option(help="Threads of the side with several.")] = 8,
) -> None:
    """One event a call on a large catalogue, beside the same rows in a bare SQLite table with the same durability."""
    log = generate(users, items, interactions)
    sides: dict[str, list[dict[str, float]]] = {name: [] for name in ("bare", "one", "several", "remove_items")}
    with tempfile.TemporaryDirectory() as home, terminal_progress() as progress:
        engine = Engine(EngineConfig(paths=tuple(PathConfig(retriever=name) for name in SINGLE_PATHS)))
        engine.fit(Dataset.from_frames(log.interactions, log.items, log.users), progress=progress)
        engine.save(Path(home) / "bundle")
        events, rows = _shared(_events(log.interactions)), iter(log.items["item_id"].to_list())
        bare = _bare_journal(Path(home) / "bare.sqlite")
        payload = read_change(engine.data, "add_interactions", [next(events)]).to_bytes()
        for _ in range(runs):
            sides["bare"].append(_calls(lambda: _insert(bare, payload), seconds))
            sides["one"].append(_calls(lambda: engine.add_interactions([next(events)]), seconds))
            sides["several"].append(_calls(lambda: engine.add_interactions([next(events)]), seconds, writers))
            sides["remove_items"].append(_calls(lambda: engine.remove_items([next(rows)]), seconds))
        engine.close()
    found = {name: {key: median(one[key] for one in each) for key in each[0]} for name, each in sides.items()}
    ratios = {
        name: median(one["per_s"] / other["per_s"] for one, other in zip(sides[name], sides["bare"], strict=True))
        for name in ("one", "several")
    }
    for name, figures in found.items():
        typer.echo(f"{name:13}" + "  ".join(f"{key} {value:,.2f}" for key, value in figures.items()))
    typer.echo("  ".join(f"{name} / bare {value:.2f}" for name, value in ratios.items()))
    shape = {"interactions": interactions, "items": items, "users": users, "paths": SINGLE_PATHS}
    typer.echo(
        write("live-single", {**shape, "seconds": seconds, "runs": runs, "writers": writers, **found, "ratios": ratios})
    )


def _shared(values: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The same values, for several threads."""
    lock = threading.Lock()

    def take() -> dict[str, Any]:
        with lock:
            return next(values)

    return iter(take, None)


def _bare_journal(file: Path) -> sqlite3.Connection:
    """A table of payloads as the journal has it, durable in the same way, with nothing around it."""
    db = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL"):
        db.execute(statement)
    db.execute("CREATE TABLE changes (seq INTEGER PRIMARY KEY, payload BLOB NOT NULL, sha256 BLOB NOT NULL) STRICT")
    return db


def _insert(db: sqlite3.Connection, payload: bytes) -> None:
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO changes (payload, sha256) VALUES (?, ?)", (payload, bytes(32)))
    db.execute("COMMIT")


def _calls(call: Callable[[], object], seconds: float, writers: int = 1) -> dict[str, float]:
    """Calls a second of some threads, their wall time in milliseconds, and the CPU time of the process for each."""
    walls: list[float] = []
    start, cpu = perf_counter(), process_time()

    def go_on() -> None:
        while (begun := perf_counter()) - start < seconds:
            call()
            walls.append(perf_counter() - begun)

    with ThreadPoolExecutor(writers) as pool:
        for each in [pool.submit(go_on) for _ in range(writers)]:
            each.result()
    took, used = perf_counter() - start, process_time() - cpu
    p50, p99 = np.percentile(walls, (50, 99)) * 1e3
    return {"per_s": len(walls) / took, "p50_ms": p50, "p99_ms": p99, "cpu_ms": used / len(walls) * 1e3}


@app.command()
def worth(
    data: Annotated[Path, typer.Option(help="Folder that holds the data sets, one folder each.")],
    case: Annotated[str, typer.Option(help="One of the cases that are split by time.")] = "online-retail-new",
    config: Annotated[Path | None, typer.Option(help="Configuration file; default: the default paths.")] = None,
    share: Annotated[float, typer.Option(help="Share of the training events that come live, the newest.")] = 0.05,
) -> None:
    """Recall of three engines: without the newest training events, with them live, and after a refit."""
    with terminal_progress() as progress:
        split = CASES[case].split(data)
        base, fresh = _newest_apart(split.train, share)
        engine = (Engine.from_toml(config) if config else Engine()).fit(base, progress=progress)
        stages = {"without": _recalls(engine, split, progress)}
        start = perf_counter()
        engine.add_interactions(fresh)
        live_s = perf_counter() - start
        stages["live"] = _recalls(engine, split, progress)
        start = perf_counter()
        engine.refresh().result()
        refit_s = perf_counter() - start
        stages["refit"] = _recalls(engine, split, progress)
    for name in stages["live"]:
        cells = (f"{stage} {found[name][0]:.4f} {found[name][1]:.4f}" for stage, found in stages.items())
        typer.echo(f"{name:14} " + "  ".join(cells))
    sizes = {"base_events": len(base.interactions), "live_events": fresh.height, "live_s": live_s, "refit_s": refit_s}
    typer.echo(
        write(
            f"live-{case}",
            {
                "case": case,
                "config": config.name if config else "default",
                "split": split.describe(),
                "ks": KS,
                "share": share,
                **sizes,
                **stages,
            },
        )
    )


def _newest_apart(data: Dataset, share: float) -> tuple[Dataset, pl.DataFrame]:
    """The dataset without its newest events, and these."""
    log = data.interactions
    assert log.times is not None, "the case has no timestamps"
    newest = np.zeros(len(log), np.bool_)
    newest[np.argsort(log.times, kind="stable")[round(len(log) * (1 - share)) :]] = True
    order = np.flatnonzero(newest)[np.argsort(log.times[newest], kind="stable")]
    fresh = pl.DataFrame(
        {
            "user_id": data.users.ids.ids(log.users[order]),
            "item_id": data.items.ids.ids(log.items[order]),
            "timestamp": log.times[order],
            "weight": log.weights[order],
        }
    )
    return data.filter_events(~newest), fresh


def _recalls(engine: Engine, split: Split, progress: Progress = SILENT) -> dict[str, list[float]]:
    """Recall at each k of every path and of the fused list, compared by external ids."""
    known, own = split.train.items.ids, engine.data.items.ids
    found = {}
    with progress.task("users", split.users.size) as advance:
        for name, lists in engine.path_lists(split.users, seen=split.seen).items():
            found[name] = _recall(split, lists.offsets, known.rows(own.ids(lists.items)))
        fused = engine.retrieve_batch(split.users, KS[-1], seen=split.seen)
        advance(split.users.size)
    return {**found, "fused": _recall(split, fused.offsets, known.rows(fused.ids))}


def _recall(split: Split, offsets: Any, rows: Any) -> list[float]:
    values = user_metrics(offsets, rows, split.offsets, split.targets, KS)
    return [float(value) for value in values[METRICS.index("recall")].mean(axis=0)]


if __name__ == "__main__":
    app()

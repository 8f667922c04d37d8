"""What logging costs a request: off, at a tenth, and of all requests, in turn, the writer's CPU included."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time, thread_time
from typing import Annotated, Any

import numpy as np
import typer
from _generated import PATHS, RECALL, train_or_load
from _harness import percentiles, write

from multirecall import Dataset, Engine
from multirecall.datasets import generate
from multirecall.monitoring.request_log import LogSettings, RequestLog
from multirecall.progress import terminal_progress

SEED = 7
SHARES = {"off": None, "a tenth": 0.1, "all": 1.0}


def main(
    items: Annotated[int, typer.Option(help="Items of the generated log.")] = 20_000,
    requests: Annotated[int, typer.Option(help="Requests of a turn; what they log is written at its end.")] = 1_000,
    rounds: Annotated[int, typer.Option(help="Turns of each share.")] = 12,
    k: Annotated[int, typer.Option(help="Candidates of a request.")] = 500,
    cache: Annotated[Path | None, typer.Option(help="Folder that keeps the fitted engine.")] = None,
) -> None:
    """Ask the same users with each share in turn, in an order drawn anew, and compare the CPU time of the process."""
    log = generate(items // 2, items, 20 * items)
    data = Dataset.from_frames(log.interactions, log.items, log.users)
    rng = np.random.default_rng(SEED)
    with terminal_progress() as progress:
        engine = train_or_load(data, cache, progress, RECALL)
        users = data.users.ids.ids(rng.choice(np.unique(data.interactions.users), requests)).tolist()
        for share in SHARES.values():
            turn(engine, users[:200], k, share)
        turns: dict[str, list[dict[str, Any]]] = defaultdict(list)
        with progress.task("turns", rounds * len(SHARES)) as advance:
            for _ in range(rounds):
                for name in rng.permutation(list(SHARES)).tolist():
                    turns[name].append(turn(engine, users, k, SHARES[name]))
                    advance(1)
    figures = {name: summary(own, turns["off"]) for name, own in turns.items()}
    for name, own in figures.items():
        typer.echo(f"{name:8} {own}")
    sizes = {"items": data.n_items, "paths": PATHS, "k": k, "requests": requests, "rounds": rounds, "seed": SEED}
    typer.echo(write("request_log", {**sizes, "shares": figures}))


def turn(engine: Engine, users: Sequence[str], k: int, share: float | None) -> dict[str, Any]:
    """CPU time of a request, what is logged and written of it included, and the wall times of all."""
    walls, rows, size, missed = [], 0, 0, engine.health().missed
    with TemporaryDirectory() as folder:
        start, own_start = process_time(), thread_time()
        log = None if share is None else RequestLog(LogSettings(folder=Path(folder), share=share))
        end = None if log is None else engine.observe(log)
        for user in users:
            began = perf_counter()
            engine.retrieve(user, k)
            walls.append(perf_counter() - began)
        own = thread_time() - own_start
        if log is not None and end is not None:
            end()
            log.close()
            rows = log.health.written
            assert log.health.dropped == log.health.lost == 0
            size = sum(file.stat().st_size for file in Path(folder).glob("day=*/*.parquet"))
        cpu = process_time() - start
    assert engine.health().missed == missed
    others_us = (cpu - own) / len(users) * 1e6
    return {"cpu_us": cpu / len(users) * 1e6, "others_us": others_us, "walls": walls, "rows": rows, "bytes": size}


def summary(turns: Sequence[dict[str, Any]], off: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians over turns: CPU of a request, what other threads have of it, and what the log adds to each.

    A turn is compared with the one of the same round without a log, which it stands next to in time.
    """
    pairs = list(zip(turns, off, strict=True))
    added = [own["cpu_us"] / other["cpu_us"] - 1 for own, other in pairs]
    added_others = [(own["others_us"] - other["others_us"]) / other["cpu_us"] for own, other in pairs]
    rows = sum(own["rows"] for own in turns)
    return {
        "cpu_us": float(np.median([own["cpu_us"] for own in turns])),
        "others_us": float(np.median([own["others_us"] for own in turns])),
        "added": float(np.median(added)),
        "added_range": [float(one) for one in np.quantile(added, [0.1, 0.9])],
        "added_others": float(np.median(added_others)),
        **percentiles(np.concatenate([own["walls"] for own in turns])),
        "rows": rows,
        "bytes_a_row": sum(own["bytes"] for own in turns) / rows if rows else 0.0,
    }


if __name__ == "__main__":
    typer.run(main)

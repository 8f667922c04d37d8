"""What `multirecall serve` adds to `engine.retrieve`, and how much it serves, beside a service around implicit."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Annotated, Any

import implicit
import numpy as np
import scipy.sparse as sp
import typer
from _harness import percentiles, write
from _http_load import at_rate, one_by_one, request, side_by_side
from _served import PATHS, SEED, Served, five_paths, serving

from multirecall import Dataset, Engine
from multirecall.progress import terminal_progress
from multirecall.serving.settings import LimitSettings

WARM = 100

ROUNDS = 5
"""Runs of each load; the one in the middle is kept."""

OVERLOADS = 3
"""How often the requests are sent while the service is overloaded."""

OVERLOADED_CONNECTIONS = 200
"""More than threads and queue together, so that some request is always too many."""


def main(
    items: Annotated[int, typer.Option(help="Items of the generated log.")] = 100_000,
    users: Annotated[int, typer.Option(help="Users of the generated log.")] = 20_000,
    interactions: Annotated[int, typer.Option(help="Events of the generated log.")] = 500_000,
    requests: Annotated[int, typer.Option(help="Requests of each measurement.")] = 2_000,
    connections: Annotated[int, typer.Option(help="Connections of the measurement of throughput.")] = 16,
) -> None:
    """Measure a service of five paths and its peer, each in a process of its own, one after the other."""
    data, config = five_paths(users, items, interactions)
    asked = np.random.default_rng(SEED).choice(data.users.ids.ids(), requests).tolist()
    with TemporaryDirectory() as name:
        folder = Path(name)
        with terminal_progress() as bars:
            engine = Engine(config).fit(data, progress=bars)
        engine.save(folder / "bundle")
        figures: dict[str, Any] = {"n_items": data.n_items, "paths": list(PATHS), "requests": requests}
        figures["load_average"] = os.getloadavg()  # others on the machine make every figure worse
        with serving(folder / "bundle") as served:
            for k in (100, 500):
                figures[f"k{k}"] = overhead(engine, served.port, asked, k)
            loads = [throughput(engine, served.port, asked, connections) for _ in range(ROUNDS)]
            figures["throughput"] = in_the_middle(loads, "share")
            capacity = figures["throughput"]["served_per_s"]
            halves = [half_load(served, asked, capacity / 2) for _ in range(ROUNDS)]
            figures["half_load"] = in_the_middle(halves, "p99_over_p50")
            figures["overload"] = in_the_middle(
                [overload(served, asked, capacity) for _ in range(ROUNDS)], "share_of_capacity"
            )
        figures["peer"] = peer(folder, data, asked, connections)
    print(json.dumps(figures, indent=2))
    write("serve", figures)


def overhead(engine: Engine, port: int, asked: list[str], k: int) -> dict[str, Any]:
    """The time of requests over one connection, beside that of the same calls in this process."""
    bodies = [request("/v1/retrieve", json.dumps({"user_id": user, "k": k}).encode()) for user in asked]
    one_by_one(port, bodies[:WARM])
    for user in asked[:WARM]:
        engine.retrieve(user, k)
    calls: list[float] = []
    answers: list[float] = []
    block = max(1, len(asked) // 10)  # in turns, so that a noisy moment meets both
    for first in range(0, len(asked), block):
        calls += timed(engine, asked[first : first + block], k)
        answers += one_by_one(port, bodies[first : first + block]).seconds
    added = float(np.median(answers) - np.median(calls)) * 1e3
    return {"retrieve": percentiles(calls), "served": percentiles(answers), "overhead_p50_ms": added}


def timed(engine: Engine, asked: list[str], k: int) -> list[float]:
    """Seconds of each call."""
    seconds = []
    for user in asked:
        start = perf_counter()
        engine.retrieve(user, k)
        seconds.append(perf_counter() - start)
    return seconds


def throughput(engine: Engine, port: int, asked: list[str], connections: int) -> dict[str, Any]:
    """Requests per second over several connections, beside calls in a loop, at k = 100."""
    bodies = _bodies(asked)
    alone = len(asked) / sum(timed(engine, asked, 100))
    load = side_by_side(port, bodies, connections)
    return {
        "retrieve_per_s": alone,
        "served_per_s": load.served / load.wall_s,
        "share": load.served / load.wall_s / alone,
        "refused": len(asked) - load.served,
        "latency": percentiles(load.seconds),
    }


def in_the_middle(runs: list[dict[str, Any]], by: str) -> dict[str, Any]:
    """The run whose figure `by` is the median, with the least and the most of it, since a shared machine is uneven."""
    ordered = sorted(runs, key=lambda run: float(run[by]))
    return {**ordered[len(runs) // 2], f"{by}_between": [ordered[0][by], ordered[-1][by]]}


def half_load(served: Served, asked: list[str], rate: float) -> dict[str, Any]:
    """The latency of requests that come at a rate, at k = 100."""
    seen = at_rate(served.port, _bodies(asked), rate, 64)
    latency = percentiles(seen.seconds[200])
    return {
        "rate": rate,
        "late_ms": seen.late_s * 1e3,
        "latency": latency,
        "p99_over_p50": latency["p99_us"] / latency["p50_us"],
    }


def overload(served: Served, asked: list[str], capacity: float) -> dict[str, Any]:
    """What is served and refused at three times of what can be served, for as long as a few thousand requests take."""
    before = _memory(served.pid)
    seen = at_rate(served.port, _bodies(asked) * OVERLOADS, 3 * capacity, OVERLOADED_CONNECTIONS)
    limits = LimitSettings()
    served_s = seen.seconds.get(200, [])
    return {
        "rate": 3 * capacity,
        "late_ms": seen.late_s * 1e3,
        "statuses": {str(status): len(times) for status, times in sorted(seen.seconds.items())},
        "served_per_s": len(served_s) / seen.wall_s,
        "share_of_capacity": len(served_s) / seen.wall_s / capacity,
        "served": percentiles(served_s),
        "refused": percentiles(seen.seconds.get(429, [math.nan])),
        "queue_bound_ms": (limits.threads + limits.queue) / capacity * 1e3,
        "memory_mib": [before, _memory(served.pid)],
    }


def _bodies(asked: list[str]) -> list[bytes]:
    return [request("/v1/retrieve", json.dumps({"user_id": user, "k": 100}).encode()) for user in asked]


def _memory(pid: int) -> float:
    """MiB of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def peer(folder: Path, data: Dataset, asked: list[str], connections: int) -> dict[str, Any]:
    """The same load on the peer."""
    rows, ids = data.interactions, data.users.ids
    counts = np.diff(rows.offsets)
    owners = np.repeat(np.arange(data.n_users), counts)
    events = sp.csr_matrix((np.ones(rows.items.size, np.float32), (owners, rows.items)), (data.n_users, data.n_items))
    model = implicit.als.AlternatingLeastSquares(factors=64, iterations=3, num_threads=1, random_state=SEED)
    model.fit(events, show_progress=False)
    model.save(str(folder / "als.npz"))
    sp.save_npz(folder / "events.npz", events)
    bodies = [
        request("/recommend", json.dumps({"user_id": row, "k": 100}).encode()) for row in ids.rows(asked).tolist()
    ]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "_served_peer:create_app", "--factory", "--port", str(port)]
    here = {**os.environ, "PEER_FOLDER": str(folder), "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen([*command, "--no-access-log"], stderr=subprocess.PIPE, text=True, env=here) as process:
        try:
            _wait_for(process, "Uvicorn running")
            one_by_one(port, bodies[:WARM])
            alone = one_by_one(port, bodies)
            load = side_by_side(port, bodies, connections)
        finally:
            process.terminate()
    return {
        "what": "implicit ALS, 64 factors, FastAPI with a response model, a sync route",
        "served": percentiles(alone.seconds),
        "served_per_s": load.served / load.wall_s,
        "latency": percentiles(load.seconds),
    }


def _wait_for(process: subprocess.Popen[str], word: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if word in line:
            return
    raise SystemExit("the peer did not start")


if __name__ == "__main__":
    typer.run(main)

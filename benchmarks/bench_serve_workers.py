"""What each worker of `multirecall serve` adds in memory, and how soon a write is read through another worker."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Annotated, Any

import numpy as np
import typer
from _harness import percentiles, write
from _served import PATHS, SEED, Served, five_paths, serving

from multirecall import Engine
from multirecall.progress import terminal_progress

MIB = 1 << 20
PARTS = ("Rss", "Pss", "Private_Dirty", "Private_Clean", "Shared_Clean", "Shared_Dirty")
"""Of `smaps_rollup`. Pss is Rss with each shared page divided by the number of its processes."""


def main(
    items: Annotated[int, typer.Option(help="Items of the generated log.")] = 100_000,
    users: Annotated[int, typer.Option(help="Users of the generated log.")] = 20_000,
    interactions: Annotated[int, typer.Option(help="Events of the generated log.")] = 500_000,
    requests: Annotated[int, typer.Option(help="Requests to each worker.")] = 300,
    writes: Annotated[int, typer.Option(help="Writes that are read through another worker.")] = 100,
    counts: Annotated[str, typer.Option(help="Numbers of workers.")] = "1,2,4",
) -> None:
    """Measure services of several sizes on one bundle of five paths, one after the other."""
    data, config = five_paths(users, items, interactions)
    asked = np.random.default_rng(SEED).choice(data.users.ids.ids(), requests).tolist()
    figures: dict[str, Any] = {"n_items": data.n_items, "paths": list(PATHS), "requests": requests, "workers": {}}
    figures["load_average"] = os.getloadavg()  # others on the machine make every time longer
    with TemporaryDirectory() as name:
        bundle = Path(name) / "bundle"
        with terminal_progress() as bars, Engine(config).fit(data, progress=bars) as engine:
            engine.save(bundle)
        figures["bundle_mib"] = sum(file.stat().st_size for file in bundle.rglob("*.npy")) / MIB
        for n in map(int, counts.split(",")):
            with serving(bundle, "--writable", "--workers", str(n)) as served, connected(served, n) as workers:
                figures["workers"][n] = measured(served, workers, asked, writes)
    print(json.dumps(figures, indent=2))
    write("serve-workers", figures)


@contextmanager
def connected(served: Served, n: int) -> Iterator[dict[int, HTTPConnection]]:
    """A connection to each worker, by its process."""
    found: dict[int, HTTPConnection] = {}
    with ExitStack() as stack:
        while len(found) < n:
            connection = stack.enter_context(closing(HTTPConnection("127.0.0.1", served.port, timeout=60)))
            found.setdefault(ask(connection, "GET", "/health/ready")["process"], connection)
        yield found


def ask(connection: HTTPConnection, method: str, path: str, body: Any = None, version: int = 0) -> Any:
    """The JSON of an answer, which must be one of success."""
    headers = {"Content-Type": "application/json", "X-Min-Version": str(version), "X-Deadline-Ms": "10000"}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise SystemExit(content.decode())
    return json.loads(content)


def measured(served: Served, workers: dict[int, HTTPConnection], asked: list[str], writes: int) -> dict[str, Any]:
    """The figures of one service."""
    for connection in workers.values():
        for user in asked:
            ask(connection, "POST", "/v1/retrieve", {"user_id": user, "k": 100})
    found: dict[str, Any] = {"each": [memory(number) for number in workers], "parent": None}
    if len(workers) > 1:
        found["parent"] = memory(served.pid)
    found["total_pss_mib"] = sum(one["Pss"] for one in [*found["each"], found["parent"] or {"Pss": 0.0}])
    if len(workers) > 1:
        found["write"], found["write_then_read"] = read_elsewhere(workers, asked, writes)
    return found


def memory(process: int) -> dict[str, float]:
    """MiB of a process, by kind."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    sizes = {name: int(rest.split()[0]) / 1024 for name, _, rest in (line.partition(":") for line in lines[1:])}
    return {part: sizes[part] for part in PARTS}


def read_elsewhere(
    workers: dict[int, HTTPConnection], asked: list[str], writes: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of a write, and from its answer to that of a read through another worker which names its version."""
    connections = list(workers.values())
    written, seen = [], []
    for number in range(len(connections) + writes):
        writer, reader = connections[number % len(connections)], connections[(number + 1) % len(connections)]
        user = asked[number % len(asked)]
        event = {"user_id": user, "item_id": "i00001", "timestamp": 1_800_000_000 + number}
        start = perf_counter()
        version = ask(writer, "POST", "/v1/interactions", {"interactions": [event]})["version"]
        middle = perf_counter()
        ask(reader, "GET", f"/v1/users/{user}/history?newest=1", version=version)
        written.append(middle - start)
        seen.append(perf_counter() - middle)
    first = len(connections)  # the first change that a process takes in copies what the bundle maps
    return percentiles(written[first:]), percentiles(seen[first:]) | {"first_s": max(seen[:first])}


if __name__ == "__main__":
    typer.run(main)

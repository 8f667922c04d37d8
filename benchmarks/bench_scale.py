"""What an item, a user, an event and a request take, and how long a shard computes: figures behind docs/scale.md."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Annotated, Any

import numpy as np
import typer
from _generated import RECALL, item_vectors, use_generated_users, use_generated_vectors
from _harness import in_process, write
from numpy.typing import NDArray

from multirecall import Dataset, Engine, EngineConfig, PathConfig, User
from multirecall.datasets import generate
from multirecall.engine.footprint import held_bytes
from multirecall.engine.request import read_filters, read_query
from multirecall.progress import terminal_progress
from multirecall.protocols import Retriever
from multirecall.query import Query
from multirecall.testing import small_shop
from multirecall.topk import top_k

SEED = 7
WARM = 50
HISTORY = 50
"""Events of the history that a request carries."""

PATHS = ("two_tower", "item_cf", "content", "popularity")
"""Paths that can be split by item, so that a shard has its share of each."""

QUOTA = 500

QUANTILES = 200
"""The service time of a shard is kept as so many quantiles of equal probability."""

app = typer.Typer(help=__doc__)


@app.command()
def measure(
    items: Annotated[list[int], typer.Option(help="Items of a shard; repeat for each size.")] = [62_500, 250_000],  # noqa: B006
    requests: Annotated[int, typer.Option(help="Requests that are timed at each size.")] = 1_000,
) -> None:
    """Measure each size in a process of its own, and write all of them."""
    here = str(Path(__file__).parent)
    program = f"import sys; sys.path.insert(0, {here!r}); import bench_scale; bench_scale.one(*map(int, sys.argv[1:]))"
    sizes = [in_process(program, str(n), str(requests)) for n in items]
    for figures in sizes:
        typer.echo(f"{figures['items']:,} items: p50 {np.median(figures['service_ms']):.2f} ms")
    typer.echo(write("scale", {"paths": PATHS, "history": HISTORY, "requests": requests, "sizes": sizes}))


def one(n: int, requests: int) -> None:
    """Measure one size and print the figures as JSON."""
    with terminal_progress() as progress:
        log = generate(n // 2, n, 2 * n)
        data = Dataset.from_frames(log.interactions, log.items, log.users)
        params = {"two_tower": {"epochs": 1, "index": {"recall": RECALL}}}
        paths = tuple(PathConfig(retriever=name, quota=QUOTA, params=params.get(name, {})) for name in PATHS)
        vectors = item_vectors(data, SEED)
        with use_generated_vectors(data, vectors, SEED), use_generated_users(vectors):
            config = EngineConfig.model_validate({"paths": paths, "fusion": {"strategy": "rrf"}})
            engine = Engine(config).fit(data, progress=progress)
            figures = {
                "items": data.n_items,
                "users": data.n_users,
                "events": len(data.interactions),
                "paths": paths_of(engine),
                "data": data_of(data),
                **times_of(engine, requests),
            }
    print(json.dumps(figures))


def paths_of(engine: Engine) -> dict[str, dict[str, float]]:
    """The bytes of each path that are divided among shards, and those that each shard holds, for an item.

    A part of half of the items and one of a quarter differ by what a quarter of the items has of its own.
    """
    data, found = engine.data, {}
    n = data.n_items
    state = engine._current()
    for path in (*state.paths, state.fallback):
        half, quarter = (part_bytes(path.retriever, np.arange(0, n, step, dtype=np.int32), data) for step in (2, 4))
        divided = (half - quarter) / (n / 4)
        found[path.name] = {"divided": divided, "repeated": half / n - divided / 2}
    return found


def part_bytes(retriever: Retriever, rows: NDArray[np.int32], data: Dataset) -> int:
    """The bytes of the arrays of a part, saved and loaded as that of a shard is."""
    part = retriever.part(rows)
    if part is None:
        raise RuntimeError(f"{type(retriever).__name__} cannot be split")
    with TemporaryDirectory() as folder:
        part.save(Path(folder))
        return held_bytes(type(part).load(part.config, Path(folder), data), data)


def data_of(data: Dataset) -> dict[str, float]:
    """The bytes of the dataset that each shard holds: for an item, a user and an event."""
    other = small_shop()  # none of whose arrays are among those that count
    return {
        "item": held_bytes(data.items, other) / data.n_items,
        "user": held_bytes(data.users, other) / data.n_users,
        "event": held_bytes(data.interactions, other) / len(data.interactions),
    }


def times_of(engine: Engine, requests: int) -> dict[str, Any]:
    """The time that all paths take for a request, in milliseconds, and the bytes that go to a shard and come back."""
    state = engine._current()
    queries = queries_of(engine, requests + WARM)
    windows = [min(window, path.n_items) for path, window in zip(state.paths, state.windows, strict=True)]
    taken, answers = [], []
    for query in queries:
        start = perf_counter()
        lists = [path.retriever.retrieve(query, window) for path, window in zip(state.paths, windows, strict=True)]
        taken.append((perf_counter() - start) * 1e3)
        answers.append(sum(one.items.nbytes + one.scores.nbytes for one in lists))
    marks = (np.arange(QUANTILES) + 0.5) / QUANTILES
    return {
        "windows": windows,
        "service_ms": np.quantile(taken[WARM:], marks).round(4).tolist(),
        "sent_bytes": float(np.mean([bytes_of(query) for query in queries])),
        "answer_bytes": float(np.mean(answers)),
        "merge_ms_by_shards": {str(n): merge_ms(n, windows) for n in (1, 4, 10, 25, 50, 100)},
    }


def queries_of(engine: Engine, n: int) -> list[Query]:
    """Requests that bring their history of `HISTORY` events: those of a user of the log, and random ones of others."""
    rng = np.random.default_rng(SEED)
    data = engine.data
    log, filters = data.interactions, read_filters(engine._current(), None, None, False)
    found = []
    for user in rng.choice(np.unique(log.users), n):
        own = log.items[log.of_user(int(user))]
        items = np.concatenate([own, rng.choice(log.items, HISTORY)])[:HISTORY]
        found.append(read_query(data, User(history=data.items.ids.ids(items).tolist()), filters, {}))
    return found


def bytes_of(query: Query) -> int:
    """The bytes of the arrays of a query that a shard needs."""
    arrays: list[NDArray[Any] | None] = [query.history, query.weights, query.times, query.exclude]
    return sum(one.nbytes for one in arrays if one is not None)


def merge_ms(shards: int, windows: list[int]) -> float:
    """The time to merge the lists of some shards, path by path, in milliseconds; the median of 20."""
    rng = np.random.default_rng(SEED)
    taken = []
    for _ in range(20):
        lists = []
        for window in windows:
            scores = -np.sort(-rng.random((shards, window), np.float32))
            lists.append((rng.permutation(scores.size).astype(np.int32), scores.ravel()))
        start = perf_counter()
        for (rows, scores), window in zip(lists, windows, strict=True):
            top_k(rows, scores, window)
        taken.append((perf_counter() - start) * 1e3)
    return float(np.median(taken))


if __name__ == "__main__":
    app()

"""The vector index beside bare hnswlib, and the exact index, on one set of vectors in one run."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from time import perf_counter, process_time
from typing import Annotated, Any

import hnswlib
import numpy as np
import typer
from _harness import write

from multirecall.progress import terminal_progress
from multirecall.retrievers import _hnsw
from multirecall.retrievers._index import IndexConfig, build_index

SEED = 1
CENTRES = 1_000
SPREAD = 0.7
PERCENTILES = (50, 95)
SIZES = (100, 500)
CHUNK = 2_000
ROUNDS = 3


def main(
    items: Annotated[int, typer.Option(help="Vectors in the index.")] = 100_000,
    dim: Annotated[int, typer.Option(help="Length of a vector.")] = 64,
    queries: Annotated[int, typer.Option(help="Single searches that are timed, each of another vector.")] = 500,
) -> None:
    """Build both, then search with each in turn, on one thread; compile time is excluded.

    `graph` is the index forced to walk its graph, `as_chosen` what a user gets, which scores every vector where
    that is faster. `bare` is hnswlib with the width of the index, `bare_at_k` with the least width it allows.
    """
    vectors, asked = clustered(items, dim), clustered(queries, dim, seed=SEED + 1)
    rows = np.arange(items, dtype=np.int32)
    config = IndexConfig(kind="hnsw")
    exact = build_index(rows, vectors, "cosine", IndexConfig(kind="exact"), rng=np.random.default_rng(SEED))
    with terminal_progress() as progress:
        start = perf_counter(), process_time()
        index = build_index(rows, vectors, "cosine", config, rng=np.random.default_rng(SEED), progress=progress)
        build = {"index": since(start)}
        start = perf_counter(), process_time()
        bare = hnswlib.Index("cosine", dim)
        bare.init_index(items, M=config.M, ef_construction=config.ef_construction, random_seed=SEED)
        with progress.task("bare hnswlib: graph", items) as advance:
            for first in range(0, items, CHUNK):
                chunk = vectors[first : first + CHUNK]
                bare.add_items(chunk, np.arange(first, first + len(chunk)), num_threads=1)
                advance(len(chunk))
        build["bare"] = since(start)
        searches: dict[str, Any] = {}
        for k in SIZES:
            width = config.width("cosine", k)
            scanned_per_step = _hnsw.SCANNED_PER_STEP

            def graph(vector: Any, k: int = k, always: int = scanned_per_step) -> Any:
                _hnsw.SCANNED_PER_STEP = 0
                try:
                    return index.search(vector, k).items
                finally:
                    _hnsw.SCANNED_PER_STEP = always

            def of_bare(vector: Any, k: int = k, width: int = width) -> Any:
                bare.set_ef(width)
                return bare.knn_query(vector, k=k, num_threads=1)[0][0]

            ways: dict[str, Callable[[Any], Any]] = {
                "exact": lambda vector, k=k: exact.search(vector, k).items,  # type: ignore[misc]
                "as_chosen": lambda vector, k=k: index.search(vector, k).items,  # type: ignore[misc]
                "graph": graph,
                "bare": of_bare,
                "bare_at_k": lambda vector, k=k: of_bare(vector, k, k),  # type: ignore[misc]
            }
            searches[f"top_{k}"] = {"width": width, **timed(ways, asked, progress.task(f"top {k}: rounds", ROUNDS))}
        exact.search_batch(asked[:2], 100)
        start = perf_counter(), process_time()
        exact.search_batch(asked, 100)
        batch = {key: value / queries * 1e6 for key, value in since(start).items()}
    for name, figures in searches.items():
        for way, row in figures.items():
            if way != "width":
                typer.echo(f"{name} {way:10} " + "  ".join(f"{key} {value:8.3f}" for key, value in row.items()))
    typer.echo(
        write(
            "index",
            {
                "items": items,
                "dim": dim,
                "space": "cosine",
                "vectors": {"centres": CENTRES, "spread": SPREAD, "seed": SEED},
                "queries": queries,
                "rounds": ROUNDS,
                "threads": 1,
                "hnswlib": version("hnswlib"),
                "settings": config.model_dump(),
                "build": build,
                "searches": searches,
                "exact_batch_us_per_query": {"wall": batch["wall_s"], "cpu": batch["cpu_s"], "k": 100},
            },
        )
    )


def clustered(n: int, dim: int, seed: int = SEED) -> np.ndarray:
    """Unit vectors around centres that are the same for every `seed`."""
    centres = np.random.default_rng(SEED).normal(size=(CENTRES, dim))
    rng = np.random.default_rng([seed, n])
    vectors = centres[rng.integers(0, CENTRES, n)] + SPREAD * rng.normal(size=(n, dim))
    unit: np.ndarray = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def since(start: tuple[float, float]) -> dict[str, float]:
    """Wall and CPU time since `start`."""
    return {"wall_s": perf_counter() - start[0], "cpu_s": process_time() - start[1]}


def timed(ways: dict[str, Callable[[Any], Any]], asked: np.ndarray, task: Any) -> dict[str, dict[str, float]]:
    """Time of every way, all of them in turn in each round, and the share of the exact items that it finds."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    cpus: dict[str, list[float]] = {name: [] for name in ways}
    recalls: dict[str, list[float]] = {name: [] for name in ways}
    truths = [ways["exact"](vector) for vector in asked]
    with task as advance:
        for _ in range(ROUNDS):
            for name, way in ways.items():
                way(asked[-1])
                for vector, truth in zip(asked, truths, strict=True):
                    start = perf_counter(), process_time()
                    found = way(vector)
                    times[name].append((perf_counter() - start[0]) * 1e6)
                    cpus[name].append((process_time() - start[1]) * 1e6)
                    recalls[name].append(float(np.isin(truth, found).mean()))
            advance(1)
    return {
        name: {
            **{f"p{one}_us": float(np.percentile(values, one)) for one in PERCENTILES},
            "cpu_p50_us": float(np.percentile(cpus[name], 50)),
            "recall": float(np.mean(recalls[name])),
        }
        for name, values in times.items()
    }


if __name__ == "__main__":
    typer.run(main)

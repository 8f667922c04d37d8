"""The vector indexes beside bare hnswlib on one set of vectors in one run."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Annotated, Any

import hnswlib
import numpy as np
import polars as pl
import typer
from _harness import write
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import svds

from multirecall.progress import Progress, terminal_progress
from multirecall.retrievers._index import hnsw as hnsw_module
from multirecall.retrievers._index.auto import AutoConfig
from multirecall.retrievers._index.exact import ExactConfig
from multirecall.retrievers._index.hnsw import HnswConfig
from multirecall.retrievers._index.ivf import IvfConfig
from multirecall.retrievers._index.kinds import build_index, load_index
from multirecall.vector_index import IndexConfig

SEED = 1
CENTRES = 1_000
SPREAD = 0.7
PERCENTILES = (50, 95)
SIZES = (100, 500)
ROUNDS = 3
BATCH = 200
BUILD = "build.json"


class Source(StrEnum):
    """Where vectors come from."""

    CLUSTERED = "clustered"
    NORMAL = "normal"


def main(
    items: Annotated[int, typer.Option(help="Vectors in the index.")] = 100_000,
    dim: Annotated[int, typer.Option(help="Length of a vector.")] = 64,
    queries: Annotated[int, typer.Option(help="Single searches that are timed, each of another vector.")] = 500,
    vectors: Annotated[
        Source, typer.Option(help="What is generated; normal vectors are the hardest.")
    ] = Source.CLUSTERED,
    log: Annotated[
        Path | None, typer.Option(help="A log with user_id and item_id: items by users of its truncated SVD instead.")
    ] = None,
    ef_construction: Annotated[int, typer.Option(help="Width of the searches that build the graph.")] = 200,
    cache: Annotated[Path | None, typer.Option(help="Folder that keeps built indexes for later runs.")] = None,
    name: Annotated[str, typer.Option(help="Name of the result.")] = "index",
) -> None:
    """Build each, then search with each in turn, on one thread; compile time is excluded.

    `as_chosen` is what a user gets. `graph` is the hnsw index forced to walk its graph, `bare` hnswlib on the same
    graph with the same width, `bare_at_k` with the least width it allows. Both kinds of build include all checks.
    """
    source = log.stem if log else str(vectors)
    stored, asked = learned(log, dim, queries) if log else generate_vectors(vectors, items, dim, queries)
    config = HnswConfig(ef_construction=ef_construction)
    with terminal_progress() as progress, TemporaryDirectory() as temporary:
        folder = (cache or Path(temporary)) / f"{source}-{len(stored)}-{dim}-{ef_construction}"
        exact, _ = build_or_load(stored, ExactConfig(), folder, progress)
        automatic, chosen_build = build_or_load(stored, AutoConfig(), folder, progress)
        chosen = automatic.chosen
        index, graph_build = build_or_load(stored, config, folder, progress)
        bare = hnswlib.Index("ip", dim)
        bare.load_index(str(folder / "hnsw" / hnsw_module.GRAPH))
        searches: dict[str, Any] = {}
        for k in SIZES:
            width = config.width("cosine", k)
            scanned_per_step = hnsw_module.SCANNED_PER_STEP

            def graph(vector: Any, k: int = k, always: int = scanned_per_step) -> Any:
                hnsw_module.SCANNED_PER_STEP = 0
                try:
                    return index.search(vector, k).items
                finally:
                    hnsw_module.SCANNED_PER_STEP = always

            def of_bare(vector: Any, k: int = k, width: int = width) -> Any:
                bare.set_ef(width)
                return bare.knn_query(vector, k=k, num_threads=1)[0][0]

            ways: dict[str, Callable[[Any], Any]] = {
                "exact": lambda vector, k=k: exact.search(vector, k).items,  # type: ignore[misc]
                "as_chosen": lambda vector, k=k: chosen.search(vector, k).items,  # type: ignore[misc]
                "graph": graph,
                "bare": of_bare,
                "bare_at_k": lambda vector, k=k: of_bare(vector, k, k),  # type: ignore[misc]
            }
            figures = time_searches(ways, asked, progress.task(f"top {k}: rounds", ROUNDS))
            for row in figures.values():
                row["wall_of_bare"] = row["p50_us"] / figures["bare"]["p50_us"]
                row["cpu_of_bare"] = row["cpu_p50_us"] / figures["bare"]["cpu_p50_us"]
            searches[f"top_{k}"] = {"width": width, **figures}
        batches = {one.kind: per_query(one, asked[:BATCH]) for one in (exact, chosen)}
    for size, ways_of_size in searches.items():
        for way, row in ways_of_size.items():
            if way != "width":
                typer.echo(f"{size} {way:10} " + "  ".join(f"{key} {value:8.3f}" for key, value in row.items()))
    typer.echo(
        write(
            name,
            {
                "items": len(stored),
                "dim": dim,
                "space": "cosine",
                "vectors": {"source": source, "centres": CENTRES, "spread": SPREAD, "seed": SEED},
                "queries": len(asked),
                "rounds": ROUNDS,
                "threads": 1,
                "hnswlib": version("hnswlib"),
                "settings": config.model_dump(),
                "chosen": chosen.kind,
                "build": {"as_chosen": chosen_build, "graph": graph_build},
                "searches": searches,
                "batch_per_query": {"k": SIZES[0], **batches},
            },
        )
    )


def build_or_load(
    vectors: np.ndarray, config: IndexConfig, parent: Path, progress: Progress
) -> tuple[Any, dict[str, float]]:
    """The index of this config, from `parent` if it is there, else built and saved there, and what its build took."""
    folder, note = parent / config.kind, parent / f"{config.kind}-{BUILD}"
    if note.exists():
        return load_index(folder, config), json.loads(note.read_text())
    rows = np.arange(len(vectors), dtype=np.int32)
    few = slice(0, 2_000)
    build_index(rows[few], vectors[few], "cosine", IvfConfig(), rng=np.random.default_rng(SEED))
    start = perf_counter(), process_time()
    index = build_index(rows, vectors, "cosine", config, rng=np.random.default_rng(SEED), progress=progress)
    cost = since(start)
    index.save(folder)
    note.write_text(json.dumps(cost))
    return index, cost


def per_query(index: Any, asked: np.ndarray) -> dict[str, float]:
    """Microseconds of each query of a batch."""
    index.search_batch(asked[:2], SIZES[0])
    start = perf_counter(), process_time()
    index.search_batch(asked, SIZES[0])
    return {key.replace("_s", "_us"): value / len(asked) * 1e6 for key, value in since(start).items()}


def generate_vectors(source: Source, items: int, dim: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors to store and to ask for."""
    if source == Source.CLUSTERED:
        return draw_clusters(items, dim), draw_clusters(queries, dim, seed=SEED + 1)
    rng = np.random.default_rng(SEED)
    return rng.normal(size=(items, dim)).astype(np.float32), rng.normal(size=(queries, dim)).astype(np.float32)


def learned(file: Path, dim: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Item vectors of a log to store, and some of its user vectors to ask for, from a truncated SVD."""
    log = pl.read_parquet(file, columns=["user_id", "item_id"]).unique().sort("user_id", "item_id")
    users, items = (log[column].rank("dense").to_numpy() - 1 for column in ("user_id", "item_id"))
    matrix = csr_matrix((np.ones(len(log), np.float32), (users, items)))
    left, values, right = svds(matrix, dim, v0=np.ones(min(matrix.shape), np.float32))
    some = np.random.default_rng(SEED).choice(len(left), queries, replace=False)
    return (right.T * np.sqrt(values)).astype(np.float32), (left[some] * np.sqrt(values)).astype(np.float32)


def draw_clusters(n: int, dim: int, seed: int = SEED) -> np.ndarray:
    """Unit vectors around centres that are the same for every `seed`."""
    centres = np.random.default_rng(SEED).normal(size=(CENTRES, dim))
    rng = np.random.default_rng([seed, n])
    vectors = centres[rng.integers(0, CENTRES, n)] + SPREAD * rng.normal(size=(n, dim))
    unit: np.ndarray = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def since(start: tuple[float, float]) -> dict[str, float]:
    """Wall and CPU time since `start`."""
    return {"wall_s": perf_counter() - start[0], "cpu_s": process_time() - start[1]}


def time_searches(ways: dict[str, Callable[[Any], Any]], asked: np.ndarray, task: Any) -> dict[str, dict[str, float]]:
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

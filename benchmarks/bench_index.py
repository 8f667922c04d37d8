"""The vector indexes on one set of vectors in one run: `bare` beside bare hnswlib, `kinds` all that are installed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
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

from multirecall.evaluation.figures import index_speed, write_svg
from multirecall.evaluation.index_kinds import RECALLS, measure_kinds
from multirecall.progress import Progress, terminal_progress
from multirecall.retrievers._index import hnsw as hnsw_module
from multirecall.retrievers._index.auto import AutoConfig
from multirecall.retrievers._index.exact import ExactConfig
from multirecall.retrievers._index.hnsw import HnswConfig
from multirecall.retrievers._index.ivf import IvfConfig
from multirecall.retrievers._index.kinds import build_index, load_index
from multirecall.vector_index import IndexConfig, Space

SEED = 1
CENTRES = 1_000
SPREAD = 0.7
PERCENTILES = (50, 95)
SIZES = (100, 500)
ROUNDS = 3
BATCH = 200
BUILD = "build.json"
PLOTS = Path(__file__).resolve().parent.parent / "docs" / "assets"


class Source(StrEnum):
    """Where vectors come from."""

    CLUSTERED = "clustered"
    NORMAL = "normal"


app = typer.Typer(add_completion=False)


@app.command()
def bare(
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
    source, stored, asked = vectors_of(vectors, log, items, dim, queries)
    config = HnswConfig(ef_construction=ef_construction)
    with terminal_progress() as progress, TemporaryDirectory() as temporary:
        folder = (cache or Path(temporary)) / f"{source}-{len(stored)}-{dim}-{ef_construction}"
        exact, _ = build_or_load(stored, ExactConfig(), folder, progress)
        automatic, chosen_build = build_or_load(stored, AutoConfig(), folder, progress)
        chosen = automatic.chosen
        index, graph_build = build_or_load(stored, config, folder, progress)
        graph_alone = hnswlib.Index("ip", dim)
        graph_alone.load_index(str(folder / "hnsw" / hnsw_module.GRAPH))
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
                graph_alone.set_ef(width)
                return graph_alone.knn_query(vector, k=k, num_threads=1)[0][0]

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


@app.command()
def kinds(
    items: Annotated[int, typer.Option(help="Vectors in the index.")] = 100_000,
    dim: Annotated[int, typer.Option(help="Length of a vector.")] = 64,
    queries: Annotated[int, typer.Option(help="Queries, each of another vector.")] = 500,
    vectors: Annotated[Source, typer.Option(help="What is generated.")] = Source.CLUSTERED,
    log: Annotated[
        Path | None, typer.Option(help="A log with user_id and item_id: items by users of its truncated SVD instead.")
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Length of the lists.")] = 100,
    kind: Annotated[list[str] | None, typer.Option(help="Kind; default: all that are installed but auto.")] = None,
    recall: Annotated[list[float] | None, typer.Option(help="Recall to ask for; default: .9, .95, .99.")] = None,
    threads: Annotated[int, typer.Option(help="Threads of the builds; searches have one.")] = 1,
) -> None:
    """Measure every kind as `multirecall index-bench` does, and bare Faiss beside them.

    Generated vectors are compared by cosine, those of a log by inner product, as `als` compares them. The result is
    `index-kinds-SOURCE-ITEMS.json`, a plot of the same name lies with the docs.
    """
    source, stored, asked = vectors_of(vectors, log, items, dim, queries)
    space: Space = "cosine" if log is None else "inner_product"
    if space == "cosine":
        stored, asked = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (stored, asked))
    with terminal_progress() as progress:
        figures, missing = measure_kinds(
            stored, asked, space=space, k=k, kinds=kind, recalls=recall or RECALLS, threads=threads, progress=progress
        )
    alone = bare_faiss(stored, asked, k, threads)
    for one in figures:
        typer.echo(f"{one.kind:8} {one.asked} {one.search} {one.build_s:.1f} s, {one.bytes_per_vector:.0f} bytes")
    for row in alone:
        typer.echo(f"bare {row}")
    name = f"index-kinds-{source}-{len(stored)}"
    write_svg(index_speed(figures, f"{len(stored):,} vectors of length {dim}, k = {k}"), PLOTS / f"{name}.svg")
    typer.echo(
        write(
            name,
            {
                "items": len(stored),
                "dim": dim,
                "space": space,
                "source": source,
                "k": k,
                "queries": len(asked),
                "build_threads": threads,
                "kinds": [asdict(one) for one in figures],
                "missing": missing,
                "bare": alone,
                "releases": {one: version(one) for one in ("faiss-cpu", "hnswlib", "usearch", "annoy")},
            },
        )
    )


def bare_faiss(stored: np.ndarray, asked: np.ndarray, k: int, threads: int) -> list[dict[str, Any]]:
    """Bare Faiss over the same vectors on one thread: an inverted file and a graph, with the efforts of each."""
    import faiss

    truths = np.argsort(-(asked @ stored.T), axis=1)[:, :k]
    rows = []
    for factory, setting, efforts in (
        ("IVF1024,Flat" if len(stored) < 500_000 else "IVF4096,Flat", "nprobe", (4, 8, 16, 32, 64, 128)),
        ("HNSW32", "efSearch", (100, 150, 200, 400)),
    ):
        faiss.omp_set_num_threads(threads)
        index = faiss.index_factory(stored.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
        start = perf_counter()
        index.train(stored)
        index.add(stored)
        build_s = perf_counter() - start
        faiss.omp_set_num_threads(1)
        for effort in efforts:
            faiss.ParameterSpace().set_index_parameter(index, setting, effort)
            times, found = np.empty((ROUNDS, len(asked))), np.empty(truths.shape, np.int64)
            for number in range(ROUNDS):
                for place, query in enumerate(asked):
                    start = perf_counter()
                    found[place] = index.search(query[None], k)[1][0]
                    times[number, place] = (perf_counter() - start) * 1e6
            recall = np.mean([np.isin(truth, own).mean() for truth, own in zip(truths, found, strict=True)])
            p50 = float(np.median(times.min(axis=0)))
            rows.append({"index": factory, setting: effort, "recall": float(recall), "p50_us": p50, "build_s": build_s})
    return rows


def vectors_of(
    vectors: Source, log: Path | None, items: int, dim: int, queries: int
) -> tuple[str, np.ndarray, np.ndarray]:
    """Where vectors come from, those to store and those to ask for."""
    if log is not None:
        return log.parent.name, *learned(log, dim, queries)
    return str(vectors), *generate_vectors(vectors, items, dim, queries)


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
    app()

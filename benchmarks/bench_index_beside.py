"""`ivf` beside bare Faiss and bare hnswlib on the same vectors, at the least effort that finds as much, in one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from time import perf_counter, process_time
from typing import Annotated, Any, NamedTuple

import faiss
import hnswlib
import numpy as np
import typer
from _harness import write
from bench_index import SEED, SIZES, draw_clusters, since

from multirecall.retrievers._index.ivf import IvfConfig
from multirecall.retrievers._index.kinds import build_index

ROUNDS = 5
TRIED_ON = 100
"""Queries on which an effort is chosen."""

Search = Callable[[Any, int], Any]


class Peer(NamedTuple):
    """A library's index: how its effort is set, how it is asked, and the efforts that are tried, the least first."""

    set_effort: Callable[[int], Any]
    search: Search
    efforts: Sequence[int]
    build: dict[str, float]


def main(
    items: Annotated[int, typer.Option(help="Vectors in the index.")] = 100_000,
    dim: Annotated[int, typer.Option(help="Length of a vector.")] = 64,
    queries: Annotated[int, typer.Option(help="Queries, each of another vector.")] = 500,
    recall: Annotated[float, typer.Option(help="Recall that ivf is built for.")] = 0.99,
) -> None:
    """Time single searches on one thread, all in turn for each query; of each query, the quickest of five rounds."""
    faiss.omp_set_num_threads(1)
    stored, asked = draw_clusters(items, dim), draw_clusters(queries, dim, seed=SEED + 1)
    start = perf_counter(), process_time()
    rows = np.arange(items, dtype=np.int32)
    ivf = build_index(rows, stored, "cosine", IvfConfig(recall=recall), rng=np.random.default_rng(SEED))
    builds = {"ivf": since(start)}
    peers = {
        "Faiss IVF1024,Flat": of_faiss("IVF1024,Flat", "nprobe", range(2, 400, 2), stored),
        "Faiss IVF1024,SQ8": of_faiss("IVF1024,SQ8", "nprobe", range(2, 400, 2), stored),
        "Faiss HNSW32": of_faiss("HNSW32", "efSearch", range(100, 3_000, 100), stored),
        "hnswlib": of_hnswlib(stored),
    }
    builds |= {name: peer.build for name, peer in peers.items()}
    searches: dict[str, Any] = {}
    for k in SIZES:
        truths = [np.argpartition(-(stored @ query), k)[:k] for query in asked]
        ways: dict[str, Search] = {"ivf": lambda query, k: ivf.search(query, k).items}
        least, efforts = share_found(ways["ivf"], k, asked, truths), dict[str, int]()
        for name, peer in peers.items():
            ways[name], efforts[name] = peer.search, peer.efforts[-1]
            for effort in peer.efforts:
                peer.set_effort(effort)
                if share_found(peer.search, k, asked[:TRIED_ON], truths[:TRIED_ON]) >= least:
                    efforts[name] = effort
                    break
        times = least_times(ways, k, asked)
        searches[f"top_{k}"] = {
            name: {**times[name], "recall": share_found(way, k, asked, truths), "effort": efforts.get(name)}
            for name, way in ways.items()
        }
        for name, row in searches[f"top_{k}"].items():
            typer.echo(f"top {k} {name:20} {row}")
    sizes = {"items": items, "dim": dim, "queries": queries, "rounds": ROUNDS, "asked_recall": recall, "threads": 1}
    releases = {one: version(one) for one in ("faiss-cpu", "hnswlib")}
    typer.echo(write("index-beside", {**sizes, "releases": releases, "build": builds, "searches": searches}))


def of_faiss(factory: str, setting: str, efforts: Sequence[int], stored: np.ndarray) -> Peer:
    """An index of Faiss, by its own description."""
    start = perf_counter(), process_time()
    index = faiss.index_factory(stored.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    index.train(stored)
    index.add(stored)
    space = faiss.ParameterSpace()
    return Peer(
        lambda effort: space.set_index_parameter(index, setting, effort),
        lambda query, k: index.search(query[None], k)[1][0],
        efforts,
        since(start),
    )


def of_hnswlib(stored: np.ndarray) -> Peer:
    """A graph of hnswlib; the least width that it allows is the length of a list."""
    start = perf_counter(), process_time()
    graph = hnswlib.Index("ip", stored.shape[1])
    graph.init_index(len(stored), M=24, ef_construction=200, random_seed=SEED)
    graph.add_items(stored, num_threads=1)
    efforts = range(SIZES[0], 3_000, 100)

    def search(query: Any, k: int) -> Any:
        return graph.knn_query(query, k, num_threads=1)[0][0]

    return Peer(graph.set_ef, search, efforts, since(start))


def share_found(search: Search, k: int, asked: np.ndarray, truths: Sequence[np.ndarray]) -> float:
    """Share of the true items that a search finds."""
    return float(np.mean([np.isin(truth, search(query, k)).mean() for query, truth in zip(asked, truths, strict=True)]))


def least_times(ways: dict[str, Search], k: int, asked: np.ndarray) -> dict[str, dict[str, float]]:
    """Medians over the queries, in microseconds of the wall clock and of the CPU.

    Each way is asked for another query than the one before, so that none finds in the cache what another has read.
    """
    n, shift = len(asked), len(asked) // len(ways)
    walls, cpus = ({name: np.full(n, np.inf) for name in ways} for _ in range(2))
    for _ in range(ROUNDS):
        for number in range(n):
            for turn, (name, way) in enumerate(ways.items()):
                place = (number + turn * shift) % n
                start = perf_counter(), process_time()
                way(asked[place], k)
                walls[name][place] = min(walls[name][place], perf_counter() - start[0])
                cpus[name][place] = min(cpus[name][place], process_time() - start[1])
    return {
        name: {"p50_us": float(np.median(walls[name])) * 1e6, "cpu_p50_us": float(np.median(cpus[name])) * 1e6}
        for name in ways
    }


if __name__ == "__main__":
    typer.run(main)

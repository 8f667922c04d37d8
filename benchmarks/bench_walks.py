"""Steps of node2vec walks per CPU second, beside PecanPy's SparseOTF where that is installed."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Annotated, Any

import numba
import numpy as np
import typer
from _harness import cost, write
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

from multirecall.progress import Progress, terminal_progress
from multirecall.retrievers._graph.graph import Graph
from multirecall.retrievers._graph.walks import walk_chunks

SEED = 1
RUNS = 5
PEER_RUNS = 3
EXCLUDED = (
    "PecanPy builds new closures in each simulate_walks, which numba compiles anew. Here its kernel _random_walks is "
    "called with closures made once, after a warm-up call; its mapping of rows to id strings is left out too."
)


def bipartite(rng: np.random.Generator, n_edges: int, n_users: int, n_items: int) -> Graph:
    """A users × items graph with a long tail of users and of items; doubles are drawn anew."""
    keys = np.empty(0, np.int64)
    while keys.size < n_edges:
        users = (n_users * rng.random(n_edges) ** 2).astype(np.int64)
        items = (n_items * rng.random(n_edges) ** 2).astype(np.int64)
        keys = np.unique(np.concatenate([keys, users * n_items + items]))
    users, items = np.divmod(rng.permutation(keys)[:n_edges], n_items)
    matrix = coo_array((np.ones(n_edges), (users, items)), shape=(n_users, n_items)).tocsr()
    return Graph.from_matrix(matrix, weighted=False)


def draw_copying_graph(rng: np.random.Generator, n_edges: int) -> tuple[Graph, int]:
    """A graph with hubs and triangles, and its number of triangles.

    A new node links to one end of an earlier edge, and then to neighbours of that node or to ends of others.
    """
    links = 10
    n_nodes = n_edges // links
    targets = np.zeros((n_nodes, links), np.int64)
    coin, which = rng.random((n_nodes, links)).tolist(), rng.random((n_nodes, links)).tolist()
    for node in range(1, n_nodes):
        hub = 0
        for link in range(links):
            if link and coin[node][link] < 0.5:
                targets[node, link] = targets[hub, int(which[node][link] * links)]
            else:
                source, column = divmod(int(which[node][link] * node * links), links)
                hub = source if coin[node][link] < 0.75 else int(targets[source, column])
                targets[node, link] = hub
    sources = np.repeat(np.arange(n_nodes), links)
    one_way = coo_array((np.ones(n_edges), (sources, targets.ravel())), shape=(n_nodes, n_nodes)).tocsr()
    both = ((one_way + one_way.T) > 0).astype(np.float64)
    both.setdiag(0)
    both.eliminate_zeros()
    offsets, neighbours = both.indptr.astype(np.int64), both.indices.astype(np.int32)
    return Graph(offsets, neighbours, None, None, None, directed=False, bipartite=False), _triangles(both)


def _triangles(adjacency: csr_array) -> int:
    """Triangles through a hundredth of the nodes, scaled up."""
    sample = adjacency[::100]
    return round(float((sample @ adjacency).multiply(sample).sum()) / 6 * 100)


def ours(graph: Graph, length: int, p: float, q: float) -> dict[str, float]:
    """Our steps per CPU second, in chunks as they are used, once from every node; the kernel is compiled before."""

    nodes = np.arange(graph.n_nodes, dtype=np.int32)

    def run() -> int:
        return sum(int((chunk[:, -1] >= 0).sum()) for chunk in walk_chunks(graph, nodes, 1, length, p, q, SEED))

    n_steps = run() * (length - 1)
    seconds = cost(run, RUNS).cpu_s
    return {"steps": n_steps, "cpu_s": seconds, "steps_per_cpu_s": n_steps / seconds}


def pecanpy(graph: Graph, starts: NDArray[Any], length: int, p: float, q: float) -> dict[str, float]:
    """The same of PecanPy's SparseOTF."""
    peer = import_module("pecanpy.pecanpy").SparseOTF(p=p, q=q, workers=1, random_state=SEED)
    peer.indptr = graph.offsets.astype(np.uint32)
    peer.indices = graph.neighbours.astype(np.uint32)
    peer.data = np.ones(graph.neighbours.size, np.float32)
    peer.set_node_ids(None, implicit_ids=True, num_nodes=graph.n_nodes)
    has_neighbours, move = peer.get_has_nbrs(), peer.get_move_forward()

    def run(some: NDArray[Any]) -> NDArray[Any]:
        bar = import_module("numba_progress").ProgressBar
        with bar(total=some.size, disable=True) as progress:
            made: NDArray[Any] = peer._random_walks(
                some.size, length - 1, SEED, some.astype(np.uint32), has_neighbours, move, progress
            )
        return made

    run(starts[:10])
    seconds = cost(lambda: run(starts), PEER_RUNS).cpu_s
    n_steps = int((run(starts)[:, -1] - 1.0).sum())
    return {"steps": n_steps, "cpu_s": seconds, "steps_per_cpu_s": n_steps / seconds}


def main(
    edges: Annotated[
        int, typer.Option(help="Edges of each bipartite graph; the general one has some fewer, as doubles are dropped.")
    ] = 1_000_000,
    length: Annotated[int, typer.Option(help="Nodes of a walk.")] = 80,
    p: Annotated[float, typer.Option(help="Return parameter.")] = 0.5,
    q: Annotated[float, typer.Option(help="In-out parameter.")] = 2.0,
    peer_walks: Annotated[int, typer.Option(help="Walks that PecanPy makes; ours start once from every node.")] = 2_000,
) -> None:
    """Walk on bipartite graphs, the dense one shaped like ml-1m, and on a general one; unweighted, one thread."""
    numba.set_num_threads(1)
    rng = np.random.default_rng(SEED)
    general, n_triangles = draw_copying_graph(rng, edges)
    graphs = {
        "bipartite, sparse": bipartite(rng, edges, edges // 10, edges // 20),
        "bipartite, medium": bipartite(rng, edges, edges // 50, edges // 100),
        "bipartite, dense": bipartite(rng, edges, edges // 165, edges // 270),
        "general": general,
    }
    has_peer = find_spec("pecanpy") is not None
    peer = f"PecanPy {version('pecanpy')} SparseOTF. {EXCLUDED}" if has_peer else "left out: PecanPy is not installed"
    figures: dict[str, Any] = {}
    with terminal_progress() as progress:
        for name, graph in graphs.items():
            figures[name] = _row(name, graph, rng, (length, p, q), peer_walks if has_peer else 0, progress)
    figures["general"]["triangles"] = n_triangles
    for name, row in figures.items():
        typer.echo(f"{name:18} {row}")
    settings = {"length": length, "p": p, "q": q, "threads": 1, "seed": SEED, "peer": peer}
    typer.echo(write("walks", {**settings, "graphs": figures}))


def _row(
    name: str,
    graph: Graph,
    rng: np.random.Generator,
    settings: tuple[int, float, float],
    peer_walks: int,
    progress: Progress,
) -> dict[str, Any]:
    starts = rng.permutation(graph.n_nodes)
    programs: dict[str, Callable[[], dict[str, float]]] = {"multirecall": lambda: ours(graph, *settings)}
    if peer_walks:
        programs["pecanpy"] = lambda: pecanpy(graph, starts[:peer_walks], *settings)
    row: dict[str, Any] = {"nodes": graph.n_nodes, "edges": graph.neighbours.size // 2}
    with progress.task(name, len(programs)) as advance:
        for program, measure in programs.items():
            row[program] = measure()
            advance(1)
    if peer_walks:
        row["ratio"] = row["multirecall"]["steps_per_cpu_s"] / row["pecanpy"]["steps_per_cpu_s"]
    return row


if __name__ == "__main__":
    typer.run(main)

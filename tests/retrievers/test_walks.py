from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import networkx as nx
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import chi2

from multirecall.errors import ConfigError, DataError
from multirecall.retrievers._graph.graph import Graph
from multirecall.retrievers._graph.walks import walk_chunks, walks

SEED = 7


def weighted(graph: Any, seed: int = 3, largest: int = 9) -> Any:
    """The same graph with whole weights on its edges."""
    rng = np.random.default_rng(seed)
    for *_, attributes in graph.edges(data=True):
        attributes["weight"] = int(rng.integers(1, largest + 1))
    return graph


def triangle_with_tail() -> Any:
    return nx.Graph([(0, 1), (1, 2), (2, 0), (2, 3), (3, 4)])


def with_loops_and_isolated() -> Any:
    graph = nx.Graph([(0, 0), (0, 1), (1, 2), (2, 2), (2, 0), (2, 3), (3, 4), (4, 5), (5, 1)])
    graph.add_node(6)
    return graph


def one_way_streets() -> Any:
    """Ways back that exist and others that do not, distance 1 in one direction only, a loop and a sink."""
    edges = [(0, 1), (1, 0), (1, 2), (0, 2), (2, 1), (2, 3), (3, 0), (3, 4), (4, 2), (1, 4), (4, 4), (0, 3), (2, 5)]
    return nx.DiGraph([*edges, (4, 1), (3, 2), (0, 4), (0, 5)])


def far_from_bipartite() -> Any:
    """Cycles of five without a triangle: no neighbour is ever near, and no short cut applies."""
    return nx.petersen_graph()


def one_heavy_edge() -> Any:
    """Nearly all weight lies on one edge, so that the way back is nearly always proposed."""
    graph = nx.path_graph(5)
    nx.set_edge_attributes(graph, 1, "weight")
    graph[1][2]["weight"] = 5_000
    return graph


GRAPHS: dict[str, Any] = {
    "triangle with tail": triangle_with_tail(),
    "triangle with tail, weighted": weighted(triangle_with_tail()),
    "loops and an isolated node": with_loops_and_isolated(),
    "loops and an isolated node, weighted": weighted(with_loops_and_isolated()),
    "directed": one_way_streets(),
    "directed, weighted": weighted(one_way_streets()),
    "no triangle, not bipartite": far_from_bipartite(),
    "no triangle, not bipartite, weighted": weighted(far_from_bipartite()),
    "one heavy edge": one_heavy_edge(),
    "complete bipartite": nx.complete_bipartite_graph(3, 4),
    "complete bipartite, weighted": weighted(nx.complete_bipartite_graph(3, 4)),
    "star": nx.star_graph(5),
    "star, weighted": weighted(nx.star_graph(5)),
    "clustered": weighted(nx.windmill_graph(3, 4), largest=1),
}
BIASES = [(1, 1), (0.5, 2), (4, 0.25), (0.01, 1), (100, 1), (1, 0.01), (1, 100), (0.01, 100), (100, 0.01)]


def of(name: str) -> Graph:
    graph = GRAPHS[name]
    return Graph.from_networkx(graph, "weight" if nx.is_weighted(graph) else None)


def probabilities(graph: Any, previous: int, current: int, p: float, q: float) -> dict[int, float]:
    """Section 3.2.2 of the paper as it stands there; `previous` -1 for a first step."""
    shares: dict[int, float] = {}
    for node in graph[current]:
        weight = graph[current][node].get("weight", 1)
        if previous < 0:
            shares[node] = weight
        elif node == previous:
            shares[node] = weight / p
        elif graph.has_edge(previous, node):
            shares[node] = weight
        else:
            shares[node] = weight / q
    total = sum(shares.values())
    return {node: share / total for node, share in shares.items()}


def triples(made: NDArray[np.int32]) -> Counter[tuple[int, int, int]]:
    """How often a walk went where: the node before (-1 at its start), the node it stood at, the next one."""
    before = np.concatenate([np.full((len(made), 1), -1, np.int32), made[:, :-2]], axis=1)
    steps = np.stack([before.ravel(), made[:, :-1].ravel(), made[:, 1:].ravel()], axis=1)
    rows, times = np.unique(steps[steps[:, 1] >= 0], axis=0, return_counts=True)
    return Counter(dict(zip(map(tuple, rows.tolist()), times.tolist(), strict=True)))


def transitions(made: NDArray[np.int32]) -> dict[tuple[int, int], Counter[int]]:
    """The same by context: the node before, and the node where the walk stood."""
    counts: dict[tuple[int, int], Counter[int]] = {}
    for (previous, current, node), n in triples(made).items():
        counts.setdefault((previous, current), Counter())[node] = n
    return counts


def p_value(graph: Any, made: NDArray[np.int32], p: float, q: float) -> float:
    """Chi-square over all contexts together; cells that expect fewer than 8 steps are pooled within a context."""
    statistic, freedom = 0.0, 0
    for (previous, current), counts in transitions(made).items():
        expected = probabilities(graph, previous, current, p, q)
        assert counts.keys() <= (expected.keys() or {-1}), f"{previous} → {current} → {dict(counts)}"
        n = counts.total()
        rare = {node for node, share in expected.items() if share * n < 8}
        cells = [(counts[node], share * n) for node, share in expected.items() if node not in rare]
        pool = sum(expected[node] for node in rare) * n
        if pool >= 8:
            cells.append((sum(counts[node] for node in rare), pool))
        if len(cells) > 1:
            statistic += sum((seen - wanted) ** 2 / wanted for seen, wanted in cells)
            freedom += len(cells) - 1
    assert freedom > 0
    return float(chi2.sf(statistic, freedom))


@pytest.mark.parametrize(("p", "q"), BIASES)
@pytest.mark.parametrize("name", GRAPHS)
def test_steps_have_the_probabilities_of_the_paper(name: str, p: float, q: float) -> None:
    graph = of(name)
    starts = np.repeat(np.arange(graph.n_nodes), 150)
    made = walks(graph, starts, 30, p, q, SEED)
    assert p_value(GRAPHS[name], made, p, q) > 1e-4
    if graph.bipartite:
        without_short_cut = walks(replace(graph, bipartite=False), starts, 30, p, q, SEED + 1)
        assert p_value(GRAPHS[name], without_short_cut, p, q) > 1e-4


def test_weights_that_differ_by_many_powers_of_ten() -> None:
    """From item 0 the user goes back with 1e9/1e8 against 1 + 1, from items 1 and 2 to item 0: 2/7 are changes."""
    made = walks(Graph.from_matrix(csr_array(np.array([[1e9, 1, 1]]))), np.zeros(200, np.int32), 202, 1e8, 1, SEED)
    changes = np.diff(made[:, 1::2], axis=1) != 0
    assert changes.mean() == pytest.approx(2 / 7, abs=0.015)


@pytest.mark.parametrize(("p", "q"), [(1e9, 1e9), (1e-9, 1e-9), (1e9, 1e-9), (1e-9, 1e9)])
@pytest.mark.parametrize("name", GRAPHS)
def test_the_largest_and_smallest_biases_end_in_time(name: str, p: float, q: float) -> None:
    for before, current, node in triples(walks(of(name), np.zeros(5, np.int32), 20, p, q, SEED)):
        assert node in (probabilities(GRAPHS[name], before, current, p, q) or {-1})


@pytest.mark.parametrize("name", ["loops and an isolated node, weighted", "directed", "complete bipartite"])
def test_walks_depend_on_the_seed_and_their_number_only(name: str) -> None:
    graph = of(name)
    starts = np.random.default_rng(0).integers(0, graph.n_nodes, 300)
    whole = walks(graph, starts, 12, 0.5, 2, SEED)
    assert np.array_equal(whole, walks(graph, starts, 12, 0.5, 2, SEED))
    parts = [walks(graph, starts[i : i + 7], 12, 0.5, 2, SEED, first=i) for i in range(0, 300, 7)]
    assert np.array_equal(whole, np.concatenate(parts))
    assert not np.array_equal(whole, walks(graph, starts, 12, 0.5, 2, SEED + 1))
    assert not np.array_equal(whole, walks(graph, starts, 12, 0.5, 2, SEED, first=1))
    assert np.array_equal(whole[:, :5], walks(graph, starts, 5, 0.5, 2, SEED))


def test_walks_of_one_start_are_independent() -> None:
    """On a star the leaf of one walk says nothing about the leaf of the next."""
    leaves = walks(of("star"), np.zeros(20_000, np.int32), 2, 1, 1, SEED)[:, 1]
    pairs = np.bincount(leaves[:-1] * 6 + leaves[1:], minlength=36).reshape(6, 6)[1:, 1:]
    assert chi2.sf(((pairs - 19_999 / 25) ** 2 / (19_999 / 25)).sum(), 24) > 1e-4


def test_dead_ends_are_padded() -> None:
    graph = Graph.from_networkx(nx.DiGraph([(0, 1), (1, 2), (3, 3)]))
    made = walks(graph, [0, 1, 2, 3], 5, 0.5, 2, SEED)
    assert made.tolist() == [[0, 1, 2, -1, -1], [1, 2, -1, -1, -1], [2, -1, -1, -1, -1], [3, 3, 3, 3, 3]]
    assert made.dtype == np.int32


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_isolated_nodes_at_both_ends_of_the_rows(factor: float) -> None:
    matrix = csr_array(np.array([[0, 0, 0], [1, factor, 0], [0, 0, 0]], np.float32))
    made = walks(Graph.from_matrix(matrix), np.arange(6), 4, 0.5, 2, SEED)
    assert (made[[0, 2, 5], 1:] == -1).all()
    assert (made[[1, 3, 4]] >= 0).all()


def test_no_starts_and_walks_of_one_node() -> None:
    graph = of("star")
    assert walks(graph, np.empty(0, np.int32), 4, 1, 1, SEED).shape == (0, 4)
    assert walks(graph, [2, 0], 1, 1, 1, SEED).tolist() == [[2], [0]]


def test_chunks_start_everywhere_in_a_new_order_each_round() -> None:
    graph = of("no triangle, not bipartite")
    nodes = np.arange(10, dtype=np.int32)
    chunks = list(walk_chunks(graph, nodes, 3, 6, 0.5, 2, SEED, chunk=4))
    assert [len(chunk) for chunk in chunks] == [4, 4, 2] * 3
    whole = np.concatenate(chunks)
    rounds = whole[:, 0].reshape(3, 10)
    assert (np.sort(rounds, axis=1) == np.arange(10)).all()
    assert len({tuple(order) for order in [range(10), *rounds.tolist()]}) == 4
    assert np.array_equal(whole, np.concatenate(list(walk_chunks(graph, nodes, 3, 6, 0.5, 2, SEED, chunk=1000))))


def test_graph_of_a_matrix() -> None:
    matrix = csr_array(np.array([[0, 2, 5], [1, 0, 0]], np.float32))
    graph = Graph.from_matrix(matrix)
    assert graph.offsets.tolist() == [0, 2, 3, 4, 5, 6]
    assert graph.neighbours.tolist() == [3, 4, 2, 1, 0, 0]
    assert graph.weights is not None
    assert graph.weights.tolist() == [2, 5, 1, 1, 2, 5]
    assert (graph.bipartite, graph.directed, graph.n_nodes) == (True, False, 5)
    pattern = Graph.from_matrix(matrix, weighted=False)
    assert pattern.weights is None
    assert pattern.neighbours.tolist() == graph.neighbours.tolist()


def test_equal_weights_are_not_stored_and_zeros_are_no_edges() -> None:
    entries = (np.array([2.0, 0.0, 2.0]), (np.array([0, 0, 1]), np.array([0, 1, 1])))
    graph = Graph.from_matrix(csr_array(entries, shape=(2, 2)))
    assert graph.weights is None
    assert graph.neighbours.tolist() == [2, 3, 0, 1]


@pytest.mark.parametrize("kind", [nx.Graph, nx.DiGraph, nx.MultiGraph, nx.MultiDiGraph])
@pytest.mark.parametrize("weight", ["weight", None])
def test_graph_of_networkx_is_its_matrix(kind: Any, weight: str | None) -> None:
    rng = np.random.default_rng(5)
    source = kind()
    source.add_nodes_from("hgfedcba")
    source.add_edges_from((a, b) for a, b in rng.choice(list("abcdefg"), (24, 2)).tolist())
    source.add_edge("a", "a")
    weighted(source)
    graph = Graph.from_networkx(source, weight)
    weights = np.ones(graph.neighbours.size) if graph.weights is None else graph.weights
    dense = csr_array((weights, graph.neighbours, graph.offsets), shape=(8, 8)).toarray()
    assert np.array_equal(dense, nx.to_numpy_array(source, weight=weight))
    assert graph.directed == source.is_directed()
    assert (np.diff(graph.neighbours)[np.diff(np.repeat(np.arange(8), np.diff(graph.offsets))) == 0] > 0).all()


def test_nodes_of_networkx_take_the_rows_they_are_given() -> None:
    source = nx.DiGraph([("a", "b"), ("b", "c"), ("c", "d"), ("d", "a")])
    graph = Graph.from_networkx(source, rows=np.array([4, 0, -1, 2]), n_nodes=6)
    assert graph.offsets.tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert graph.neighbours.tolist() == [4, 0]
    assert graph.degrees.tolist() == [1, 0, 1, 0, 2, 0]


def test_an_adjacency_is_its_graph_again() -> None:
    for name in GRAPHS:
        graph = of(name)
        weights = np.ones(graph.neighbours.size, np.float32) if graph.weights is None else graph.weights
        matrix = csr_array((weights, graph.neighbours, graph.offsets), shape=(graph.n_nodes, graph.n_nodes))
        again = Graph.from_adjacency(matrix, directed=graph.directed)
        assert np.array_equal(walks(again, [0] * 50, 9, 0.5, 2, SEED), walks(graph, [0] * 50, 9, 0.5, 2, SEED))


@pytest.mark.parametrize(
    "graph",
    [
        *GRAPHS.values(),
        nx.disjoint_union(nx.cycle_graph(4), nx.cycle_graph(5)),
        nx.disjoint_union(nx.cycle_graph(4), nx.empty_graph(3)),
        nx.Graph([(0, 1), (1, 1)]),
    ],
)
def test_two_colours_are_found(graph: Any) -> None:
    assert Graph.from_networkx(graph).bipartite == (not graph.is_directed() and nx.is_bipartite(graph))


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_bad_weights_are_named(value: float) -> None:
    with pytest.raises(DataError, match=r"edge 0 → 1: the weight must be finite and >= 0, got"):
        Graph.from_matrix(csr_array(np.array([[value]])))


@pytest.mark.parametrize("attributes", [{}, {"w": None}, {"w": "3"}])
def test_missing_weights_are_named(attributes: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"edge \('a', 'b'\): 'w' must be a number"):
        Graph.from_networkx(nx.Graph([("a", "b", attributes)]), "w")


@pytest.mark.parametrize("value", [0, -1.0, np.nan, np.inf, 1e-50, 1e39])
def test_weights_of_networkx_are_above_0(value: float) -> None:
    with pytest.raises(DataError, match=r"edge \('a', 'b'\): 'w' must be a number above 0 that float32 holds, got"):
        Graph.from_networkx(nx.Graph([("a", "b", {"w": value})]), "w")


def test_weights_beyond_float32_are_refused() -> None:
    with pytest.raises(DataError, match="more than float32 holds"):
        Graph.from_networkx(nx.MultiGraph([(0, 1, {"w": 3e38}), (0, 1, {"w": 3e38})]), "w")


@pytest.mark.parametrize("graph", [nx.Graph(), nx.empty_graph(3)])
def test_a_graph_without_edges_is_refused(graph: Any) -> None:
    with pytest.raises(DataError, match="no edge"):
        Graph.from_networkx(graph, "weight")
    with pytest.raises(DataError, match="no edge"):
        Graph.from_matrix(csr_array((2, 3), dtype=np.float32))


def test_bad_arguments_are_named() -> None:
    graph = of("star")
    for starts in ([-1], [6]):
        with pytest.raises(DataError, match=r"starts must be nodes 0 … 5"):
            walks(graph, starts, 3, 1, 1, SEED)
    with pytest.raises(ConfigError, match="length must be >= 1, got 0"):
        walks(graph, [0], 0, 1, 1, SEED)
    for p, q, name in [(0, 1, "p"), (1, -2, "q"), (np.nan, 1, "p"), (1, np.inf, "q")]:
        with pytest.raises(ConfigError, match=f"{name} must be between"):
            walks(graph, [0], 3, p, q, SEED)

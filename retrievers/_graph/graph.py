"""Graphs in CSR form, for walking on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import block_array, coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from multirecall.errors import CannotFit, DataError

from .alias import alias_tables

SMALLEST, LARGEST = (float(end) for end in (np.finfo(np.float32).smallest_subnormal, np.finfo(np.float32).max))
"""What a weight may be."""


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes 0 … n - 1 and their outgoing edges; an undirected edge is stored in both directions, a loop once.

    Attributes:
        offsets: int64 (n + 1,).
        neighbours: int32 (n_edges,), ascending within a node.
        weights: float32 (n_edges,), > 0; None when all edges weigh the same.
        totals: sum of a node's weights, float64 (n,); None with `weights`.
        choices: `CHOICE` (n_edges,), the alias table of each node (Walker 1977); None with `weights`.
        directed: whether an edge may lack its reverse.
        bipartite: whether the graph is undirected and two colours suffice; walks rely on it.
    """

    offsets: NDArray[np.int64]
    neighbours: NDArray[np.int32]
    weights: NDArray[np.float32] | None
    totals: NDArray[np.float64] | None
    choices: NDArray[np.void] | None
    directed: bool
    bipartite: bool

    @property
    def n_nodes(self) -> int:
        """Number of nodes, isolated ones included."""
        return self.offsets.size - 1

    @property
    def degrees(self) -> NDArray[np.int64]:
        """The edges of each node, int64 (n,); of a directed graph those that leave it and those that reach it."""
        outgoing: NDArray[np.int64] = np.diff(self.offsets)
        return outgoing + np.bincount(self.neighbours, minlength=self.n_nodes) if self.directed else outgoing

    @classmethod
    def from_matrix(cls, matrix: csr_array, *, weighted: bool = True) -> Graph:
        """The bipartite graph of a users × items matrix: node `u` is user `u`, node `n_users + i` item `i`.

        Entries of 0 are no edges. Without `weighted`, all others weigh the same.

        Raises:
            DataError: an entry is negative or not finite.
            CannotFit: no entry is above 0.
        """
        entries = matrix.tocoo()
        n_users, n_items = matrix.shape
        users, items = entries.row, entries.col.astype(np.int64) + n_users
        both = np.concatenate([users, items]), np.concatenate([items, users])
        graph = _of_edges(*both, np.tile(entries.data, 2), n_users + n_items, directed=False, bipartite=True)
        return graph if weighted else graph.without_weights()

    @classmethod
    def from_edges(
        cls,
        sources: NDArray[np.integer],
        targets: NDArray[np.integer],
        weights: NDArray[np.floating],
        n_nodes: int,
        *,
        directed: bool,
    ) -> Graph:
        """The graph of edges `sources[i]` → `targets[i]`, or between the two if not `directed`; parallel ones add up.

        Args:
            sources: nodes 0 … n_nodes - 1, (n_edges,).
            targets: nodes, (n_edges,).
            weights: (n_edges,), finite and >= 0; an edge of 0 is none.
            n_nodes: number of nodes, isolated ones included.
            directed: whether an edge leads one way only.

        Raises:
            DataError: a weight is negative or not finite, or parallel edges are beyond float32 together.
            CannotFit: no edge is above 0.
        """
        if directed:
            return _of_edges(sources, targets, weights, n_nodes, directed=True, bipartite=False)
        two_way = sources != targets
        both = np.concatenate([sources, targets[two_way]]), np.concatenate([targets, sources[two_way]])
        return _of_edges(*both, np.concatenate([weights, weights[two_way]]), n_nodes, directed=False, bipartite=None)

    @classmethod
    def from_networkx(
        cls,
        graph: Any,
        weight: str | None = None,
        *,
        rows: NDArray[np.integer] | None = None,
        n_nodes: int | None = None,
    ) -> Graph:
        """A networkx graph of any kind: `networkx.Graph`, `DiGraph`, `MultiGraph` or `MultiDiGraph`.

        Args:
            graph: directed or not; parallel edges add up (without `weight`, each counts 1).
            weight: the edge attribute that holds the weight, a number above 0; None: every edge weighs 1.
            rows: which node each of `list(graph)` becomes, (len(graph),); -1 leaves it out, and its edges with it.
                None: the i-th of `list(graph)` becomes node `i`.
            n_nodes: number of nodes of the result, isolated ones included; None: `len(graph)`.

        Raises:
            DataError: a weight is missing or no number above 0, or parallel edges are beyond float32 together.
            CannotFit: no edge is left.
        """
        rows = np.arange(len(graph)) if rows is None else rows
        row_of = dict(zip(graph, rows.tolist(), strict=True))
        edges = list(graph.edges(data=weight, default=None) if weight else graph.edges(data=False))
        for source, target, *value in edges:
            if weight and not (isinstance(value[0], int | float | np.number) and SMALLEST <= value[0] <= LARGEST):
                raise DataError(
                    f"edge ({source!r}, {target!r}): {weight!r} must be a number above 0 that float32 holds, "
                    f"got {value[0]!r}; set it, or leave the edge out"
                )
        kept = [edge for edge in edges if row_of[edge[0]] >= 0 <= row_of[edge[1]]]
        sources = np.array([row_of[edge[0]] for edge in kept], np.int64)
        targets = np.array([row_of[edge[1]] for edge in kept], np.int64)
        weights = np.array([edge[2] for edge in kept], np.float64) if weight else np.ones(len(kept))
        n_nodes = len(graph) if n_nodes is None else n_nodes
        return cls.from_edges(sources, targets, weights, n_nodes, directed=graph.is_directed())

    @classmethod
    def from_adjacency(cls, matrix: csr_array, *, directed: bool) -> Graph:
        """The graph of a matrix nodes × nodes, float32 with entries above 0; symmetric unless `directed`."""
        return _of_adjacency(matrix, directed=directed, bipartite=False if directed else None)

    def without_weights(self) -> Graph:
        """The same edges, all of one weight."""
        return replace(self, weights=None, totals=None, choices=None)


def _of_edges(
    sources: NDArray[Any],
    targets: NDArray[Any],
    weights: NDArray[Any],
    n_nodes: int,
    *,
    directed: bool,
    bipartite: bool | None,
) -> Graph:
    """The graph of edges that are listed in every direction in which they lead; `bipartite` None: find out."""
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if wrong.size:
        edge = f"{sources[wrong[0]]} → {targets[wrong[0]]}"
        raise DataError(f"edge {edge}: the weight must be finite and >= 0, got {weights[wrong[0]]}")
    summed = coo_array((weights.astype(np.float64), (sources, targets)), shape=(n_nodes, n_nodes)).tocsr()
    with np.errstate(over="ignore"):
        matrix = summed.astype(np.float32)
    matrix.eliminate_zeros()
    matrix.sort_indices()
    if not np.isfinite(matrix.data).all():
        raise DataError(f"parallel edges add up to {summed.data.max()}, more than float32 holds; scale the weights")
    return _of_adjacency(matrix, directed=directed, bipartite=bipartite)


def _of_adjacency(matrix: csr_array, *, directed: bool, bipartite: bool | None) -> Graph:
    if not matrix.nnz:
        raise CannotFit("the graph has no edge with a weight above 0")
    offsets, neighbours = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)
    if bipartite is None:
        bipartite = _two_colours(matrix)
    if (matrix.data == matrix.data[0]).all():
        return Graph(offsets, neighbours, None, None, None, directed, bipartite)
    return Graph(offsets, neighbours, matrix.data, *alias_tables(offsets, matrix.data), directed, bipartite)


def _two_colours(matrix: csr_array) -> bool:
    """Whether an undirected graph is bipartite: its double cover then has two components for each of its own."""
    cover = block_array([[None, matrix], [matrix, None]])
    n_own, _ = connected_components(matrix, directed=False)
    n_cover, _ = connected_components(cover, directed=False)
    return bool(n_cover == 2 * n_own)

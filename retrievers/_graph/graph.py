"""Graphs in CSR form, for walking on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import block_array, coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from multirecall.errors import DataError

from .alias import alias_tables


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

    @classmethod
    def from_matrix(cls, matrix: csr_array, *, weighted: bool = True) -> Graph:
        """The bipartite graph of a users × items matrix: node `u` is user `u`, node `n_users + i` item `i`.

        Entries of 0 are no edges. Without `weighted`, all others weigh the same.

        Raises:
            DataError: an entry is negative or not finite, or none is left.
        """
        entries = matrix.tocoo()
        n_users, n_items = matrix.shape
        users, items = entries.row, entries.col.astype(np.int64) + n_users
        both = np.concatenate([users, items]), np.concatenate([items, users])
        return _graph(*both, np.tile(entries.data, 2), n_users + n_items, weighted, directed=False, bipartite=True)

    @classmethod
    def from_networkx(cls, graph: Any, weight: str | None = None) -> Graph:
        """A networkx graph of any kind; node `i` is the i-th of `list(graph)`.

        Args:
            graph: directed or not, parallel edges are summed (counted without `weight`).
            weight: the edge attribute that holds the weight; None: all edges weigh the same.

        Raises:
            DataError: a weight is missing, no number, negative or not finite, or no edge above 0 is left.
        """
        rows = {node: row for row, node in enumerate(graph)}
        edges = list(graph.edges(data=weight, default=None) if weight else graph.edges(data=False))
        for source, target, *value in edges:
            if weight and not isinstance(value[0], int | float | np.number):
                raise DataError(f"edge ({source!r}, {target!r}): {weight!r} must be a number, got {value[0]!r}")
        sources = np.array([rows[edge[0]] for edge in edges], np.int64)
        targets = np.array([rows[edge[1]] for edge in edges], np.int64)
        values = np.array([edge[2] for edge in edges], np.float64) if weight else np.ones(len(edges))
        if graph.is_directed():
            return _graph(sources, targets, values, len(rows), True, directed=True, bipartite=False)
        two_way = sources != targets
        both = np.concatenate([sources, targets[two_way]]), np.concatenate([targets, sources[two_way]])
        return _graph(*both, np.concatenate([values, values[two_way]]), len(rows), True, directed=False, bipartite=None)


def _graph(
    sources: NDArray[Any],
    targets: NDArray[Any],
    values: NDArray[Any],
    n_nodes: int,
    weighted: bool,
    *,
    directed: bool,
    bipartite: bool | None,
) -> Graph:
    wrong = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if wrong.size:
        edge = f"{sources[wrong[0]]} → {targets[wrong[0]]}"
        raise DataError(f"edge {edge}: the weight must be finite and >= 0, got {values[wrong[0]]}")
    summed = coo_array((values.astype(np.float64), (sources, targets)), shape=(n_nodes, n_nodes)).tocsr()
    with np.errstate(over="ignore"):
        matrix = summed.astype(np.float32)
    matrix.eliminate_zeros()
    matrix.sort_indices()
    if not matrix.nnz:
        raise DataError("the graph has no edge with a weight above 0")
    if not np.isfinite(matrix.data).all():
        raise DataError(f"parallel edges add up to {summed.data.max()}, more than float32 holds; scale the weights")
    offsets, neighbours = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)
    if bipartite is None:
        bipartite = _two_colours(matrix)
    if not weighted or (matrix.data == matrix.data[0]).all():
        return Graph(offsets, neighbours, None, None, None, directed, bipartite)
    return Graph(offsets, neighbours, matrix.data, *alias_tables(offsets, matrix.data), directed, bipartite)


def _two_colours(matrix: csr_array) -> bool:
    """Whether an undirected graph is bipartite: its double cover then has two components for each of its own."""
    cover = block_array([[None, matrix], [matrix, None]])
    n_own, _ = connected_components(matrix, directed=False)
    n_cover, _ = connected_components(cover, directed=False)
    return bool(n_cover == 2 * n_own)

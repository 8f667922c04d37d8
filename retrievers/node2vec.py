"""Node2Vec: biased random walks on the graph of users and items, or on a graph of items that the user gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator
from scipy.sparse import csr_array

from multirecall.data import Changes, Dataset
from multirecall.lists import RankedList
from multirecall.progress import Progress
from multirecall.protocols import PluginConfig
from multirecall.query import Query
from multirecall.storage import read_component, write_component
from multirecall.topk import top_eligible
from multirecall.validation import Count, NonNegative, Positive

from ._graph.graph import Graph
from ._graph.item_graph import item_graph
from ._graph.skipgram import SkipGram, SkipGramConfig
from ._graph.walks import walk_chunks, walks
from ._neighbours.vector_retriever import VectorNeighbourRetriever
from ._recency import recent_items
from ._weights import weight_matrix

CHUNK = 4096
"""Walks that are in memory at a time while the vectors are trained."""

N_SIMILAR = 10
"""Items of like features whose mean vector an item without interactions gets."""


class Node2VecConfig(SkipGramConfig):
    """Settings of `node2vec`."""

    serve: Literal["neighbours", "walks"] = "neighbours"
    """`neighbours`: the items nearest to those of the history, by vectors trained on walks. `walks`: items that walks
    from the history visit most; nothing is trained, and a `p` below 1 suits logs with repeats. Changes results."""

    window: Count = 10
    """Most positions between a centre and its context; each centre draws its own, 1 … window. Changes results."""

    subsample: NonNegative = 0.0
    """Frequency above which occurrences are dropped at random; 0: none are. Changes results."""

    p: Positive = 1.0
    """Return parameter: above 1, a walk seldom goes back where it came from. Changes results."""

    q: Positive = 1.0
    """In-out parameter: above 1, a walk stays near where it came from. Changes results."""

    weighted: bool = True
    """Whether a step follows the weights of the log, or of `graph`. Changes results where they differ."""

    graph: str | None = None
    """A file with a graph of items to walk on, in place of users and items of the log: a parquet, CSV or TSV file with
    columns `source, target, weight`, or GraphML (`.graphml`); None: none. Read by every fit and refit, from the
    working directory on where the path is relative, and not needed to serve. Changes results."""

    directed: bool = False
    """Whether an edge of a table `graph` leads from `source` to `target` alone; GraphML says so itself.
    Changes results."""

    walks_per_node: Count = 20
    """Walks from each node that the vectors are trained on. Changes results."""

    walk_length: Count = 40
    """Nodes of such a walk. Changes results."""

    walk_nodes: Count = 100_000_000
    """Nodes of all these walks together, so that a large graph takes fewer walks from each node, but one at least.
    Changes results, at the defaults those of more than 125,000 users and items; and speed: a core trains on some
    400,000 a second."""

    neighbours: Count = 100
    """Most neighbours kept of each item; memory is 8 bytes for each. Changes results."""

    half_life: Positive | None = 10.0
    """Items after which an item of the history weighs half; None: all weigh alike. Changes results."""

    request_walks: Count = 4_000
    """Walks of a request, with `serve = "walks"`. Changes results and speed."""

    request_length: Count = 9
    """Nodes of such a walk, the history's item included. Changes results and speed."""

    @model_validator(mode="after")
    def _only_a_graph_is_directed(self) -> Self:
        if self.directed and self.graph is None:
            raise ValueError("directed is true, but there is no graph; name its file in graph, or leave directed out")
        return self


class Node2Vec(VectorNeighbourRetriever):
    """Proposes what second-order random walks from the history reach (Grover & Leskovec, KDD 2016).

    Walks step as in section 3.2 of the paper, on the bipartite graph of users and items or, where the config names a
    `graph`, on that graph of items alone. Served by neighbours, they are the sentences of skip-gram, and an item scores
    its cosine to the items of the history, summed with recency weights; an item that no walk can reach has the mean
    vector of those of like features. Served by walks, an item scores the share of the visited item nodes that it makes
    up; a request draws the same walks whenever its history is the same.

    Live: new items, and new features of items that no walk can reach, count at once where neighbours are served;
    vectors and graph stay as fitted, and walks pass over items that these do not have.
    """

    Config: ClassVar[type[PluginConfig]] = Node2VecConfig
    config: Node2VecConfig
    _seed: int
    _graph: Graph
    _first_item: int
    """The node of the item of row 0; those of users stand before it."""

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Train on walks, which stream into the training. Memory: the graph, and the vectors of all nodes twice.

        Raises:
            CannotFit: no interaction has weight or, with `graph`, no edge joins two items.
            DataError: `graph` is missing or breaks a rule of its format; see `item_graph`.
        """
        config = self.config
        self._seed = int(rng.integers(2**63))
        if config.graph is None:
            graph = Graph.from_matrix(weight_matrix(data, "node2vec"), weighted=config.weighted)
            first_item, starts, learnt = data.n_users, np.arange(graph.n_nodes, dtype=np.int32), None
        else:
            graph = item_graph(config.graph, data, directed=config.directed, weighted=config.weighted)
            first_item, learnt = 0, graph.degrees > 0
            starts = np.flatnonzero(learnt).astype(np.int32)
        if config.serve == "walks":
            self._graph, self._first_item = graph, first_item
        else:
            vectors = self._train(graph, starts, rng, progress)[first_item:]
            self._serve(vectors, data, N_SIMILAR, progress, "node2vec: finding neighbours", learnt)

    def with_changes(self, changes: Changes) -> Self:
        """See `Retriever.with_changes`."""
        return self if self.config.serve == "walks" else super().with_changes(changes)

    def retrieve(self, query: Query, quota: int) -> RankedList:
        """See `Retriever.retrieve`."""
        return self._visited(query, quota) if self.config.serve == "walks" else super().retrieve(query, quota)

    def item_vectors(self) -> tuple[NDArray[np.int32], NDArray[np.float32]] | None:
        """See `Retriever.item_vectors`; None where walks are served."""
        return None if self.config.serve == "walks" else super().item_vectors()

    def save(self, folder: Path) -> None:
        """See `Retriever.save`."""
        if self.config.serve == "neighbours":
            super().save(folder)
            return
        graph, first = self._graph, self._first_item
        n_sources = first or graph.n_nodes
        n_edges = graph.offsets[n_sources]
        items = graph.neighbours[:n_edges] - np.int32(first)
        weights = np.ones(n_edges, np.float32) if graph.weights is None else graph.weights[:n_edges]
        arrays = {"offsets": graph.offsets[: n_sources + 1], "items": items, "weights": weights}
        meta: dict[str, Any] = {"n_items": graph.n_nodes - first, "seed": self._seed}
        write_component(folder, arrays, meta if first else {**meta, "directed": graph.directed})

    @classmethod
    def load(cls, config: Node2VecConfig, folder: Path, data: Dataset) -> Self:
        """See `Retriever.load`; the file that `graph` names is not needed."""
        if config.serve == "neighbours":
            return super().load(config, folder, data)
        path = cls(config)
        arrays, meta = read_component(folder)
        shape = arrays["offsets"].size - 1, meta["n_items"]
        matrix = csr_array((arrays["weights"], arrays["items"], arrays["offsets"]), shape=shape)
        path._seed = meta["seed"]
        if config.graph is None:
            path._graph, path._first_item = Graph.from_matrix(matrix, weighted=config.weighted), shape[0]
        else:
            path._graph, path._first_item = Graph.from_adjacency(matrix, directed=meta["directed"]), 0
        return path

    def _train(
        self, graph: Graph, starts: NDArray[np.int32], rng: np.random.Generator, progress: Progress
    ) -> NDArray[np.float32]:
        """Vectors of the nodes, float32 (n_nodes, dim), from walks that begin at `starts`."""
        config = self.config
        most = config.walk_nodes // (starts.size * config.walk_length)
        per_node = max(1, min(config.walks_per_node, most))
        n_walks = starts.size * per_node
        model = SkipGram(graph.degrees, config, rng, planned=n_walks * config.walk_length)
        chunks = walk_chunks(graph, starts, per_node, config.walk_length, config.p, config.q, self._seed, CHUNK)
        with progress.task("node2vec: learning from walks", n_walks) as advance:
            for chunk in chunks:
                whole = chunk >= 0
                offsets = np.append(0, np.cumsum(whole.sum(axis=1)))
                model.train(chunk[whole], offsets)
                advance(len(chunk))
        return model.vectors

    def _visited(self, query: Query, quota: int) -> RankedList:
        items, weights = recent_items(query, None, self.config.half_life)
        fitted = items < self._graph.n_nodes - self._first_item
        items, weights = items[fitted], weights[fitted]
        if not weights.any():
            return RankedList.empty()
        rng = np.random.default_rng([self._seed, *items.tolist()])
        starts = rng.choice(items, self.config.request_walks, p=weights / weights.sum(dtype=np.float64))
        config = self.config
        nodes = walks(
            self._graph, starts + self._first_item, config.request_length, config.p, config.q, int(rng.integers(2**63))
        )[:, 1:]
        visited, counts = np.unique(nodes[nodes >= self._first_item], return_counts=True)
        rows = (visited - self._first_item).astype(np.int32)
        shares = (counts / max(counts.sum(), 1)).astype(np.float32)
        return RankedList(*top_eligible(rows, shares, quota, *query.filter))

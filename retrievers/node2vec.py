"""Node2Vec: biased random walks on the graph of users and items."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
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
from ._graph.skipgram import SkipGram, SkipGramConfig
from ._graph.walks import walk_chunks, walks
from ._neighbours.vector_retriever import VectorNeighbourRetriever
from ._recency import recent
from ._weights import weighted_matrix

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
    """Whether a step follows the weights of the log. Changes results where they differ."""

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


class Node2Vec(VectorNeighbourRetriever):
    """Proposes what second-order random walks from the history reach (Grover & Leskovec, KDD 2016).

    Walks on the bipartite graph of users and items step as in section 3.2 of the paper. Served by neighbours, they
    are the sentences of skip-gram, and an item scores its cosine to the items of the history, summed with recency
    weights; an item without interactions has the mean vector of those of like features. Served by walks, an item
    scores the share of the visited item nodes that it makes up; a request draws the same walks whenever its history
    is the same.

    Live: new items, and new features of items without interactions, count at once where neighbours are served;
    vectors and graph stay as fitted, and walks pass over items that these do not have.
    """

    Config: ClassVar[type[PluginConfig]] = Node2VecConfig
    config: Node2VecConfig
    _seed: int
    _n_users: int
    _graph: Graph

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Train on walks, which stream into the training. Memory: the graph, and the vectors of all nodes twice."""
        self._seed = int(rng.integers(2**63))
        graph = Graph.from_matrix(weighted_matrix(data, "node2vec"), weighted=self.config.weighted)
        if self.config.serve == "walks":
            self._graph, self._n_users = graph, data.n_users
        else:
            vectors = self._trained(graph, rng, progress)[data.n_users :]
            self._serve(vectors, data, N_SIMILAR, progress, "node2vec: finding neighbours")

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
        n_edges = self._graph.offsets[self._n_users]
        items = self._graph.neighbours[:n_edges] - np.int32(self._n_users)
        weights = np.ones(n_edges, np.float32) if self._graph.weights is None else self._graph.weights[:n_edges]
        arrays = {"offsets": self._graph.offsets[: self._n_users + 1], "items": items, "weights": weights}
        write_component(folder, arrays, {"n_items": self._graph.n_nodes - self._n_users, "seed": self._seed})

    @classmethod
    def load(cls, config: Node2VecConfig, folder: Path, data: Dataset) -> Self:
        """See `Retriever.load`."""
        if config.serve == "neighbours":
            return super().load(config, folder, data)
        path = cls(config)
        arrays, meta = read_component(folder)
        path._seed, path._n_users = meta["seed"], arrays["offsets"].size - 1
        shape = path._n_users, meta["n_items"]
        matrix = csr_array((arrays["weights"], arrays["items"], arrays["offsets"]), shape=shape)
        path._graph = Graph.from_matrix(matrix, weighted=config.weighted)
        return path

    def _trained(self, graph: Graph, rng: np.random.Generator, progress: Progress) -> NDArray[np.float32]:
        """Vectors of the nodes, float32 (n_nodes, dim)."""
        config = self.config
        degrees = np.diff(graph.offsets)
        most = config.walk_nodes // (graph.n_nodes * config.walk_length)
        per_node = max(1, min(config.walks_per_node, most))
        n_walks = graph.n_nodes * per_node
        model = SkipGram(degrees, config, rng, planned=n_walks * config.walk_length)
        with progress.task("node2vec: learning from walks", n_walks) as advance:
            for chunk in walk_chunks(graph, per_node, config.walk_length, config.p, config.q, self._seed, CHUNK):
                whole = chunk >= 0
                offsets = np.append(0, np.cumsum(whole.sum(axis=1)))
                model.train(chunk[whole], offsets)
                advance(len(chunk))
        return model.vectors

    def _visited(self, query: Query, quota: int) -> RankedList:
        items, weights = recent(query, None, self.config.half_life)
        fitted = items < self._graph.n_nodes - self._n_users
        items, weights = items[fitted], weights[fitted]
        if not weights.any():
            return RankedList.empty()
        rng = np.random.default_rng([self._seed, *items.tolist()])
        starts = rng.choice(items, self.config.request_walks, p=weights / weights.sum(dtype=np.float64))
        config = self.config
        nodes = walks(
            self._graph, starts + self._n_users, config.request_length, config.p, config.q, int(rng.integers(2**63))
        )[:, 1:]
        visited, counts = np.unique(nodes[nodes >= self._n_users], return_counts=True)
        rows = (visited - self._n_users).astype(np.int32)
        shares = (counts / max(counts.sum(), 1)).astype(np.float32)
        return RankedList(*top_eligible(rows, shares, quota, *query.filter))

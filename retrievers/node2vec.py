"""Node2Vec: biased random walks on the graph of users and items, or on a graph of items from a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator
from scipy.sparse import csr_array

from multirecall.data import Changes, Dataset
from multirecall.lists import RankedBatch, RankedList
from multirecall.progress import Progress
from multirecall.protocols import PluginConfig, Retriever
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
from ._sparse.spectral_start import spectral_start
from ._text.cold_start import N_SIMILAR
from ._weights import weight_matrix

CHUNK = 4096
"""Walks in memory at a time during training: bounds the memory."""


class Node2VecConfig(SkipGramConfig):
    """Settings of `node2vec`."""

    serve: Literal["neighbours", "walks"] = "neighbours"
    """`neighbours`: propose the items nearest to the history, by vectors trained on walks. `walks`: propose the items
    that walks from the history visit most; nothing is trained, and a `p` below 1 suits logs with repeats. Changes
    results."""

    window: Count = 10
    """Largest distance, in positions, between a centre and its context; each centre draws its own from 1 … window.
    Changes results."""

    subsample: NonNegative = 0.0
    """Frequency above which occurrences of a node are dropped at random; 0: none are dropped. Changes results."""

    p: Positive = 1.0
    """Return parameter: above 1, a walk seldom returns to the node that it came from. Changes results."""

    q: Positive = 1.0
    """In-out parameter: above 1, a walk stays near the node that it came from. Changes results."""

    weighted: bool = True
    """Whether the probability of a step follows the weights of the log or `graph`. Changes results if they differ."""

    graph: str | None = None
    """File with a graph of items to walk on: parquet, CSV or TSV with columns `source, target, weight`, or GraphML
    (`.graphml`). None: walk on the users and items of the log. A relative path starts at the working directory. Every
    fit and refit reads the file; serving does not need it. Changes results."""

    directed: bool = False
    """Whether edges in a table `graph` lead from `source` to `target` only; a GraphML file says so itself. Changes
    results."""

    walks_per_node: Count = 10
    """Training walks from each node. Changes results."""

    walk_length: Count = 40
    """Nodes of a training walk. Changes results."""

    walk_nodes: Count = 100_000_000
    """Most nodes of all training walks together, so that a large graph takes fewer walks from each node, but at least
    one. At the defaults this changes results beyond 250,000 users and items. Changes speed: a core trains on about
    1,000,000 nodes a second."""

    neighbours: Count = 100
    """Most neighbours of each item; memory is 8 bytes for each. Changes results."""

    half_life: Positive | None = 10.0
    """Number of newer items after which the weight of an item in the history is halved; None: equal weights. Changes
    results."""

    request_walks: Count = 4_000
    """Walks of a request, if `serve = "walks"`. Changes results and speed."""

    request_length: Count = 9
    """Nodes of a walk of a request, the first item included. Changes results and speed."""

    @model_validator(mode="after")
    def _only_a_graph_is_directed(self) -> Self:
        if self.directed and self.graph is None:
            raise ValueError("directed is true, but there is no graph; name its file in graph, or leave directed out")
        return self


class Node2Vec(VectorNeighbourRetriever):
    """Proposes items that second-order random walks from the history reach (Grover & Leskovec, KDD 2016).

    Walks follow section 3.2 of the paper, on the bipartite graph of users and items or, if the config names a `graph`,
    on that graph of items. With `serve = "neighbours"`, skip-gram learns vectors from the walks as sentences. The
    score of an item is its cosine to the items of the history, summed with recency weights. An item that no walk can
    reach gets the mean vector of items with similar features. With `serve = "walks"`, the score is the item's share of
    the visited item nodes. Equal histories draw equal walks.

    Live: with `serve = "neighbours"`, new items, and new features of items that no walk can reach, count at once.
    Learnt vectors and the graph stay as fitted, and walks ignore items that the graph lacks.
    """

    Config: ClassVar[type[PluginConfig]] = Node2VecConfig
    config: Node2VecConfig
    _seed: int
    _graph: Graph
    _first_item: int
    """The node of item row 0; the nodes before it are users."""

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Train on walks, which are drawn as the training goes on. Memory: the graph, and two vectors for each node.

        Raises:
            CannotFit: no interaction has a weight above 0 or, with `graph`, no edge connects two items.
            DataError: the file `graph` is missing or breaks a rule of its format; see `item_graph`.
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
            # The vectors get no name here, so that they are freed once others take their place.
            self._serve(
                self._train(graph, starts, first_item, rng, progress),
                data,
                N_SIMILAR,
                progress,
                "node2vec: finding neighbours",
                learnt,
            )

    def with_changes(self, changes: Changes) -> Self:
        """See `Retriever.with_changes`."""
        return self if self.config.serve == "walks" else super().with_changes(changes)

    def retrieve(self, query: Query, quota: int) -> RankedList:
        """See `Retriever.retrieve`."""
        return self._retrieve_by_walks(query, quota) if self.config.serve == "walks" else super().retrieve(query, quota)

    def retrieve_batch(self, queries: Sequence[Query], quota: int) -> RankedBatch:
        """See `Retriever.retrieve_batch`."""
        one_by_one = self.config.serve == "walks"
        return Retriever.retrieve_batch(self, queries, quota) if one_by_one else super().retrieve_batch(queries, quota)

    def part(self, rows: NDArray[np.int32]) -> Self | None:
        """See `Retriever.part`; None if `serve = "walks"`, since a walk needs the whole graph."""
        return None if self.config.serve == "walks" else super().part(rows)

    def item_vectors(self) -> tuple[NDArray[np.int32], NDArray[np.float32]] | None:
        """See `Retriever.item_vectors`; None if `serve = "walks"`."""
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
        """See `Retriever.load`; the file `graph` is not needed."""
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
        self,
        graph: Graph,
        starts: NDArray[np.int32],
        first_item: int,
        rng: np.random.Generator,
        progress: Progress,
    ) -> NDArray[np.float32]:
        """Train the vectors of all nodes on walks that begin at `starts`; those of items, float32 (n_items, dim)."""
        config = self.config
        most = config.walk_nodes // (starts.size * config.walk_length)
        per_node = max(1, min(config.walks_per_node, most))
        n_walks = starts.size * per_node
        model = SkipGram(
            graph.degrees,
            config,
            rng,
            planned=n_walks * config.walk_length,
            start=None if config.start == "random" else _spectrum_of(graph, first_item, config.dim, rng, progress),
        )
        chunks = walk_chunks(graph, starts, per_node, config.walk_length, config.p, config.q, self._seed, CHUNK)
        with progress.task("node2vec: learning from walks", n_walks) as advance:
            for chunk in chunks:
                whole = chunk >= 0
                offsets = np.append(0, np.cumsum(whole.sum(axis=1)))
                model.train(chunk[whole], offsets)
                advance(len(chunk))
        return model.vectors[first_item:]

    def _retrieve_by_walks(self, query: Query, quota: int) -> RankedList:
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


def _spectrum_of(
    graph: Graph, first_item: int, dim: int, rng: np.random.Generator, progress: Progress
) -> NDArray[np.float32]:
    """Where the vectors of all nodes begin, float32 (n_nodes, dim); a user is near the items."""
    edges = csr_array(
        (np.ones(graph.neighbours.size, np.float32), graph.neighbours, graph.offsets), shape=(graph.n_nodes,) * 2
    )
    if not first_item:
        return spectral_start(edges, dim, rng, progress, "node2vec")[1]
    return np.concatenate(spectral_start(edges[:first_item, first_item:], dim, rng, progress, "node2vec"))

"""The base of retrievers whose user vectors come from a trained network: fit, search, live items, files."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Changes, Dataset
from multirecall.extras import import_extra
from multirecall.freed_memory import return_freed_memory
from multirecall.lists import RankedBatch, RankedList
from multirecall.progress import Progress
from multirecall.query import Query
from multirecall.storage import read_component, write_component
from multirecall.vector_index import Space, VectorIndex

from .._index.kinds import build_index, load_index
from .._index.similar import SimilarVectors, kept_vectors
from .._queries import sample_queries
from .._shard import Shard
from .._text.cold_start import N_SIMILAR, ColdRule, with_cold_items
from .._vector_table import VectorTable
from .config import TrainingConfig
from .data import TrainingData
from .mlp import Vectors
from .pooling import SummedItem
from .searches import Searches
from .serving import ExportedEncoder, ExportedItemEncoder, UserInputs
from .tower import Tower, WordTable

if TYPE_CHECKING:
    from .encoders import ItemEncoder, UserEncoder
    from .training import TrainedTowers


class TowerRetriever(SimilarVectors):
    """Scores an item by the highest cosine, or inner product, of its vector with any vector of the user.

    A user encoder reads the user's id, features and newest history. An item tower reads the item's id, features and
    text; or, if `tied`, an item's vector is its row in the table that the histories use. Both are trained to rank the
    item that a user chose above other items (see `losses`). A request does not use torch: the exported encoder computes
    the user's vectors, and the vector index finds the items.

    A subclass defines a `Config`, a `UserEncoder` for training (torch), and an `ExportedEncoder` for requests (numpy).
    The results of the two encoders agree to 1e-5. It may also define an `ItemEncoder` and its exported form, such as a
    convolution over the words of a text.

    Live: new items and new features count at once. The networks and the embeddings of ids stay as fitted. So the
    vector of a new item depends on its features only, and that of a new user on their features and history. If `tied`,
    a new item gets the mean vector of items with similar features.
    """

    Config: ClassVar[type[TrainingConfig]]
    exported: ClassVar[type[ExportedEncoder]]
    """The class of the result of `UserEncoder.export`."""

    exported_item: ClassVar[type[ExportedItemEncoder]] = SummedItem
    """The class of the result of `ItemEncoder.export`."""

    tied: ClassVar[bool] = False
    """Whether the item vectors are the rows of the table that the histories use."""

    causal: ClassVar[bool] = False
    """Whether the user encoder is a `CausalEncoder`, which learns from every event of a history at once."""

    by_text: ClassVar[bool] = False
    """Whether an item is known by the words of its text alone; see `TextRetriever`."""

    space: ClassVar[Space] = "cosine"
    """How the vectors of a user and an item are compared."""

    name: ClassVar[str]
    """The name of the retriever in messages and in the folder names of checkpoints."""

    inline = True
    filters = True
    live = frozenset({"items"})
    collective = True
    config: Any
    recalls: list[float]
    """Recall@k on held-out events after each epoch, with the k of `recall_at`; empty if no events were held out."""
    _users: Tower[ExportedEncoder]
    _items: Tower[ExportedItemEncoder] | None
    _words: WordTable | None = None
    _history: VectorTable
    _cold: ColdRule
    _known: NDArray[np.bool_]
    _index: VectorIndex
    _all: VectorTable | None = None
    """In a part, the vectors of all items as the index of the whole keeps them, if `_history` does not have them."""

    @classmethod
    @abstractmethod
    def new_encoder(cls, config: Any) -> UserEncoder:
        """A new user encoder to train, whose weights are drawn from torch's random stream; called by `fit` only."""

    @classmethod
    def new_item_encoder(cls, config: Any) -> ItemEncoder:
        """A new item encoder; by default the item's row if `tied`, else its tokens through layers of `item_widths`."""
        from .encoders import Net
        from .pooled_encoder import SummedItems, TableItems

        if cls.tied:
            return TableItems(cls.space == "cosine")
        options = config.activation, config.norm, config.dropout
        return SummedItems(Net(config.dim, config.item_widths, config.dim, *options))

    @classmethod
    def new_encoders(cls, config: Any) -> tuple[UserEncoder, ItemEncoder]:
        """Both, the user encoder first: they draw from one random stream."""
        return cls.new_encoder(config), cls.new_item_encoder(config)

    def new_searches(self, data: Dataset) -> Searches | None:
        """What training draws search terms from; None, the default, for a retriever that reads none.

        The encoder finds them in `UserBatch.terms` and, in a request, in `UserInputs.term_rows`.
        """
        return None

    def initial_items(self, data: TrainingData, rng: np.random.Generator, progress: Progress) -> Vectors | None:
        """The vectors at which the embeddings of items begin, float32 (n_items, dim); None, the default: at random."""
        return None

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Train the encoder and the item tower, and index the items.

        Where the caller has set up a process group of torch.distributed, its processes train one model together: all of
        them must call this, with equal data, settings and random numbers.

        Memory: about four times that of all embeddings, plus that of a batch.
        """
        import_extra("torch", f"fitting {self.name}")
        from .training import fit_towers

        searches = self.new_searches(data)
        training = TrainingData.of(
            data,
            self.config,
            self.name,
            rng,
            tied=self.tied,
            causal=self.causal,
            searches=searches,
            by_text=self.by_text,
        )
        towers = fit_towers(
            training, self.config, self.new_encoders, rng, progress, self.initial_items(training, rng, progress)
        )
        self._users = Tower(training.user_profile, towers.tables["users"], towers.user_net)
        self._words = None if searches is None else WordTable(searches.rule, towers.tables["words"])
        self.recalls = towers.recalls
        vectors = self._keep_items(data, training, towers)
        rows = np.arange(data.n_items, dtype=np.int32)
        asked = [self.user_vectors(query) for query in sample_queries(data)]
        return_freed_memory()
        self._index = build_index(
            rows,
            vectors,
            self.space,
            self.config.index,
            rng=rng,
            asked=np.concatenate(asked) if asked else asked,
            threads=self.config.threads,
            progress=progress,
        )

    def _keep_items(self, data: Dataset, training: TrainingData, towers: TrainedTowers) -> Vectors:
        """Keep what a request needs of the items; the vectors to index, float32 (n_items, dim)."""
        item_net = towers.item_net
        self._items = None if item_net is None else Tower(training.item_profile, towers.tables["items"], item_net)
        self._known = training.is_target()
        learnt = training.is_in_history() | (self._known if self.tied else False)
        history, self._cold = with_cold_items(towers.tables["history"], data, N_SIMILAR, learnt, self.config.threads)
        self._history = VectorTable.of(history)
        return history if towers.vectors is None else towers.vectors

    def with_changes(self, changes: Changes) -> Self:
        """See `Retriever.with_changes`."""
        if not changes.touched.size:
            return self
        items, rows = changes.data.items, self._cold.without_vector(changes.touched)
        path = type(self)(self.config)
        path._users, path._items, path._words, path.recalls = self._users, self._items, self._words, self.recalls
        path._cold, path._known = self._cold, self._known
        path._history = self._history.with_rows(rows, self._cold.vectors(items, rows, self._history))
        if self._items is None:
            path._index = self._index.add(rows, path._history.take(rows))
            return path
        known = np.append(self._known, False)[np.minimum(changes.touched, self._known.size)]
        ids = np.where(known, changes.touched, -1).tolist()
        values = [items.values(row) for row in changes.touched.tolist()]
        vectors = [item_vector(self._items, *item) for item in zip(ids, values, strict=True)]
        found = np.array(vectors, np.float32).reshape(-1, self._index.dim)
        path._index = self._index.add(changes.touched, found)
        if self._all is not None:
            path._all = self._all.with_rows(changes.touched, kept_vectors(found, self.space))
        return path

    def retrieve(self, query: Query, quota: int) -> RankedList:
        """See `Retriever.retrieve`."""
        return self._index.with_effort(query.effort).search_any(self.user_vectors(query), quota, *query.filter)

    def retrieve_batch(self, queries: Sequence[Query], quota: int) -> RankedBatch:
        """See `Retriever.retrieve_batch`; the index gets the vectors of all users at once."""
        if not queries:
            return RankedBatch.empty(0)
        queries = list(queries)
        vectors = self.user_vectors_of_each(queries)
        return self._index.search_any_batch(vectors, quota, [query.filter for query in queries])

    def user_vectors(self, query: Query) -> Vectors:
        """The user's vectors, float32 (V, dim); of length 1 if they are compared by cosine."""
        return self._users.net(self._inputs(query))

    def user_vectors_of_each(self, queries: Sequence[Query]) -> Vectors:
        """The vectors of several users, at least one, float32 (n_users, V, dim)."""
        return self._users.net.of_each([self._inputs(query) for query in queries])

    def _inputs(self, query: Query) -> UserInputs:
        """What the user encoder reads of a query."""
        tokens, weights = self._users.profile.tokens(query.user, query.features)
        newest = slice(-self.config.history, None)
        places, table = self._history.locate(query.history[newest])
        if self._words is None:
            terms = np.empty(0, np.float32), np.empty((0, table.shape[1]), np.float32)
        else:
            terms = self._words.rows(query.terms)
        return UserInputs(
            tokens,
            weights,
            self._users.table,
            places,
            query.weights[newest],
            None if query.times is None else query.times[newest],
            query.now,
            query.ordered,
            table,
            *terms,
        )

    def item_vectors(self) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """See `Retriever.item_vectors`."""
        return self._index.item_vectors()

    def part(self, rows: NDArray[np.int32]) -> Self:
        """See `Retriever.part`; both towers and the vectors of all items are there in each part."""
        path = self._with_part_of_index(Shard(rows, len(self._history)))
        if not self.tied and not self.by_text:
            path._all = VectorTable.of(self._index.vectors_of(np.arange(len(self._history), dtype=np.int32)))
        return path

    def _all_item_vectors_of(self, items: NDArray[np.int32]) -> NDArray[np.float32]:
        return kept_vectors(self._history.take(items), self.space) if self._all is None else self._all.take(items)

    def save(self, folder: Path) -> None:
        """See `Retriever.save`."""
        self._users.save(folder / "users")
        if self._items is not None:
            self._items.save(folder / "items")
        if self._words is not None:
            self._words.save(folder / "words")
        write_component(folder, {"history": self._history.whole(), "known": self._known}, {"recalls": self.recalls})
        self._cold.save(folder / "cold")
        self._index.save(folder / "index")
        if self._all is not None:
            write_component(folder / "all", {"vectors": self._all.whole()}, {})

    @classmethod
    def load(cls, config: Any, folder: Path, data: Dataset) -> Self:
        """See `Retriever.load`."""
        path = cls(config)
        path._users = Tower.load(folder / "users", config, cls.exported)
        path._items = None if cls.tied else Tower.load(folder / "items", config, cls.exported_item)
        path._words = WordTable.load(folder / "words") if (folder / "words").exists() else None
        arrays, meta = read_component(folder)
        path._history, path._known, path.recalls = VectorTable.of(arrays["history"]), arrays["known"], meta["recalls"]
        path._cold = ColdRule.load(folder / "cold")
        path._index = load_index(folder / "index", config.index, threads=config.threads, verify=False)
        if (folder / "all").exists():
            path._all = VectorTable.of(read_component(folder / "all")[0]["vectors"])
        return path


def item_vector(tower: Tower[ExportedItemEncoder], row: int, values: Mapping[str, Any]) -> Vectors:
    """The vector of an item with these feature values, float32 (dim,); `row` is -1 for an item without an id token."""
    tokens, weights = tower.profile.tokens(row, values)
    return tower.net(weights, tower.table[tokens])

"""What a vector index is, kinds of which are plug-ins: the nearest items of one vector, or of several."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multirecall.errors import RequestError
from multirecall.kernels import Array, kernel
from multirecall.lists import RankedBatch, RankedList
from multirecall.plugins import PluginGroup
from multirecall.progress import Progress
from multirecall.protocols import PluginConfig
from multirecall.query import NO_FILTER, Filter
from multirecall.rowtable import entry_of, new_table, slot_of
from multirecall.selection import best_keys, candidates_of, key_of
from multirecall.topk import ALL_ALLOWED, NO_ROWS

Space = Literal["cosine", "inner_product", "l2"]
"""The similarities, higher is better: the cosine, 0 where a vector is zero; the inner product; and in `l2` the
negative squared Euclidean distance. One that overflows float32 is not finite and therefore dropped."""

SPACES: tuple[Space, ...] = ("cosine", "inner_product", "l2")


class IndexConfig(PluginConfig):
    """Settings of a vector index; each kind of index has a `Config` of its own, which inherits this one."""

    kind: str
    """Name of an installed kind of index. `exact` scores every vector. `ivf` searches the near cells of an inverted
    file, and `hnsw` walks a graph, which takes far longer to build; `faiss`, `annoy` and `usearch` ask those libraries.
    All of them score every vector where that is faster. `auto` is `exact` up to 20,000 vectors and `ivf` beyond. Beside
    it stand the kind's own settings, which `multirecall plugins ivf` explains. Changes results: all but `exact` may
    miss some."""

    efforts: ClassVar[tuple[Mapping[str, Any], ...]] = ()
    """Settings that searches alone read, from quick to thorough, for a kind without a `recall`: a saved index is opened
    with each, to measure which recall it has."""


class VectorIndex(ABC):
    """The nearest items of a vector. Immutable, so any number of threads may ask it.

    Scores are similarities, float32, higher is better (see `Space`); lists follow the ordering rule.
    """

    Config: ClassVar[type[PluginConfig]] = IndexConfig
    """Its settings; inherits `IndexConfig`."""

    @property
    @abstractmethod
    def space(self) -> Space:
        """The similarity."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Length of a vector."""

    @abstractmethod
    def __len__(self) -> int:
        """How many items have a vector."""

    @classmethod
    @abstractmethod
    def build(
        cls,
        rows: NDArray[np.int32],
        vectors: ArrayLike,
        space: Space,
        settings: Any,
        *,
        seed: int,
        asked: ArrayLike | None,
        threads: int,
        progress: Progress,
    ) -> Self:
        """An index over `vectors` (n, dim) of the item rows `rows` (n,), in any order.

        Args:
            rows: int32, unique, 0 or more.
            vectors: float32.
            space: the similarity.
            settings: an instance of `Config`.
            seed: of all randomness, also of later builds.
            asked: float32 (m, dim), queries as they will come, for an index that measures itself; None: there are none.
            threads: of this and later builds.
            progress: told of the build.

        Raises:
            DataError: a row is repeated or negative, shapes do not fit, or a vector is not finite.
        """

    @abstractmethod
    def search(
        self,
        vector: ArrayLike,
        k: int,
        exclude: NDArray[np.int32] = NO_ROWS,
        allowed: NDArray[np.bool_] = ALL_ALLOWED,
    ) -> RankedList:
        """The `k` most similar items, fewer where fewer are eligible.

        Args:
            vector: float32 (dim,).
            k: most items to return.
            exclude: sorted item rows to leave out, int32.
            allowed: bitmap over item rows of what may be returned, or empty for all.

        Raises:
            RequestError: the vector has another length or is not finite, or the bitmap is too short.
        """

    def with_effort(self, effort: float) -> VectorIndex:
        """The index, whose searches take about this share of their usual effort, and miss more for it.

        Args:
            effort: above 0 and at most 1. A kind that cannot save anything is itself at any effort.
        """
        return self

    def search_any(
        self,
        vectors: ArrayLike,
        k: int,
        exclude: NDArray[np.int32] = NO_ROWS,
        allowed: NDArray[np.bool_] = ALL_ALLOWED,
    ) -> RankedList:
        """The `k` items most similar to any of `vectors`, float32 (V, dim), V ≥ 1; one vector is a plain `search`.

        An item has the best score that it has under any of them; the rest is as in `search`.

        Raises:
            RequestError: as in `search`, or there is no vector.
        """
        given = np.asarray(vectors)
        if given.ndim != 2 or not len(given):
            raise RequestError(f"vectors: have shape {given.shape}; pass one row for each vector of the user")
        if len(given) == 1:
            return self.search(given[0], k, exclude, allowed)
        return self._search_any_batch(given[None], k, [(exclude, allowed)])[0]

    def search_batch(self, vectors: ArrayLike, k: int, filters: Sequence[Filter] | None = None) -> RankedBatch:
        """`search` for `vectors` (n, dim), with a filter for each or none; list by list equal to it.

        Raises:
            RequestError: as in `search`, or there are more or fewer filters than vectors.
        """
        given = np.asarray(vectors)
        if given.ndim != 2:
            raise RequestError(f"vectors: have shape {given.shape}; pass one row for each query")
        return self._search_batch(given, k, _each(filters, len(given)))

    def search_any_batch(self, vectors: ArrayLike, k: int, filters: Sequence[Filter] | None = None) -> RankedBatch:
        """`search_any` for several users, `vectors` (n, V, dim), with a filter for each user or none.

        Raises:
            RequestError: as in `search_any`, or there are more or fewer filters than users.
        """
        given = np.asarray(vectors)
        if given.ndim != 3 or not given.shape[1]:
            raise RequestError(f"vectors: have shape {given.shape}; pass (users, vectors of a user, dim)")
        return self._search_any_batch(given, k, _each(filters, len(given)))

    @abstractmethod
    def add(self, rows: NDArray[np.int32], vectors: ArrayLike) -> VectorIndex:
        """The index with `vectors`, float32 (n, dim), added or replaced at `rows`, int32 (n,).

        This one stays as it is, and goes on answering in other threads.

        Raises:
            DataError: a row is repeated or negative, or a vector is not finite or of another length.
        """

    @abstractmethod
    def remove(self, rows: NDArray[np.int32]) -> VectorIndex:
        """The index without `rows`, int32 (n,); those that it does not have are passed over. Otherwise as `add`."""

    @abstractmethod
    def item_vectors(self) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The item rows that it has, int32 (n,) ascending, and their vectors as it keeps them, float32 (n, dim)."""

    @property
    def memory_bytes(self) -> int:
        """Memory that it takes; a kind that holds more than its vectors says how much."""
        return sum(part.nbytes for part in self.item_vectors())

    def vectors_of(self, rows: NDArray[np.int32]) -> NDArray[np.float32]:
        """The vectors of `rows`, int32 (n,), as `item_vectors` has them, float32 (n, dim); zeros if there is none."""
        known, vectors = self.item_vectors()
        return take_vectors(known, vectors, rows)

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write it into `folder`, which is made, or empty: files of an index in use are never overwritten. No pickle.

        Raises:
            BundleError: the folder is not empty or cannot be written.
        """

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, settings: Any, *, threads: int, verify: bool) -> VectorIndex:
        """The index that was saved into `folder`; `settings` and `threads` hold for searches and later builds.

        `verify`: compare every file with its digest first. False if all files of the bundle have been compared already.

        Raises:
            BundleError: a file is missing or damaged, another version has written it, or it is of another kind.
        """

    def _search_batch(self, vectors: NDArray[Any], k: int, filters: Sequence[Filter]) -> RankedBatch:
        """`search_batch` with one filter for each vector: what a kind overrides that can do better than one by one."""
        pairs = zip(vectors, filters, strict=True)
        return RankedBatch.from_lists([self.search(vector, k, *one) for vector, one in pairs])

    def _search_any_batch(self, vectors: NDArray[Any], k: int, filters: Sequence[Filter]) -> RankedBatch:
        n_users, n_each, dim = vectors.shape
        each = [one for one in filters for _ in range(n_each)]
        lists = self._search_batch(vectors.reshape(n_users * n_each, dim), k, each)
        if n_each == 1:
            return lists
        return RankedBatch(*_merge_each(lists.offsets[::n_each], lists.items, lists.scores, max(k, 0)))


def take_vectors(
    known: NDArray[np.int32], vectors: NDArray[np.float32], rows: NDArray[np.int32]
) -> NDArray[np.float32]:
    """The vectors of `rows` among those of `known`, ascending; zeros where there is none."""
    places = np.minimum(np.searchsorted(known, rows), max(known.size - 1, 0))
    taken = np.zeros((rows.size, vectors.shape[1]), np.float32)
    if known.size:
        found = known[places] == rows
        taken[found] = vectors[places[found]]
    return taken


def _fault_of(kind: type[VectorIndex]) -> str | None:
    if not issubclass(kind.Config, IndexConfig):
        return "its Config must inherit multirecall.vector_index.IndexConfig"
    return None


INDEXES = PluginGroup("multirecall.indexes", "index", VectorIndex, _fault_of)  # type: ignore[type-abstract]
"""The installed kinds of index."""


def _each(filters: Sequence[Filter] | None, n: int) -> Sequence[Filter]:
    """One filter for each of `n`; raises `RequestError`."""
    if filters is not None and len(filters) != n:
        raise RequestError(f"filters: are {len(filters)} for {n} queries; pass one for each, or None")
    return [NO_FILTER] * n if filters is None else filters


@kernel
def _merge_by_best(items: Array, scores: Array, k: int) -> tuple[Array, Array]:
    """The first `k` distinct items under the ordering rule, each with its best score.

    Args:
        items: item rows of all lists, int32 (n,), one list behind the other.
        scores: float32 (n,), finite.
        k: most items to return.

    Returns:
        Item rows, int32, and scores, float32, at most `k` of them.
    """
    bits = (scores + np.float32(0.0)).view(np.int32)
    keys = np.empty(items.size, np.int64)
    for place in range(items.size):
        keys[place] = key_of(bits[place], items[place])
    ordered, ordered_scores = candidates_of(best_keys(keys, keys.size))
    first = np.empty(min(k, items.size), np.int32)
    first_scores = np.empty(first.size, np.float32)
    table = new_table(first.size)
    size = 0
    for place in range(ordered.size):
        if size == first.size:
            break
        slot = slot_of(ordered[place], table)
        if table[slot] < 0:
            table[slot] = entry_of(ordered[place], size)
            first[size], first_scores[size] = ordered[place], ordered_scores[place]
            size += 1
    return first[:size], first_scores[:size]


@kernel
def _merge_each(bounds: Array, items: Array, scores: Array, k: int) -> tuple[Array, Array, Array]:
    """`_merge_by_best` for each user, whose lists stand between two of `bounds`: as CSR."""
    offsets = np.zeros(bounds.size, np.int64)
    merged, merged_scores = np.empty(items.size, np.int32), np.empty(items.size, np.float32)
    for user in range(bounds.size - 1):
        own = slice(bounds[user], bounds[user + 1])
        found, found_scores = _merge_by_best(items[own], scores[own], k)
        start, stop = offsets[user], offsets[user] + found.size
        merged[start:stop], merged_scores[start:stop] = found, found_scores
        offsets[user + 1] = stop
    return offsets, merged[: offsets[-1]], merged_scores[: offsets[-1]]

"""The two plug-in interfaces: a retriever proposes items for a user, a fusion merges ranked lists."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.lists import FusedBatch, FusedList, RankedBatch, RankedList
from multirecall.validation import Count, StrictModel

if TYPE_CHECKING:
    from multirecall.data import Changes, Dataset
    from multirecall.progress import Progress
    from multirecall.query import Query


LIVE = frozenset({"interactions", "items", "removals"})
"""What a retriever may name in its `live`."""


class PluginConfig(StrictModel):
    """Base of a plug-in's `Config`: a pydantic model, immutable, unknown keys refused.

    A bundle holds every setting
    that its paths were fitted with, so it can hold no secret: let a field take the name of an environment variable.
    """

    of_machine: ClassVar[frozenset[str]] = frozenset()
    """Fields that depend on the machine and change speed only. A bundle does not hold them: they have their defaults
    once it is loaded."""


class ThreadedConfig(PluginConfig):
    """Base of the `Config` of a plug-in that can work on several threads."""

    of_machine: ClassVar[frozenset[str]] = frozenset({"threads"})

    threads: Count = 1
    """Threads of the fit. The engine gives its own `threads` to a path whose params set none. Speed only."""


class Retriever(ABC):
    """Proposes items for a user. Read-only after `fit` or `load`, so any number of threads may ask it."""

    Config: ClassVar[type[PluginConfig]] = PluginConfig

    inline: ClassVar[bool] = False
    """True: `retrieve` is bounded CPU work that never waits, and may run on the caller's thread."""

    filters: ClassVar[bool] = False
    """True: it applies `query.exclude` and `query.allowed` itself. Otherwise the engine asks for wider windows."""

    live: ClassVar[frozenset[str]] = frozenset()
    """What it takes without a refit, of "interactions", "items" and "removals" (of events and users). A path that is
    not live goes on as fitted: the engine shows it no item, user or history row that its fit did not have. One that
    takes interactions and no removals goes on as it was, until a refit, once something is taken back."""

    def __init__(self, config: Any) -> None:
        """Take an instance of `Config`."""
        self.config = config

    @abstractmethod
    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Learn from `data`; all randomness comes from `rng`.

        Raises:
            CannotFit: the data lack what it needs.
            MissingExtra: a library that only fitting needs is not installed.
        """

    @abstractmethod
    def retrieve(self, query: Query, quota: int) -> RankedList:
        """At most `quota` items for one user, best first under the ordering rule of `topk`.

        Raises:
            RequestError: the query cannot be answered, such as for a term of the wrong form. This path then reports
                `failed` for this user alone, and the breaker does not count it; so with every `DataError`.
        """

    def retrieve_batch(self, queries: Sequence[Query], quota: int) -> RankedBatch:
        """The same for several users; item by item equal to `retrieve`."""
        return RankedBatch.from_lists([self.retrieve(query, quota) for query in queries])

    def with_changes(self, changes: Changes) -> Self:
        """A retriever that knows these changes as well; called after every one where `live` names anything.

        It shares what did not change with this one, or is this one where nothing did; this one goes on answering as
        before, in other threads too. From then on every row of `changes.data` may stand in a query. Items that were
        removed need no care: the engine keeps them out through `query.allowed`. With "removals" in `live`, events that
        `changes.taken` has and users that `changes.forgotten` has count for nothing any more.

        Raises:
            DataError: it cannot take them. A change that is not acknowledged yet is then refused, and nothing changes;
                from an older one on, as after any other exception, the path serves as before until a refit.
        """
        raise TypeError(f"{type(self).__name__} takes no live changes: its `live` is empty")

    def item_vectors(self) -> tuple[NDArray[np.int32], NDArray[np.float32]] | None:
        """Item rows, int32 (n,) ascending, and a finite vector for each, float32 (n, dim); None: it has no vectors.

        A retriever that compares items by vectors may say which, in the form in which it compares them; a vector of
        zeros is near to nothing. Items that were removed need no care: `Engine.vectors` leaves them out.
        """
        return None

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write what `load` needs into `folder`, which exists. No pickle."""

    @classmethod
    @abstractmethod
    def load(cls, config: Any, folder: Path, data: Dataset) -> Self:
        """The retriever that was saved into `folder`.

        Args:
            config: an instance of `Config`, with the settings that it was fitted with.
            folder: what `save` wrote. The engine has compared its files with the bundle's manifest.
            data: what it serves, live changes included. A retriever whose model knows items and users by external id,
                as that of another library or a remote service does, maps them to rows by `data.items.ids` and
                `data.users.ids`. One that works on rows alone need not read it, nor save a copy of what it holds.
        """


class Fusion(ABC):
    """Merges the ranked lists of several paths into one. It sees positions, never names, users or items."""

    Config: ClassVar[type[PluginConfig]] = PluginConfig

    def __init__(self, config: Any) -> None:
        """Take an instance of `Config`."""
        self.config = config

    def windows(self, quotas: Sequence[int]) -> list[int]:
        """How many items to ask of each path; its quota, unless the fusion can use more."""
        return list(quotas)

    def fuse(self, lists: Sequence[RankedList], weights: Sequence[float], quotas: Sequence[int], k: int) -> FusedList:
        """Merge one user's lists, one for each path in path order, into at most `k` candidates."""
        single = [RankedBatch(np.array([0, len(ranked)], np.int64), ranked.items, ranked.scores) for ranked in lists]
        return self.fuse_batch(single, weights, quotas, k)[0]

    @abstractmethod
    def fuse_batch(
        self, batches: Sequence[RankedBatch], weights: Sequence[float], quotas: Sequence[int], k: int
    ) -> FusedBatch:
        """Merge the lists of several users; `batches` holds one batch for each path, users in equal order."""

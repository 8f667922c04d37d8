"""The two plug-in interfaces: a retriever proposes items for a user, a fusion merges ranked lists."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.lists import FusedBatch, FusedList, RankedBatch, RankedList
from multirecall.topk import NO_ROWS
from multirecall.validation import AUTO, Count, StrictModel

if TYPE_CHECKING:
    from multirecall.data import Changes, Dataset
    from multirecall.progress import Progress
    from multirecall.query import Filter, Query


LIVE = frozenset({"interactions", "items", "removals"})
"""The kinds of live change that a retriever may name in its `live`."""


class PluginConfig(StrictModel):
    """Base of a plug-in's `Config`: a pydantic model, immutable, which refuses unknown keys.

    The docstring under a field is its description, which `multirecall plugins NAME` prints with its type, range and
    default. State there whether the field changes results or only speed.

    A bundle holds every setting that its paths were fitted with. So a setting must not be a secret: take the name of
    an environment variable that holds the secret instead.
    """

    of_machine: ClassVar[frozenset[str]] = frozenset()
    """Fields that depend on the machine and change speed only. A bundle does not hold them; after a load they have
    their defaults."""

    priors: ClassVar[Mapping[str, Any]] = {}
    """The fields of type `Auto`, each with the value that "auto" means where no log has chosen another one."""

    @property
    def free(self) -> frozenset[str]:
        """The fields that are "auto"."""
        return frozenset(name for name in self.priors if getattr(self, name) == AUTO)

    def resolve(self, chosen: Mapping[str, Any] | None = None) -> Self:
        """A copy in which each field that is "auto" has its value in `chosen` or, without one, its prior."""
        known = {**self.priors, **(chosen or {})}
        return self.model_copy(update={name: known[name] for name in self.free}) if self.free else self


class ThreadedConfig(PluginConfig):
    """Base of the `Config` of a plug-in that can fit with several threads."""

    of_machine: ClassVar[frozenset[str]] = frozenset({"threads"})

    threads: Count = 1
    """Threads of the fit. A path whose params set none gets those of the engine; if these are "auto", all cores where
    that changes no result, else one. Speed only."""


Answer = Callable[[NDArray[np.int64]], RankedBatch]
"""Gives the lists of a config for the queries at some positions, ascending, of `Trials.queries`."""


@dataclass(frozen=True, slots=True)
class Trials:
    """Requests whose answers are known, on which a retriever compares its settings before it is fitted.

    Attributes:
        queries: the requests, over the rows of the data that the retriever is going to be fitted on.
        free: the settings that may be chosen, those that are "auto"; the others keep their values.
        k: the length of the lists that are compared; longer lists are cut.
        score: takes a config without "auto" and its `Answer`, and returns how good its lists are; more is better. It
            asks for the lists of some of the queries, and after `choose_settings` for those of the others from the best
            config. The first trial must be that of the priors.
    """

    queries: Sequence[Query]
    free: frozenset[str]
    k: int
    score: Callable[[PluginConfig, Answer], float]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a retriever proposes an item to a user.

    Attributes:
        text: a few plain words or numbers, without a name of an item.
        items: item rows, int32 (n,), that the text speaks of, such as those of the history that speak for the item, the
            most important first. `Engine.explain` shows their ids.
    """

    text: str
    items: NDArray[np.int32] = field(default_factory=lambda: NO_ROWS)


class Retriever(ABC):
    """Proposes items for a user. Read-only after `fit` or `load`, so that any number of threads may call it."""

    Config: ClassVar[type[PluginConfig]] = PluginConfig

    inline: ClassVar[bool] = False
    """True: `retrieve` is bounded CPU work that never waits, and may run on the caller's thread."""

    filters: ClassVar[bool] = False
    """True: `retrieve` applies `query.exclude` and `query.allowed` itself. False: the engine filters its lists and asks
    for wider windows until enough items are left."""

    live: ClassVar[frozenset[str]] = frozenset()
    """The kinds of change that the retriever takes without a refit: "interactions", "items" and "removals" (of events
    and users). A retriever that names none keeps serving as it was fitted: the engine passes it no item, user or
    history row that its fit did not have. A retriever that names interactions but not removals takes no more changes
    once an event is removed, until a refit."""

    collective: ClassVar[bool] = False
    """True: where several processes make one fit (`multirecall fit --distributed`), all of them call `fit`, with equal
    data and random numbers, and share its work through torch.distributed. False: one process alone calls it."""

    exact_threads: ClassVar[bool] = False
    """True: a fit gives the same result to the bit with any number of `threads` of its `Config`, a `ThreadedConfig`.
    With `threads = "auto"`, the engine gives all cores to such a retriever, and one to any other."""

    def __init__(self, config: Any) -> None:
        """Take an instance of `Config`; settings that are "auto" get their priors."""
        self.config = config.resolve()

    def choose_settings(  # noqa: B027 - most have no setting that a log chooses
        self, data: Dataset, trials: Trials, *, rng: np.random.Generator, progress: Progress
    ) -> None:
        """Try values of `trials.free` on `data`: call `trials.score` for each combination, that of the priors first.

        The engine calls this method before `fit`, on an instance of its own, which it then drops. It keeps the
        combination with the best score if its gain over the priors holds up on requests that `score` does not count,
        and fits an instance with these settings. The method should take a fraction of the time of a fit, so share what
        the combinations have in common, such as one Gram matrix. A retriever whose `Config` has no `Auto` field is
        never called.

        Raises:
            CannotFit: the data lack what the retriever needs.
            MissingExtra: a library that only fitting needs is not installed.
        """

    @abstractmethod
    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Learn from `data`; all randomness comes from `rng`.

        Raises:
            CannotFit: the data lack what the retriever needs.
            MissingExtra: a library that only fitting needs is not installed.
        """

    @abstractmethod
    def retrieve(self, query: Query, quota: int) -> RankedList:
        """At most `quota` items for one user, best first under the ordering rule of `topk`.

        Raises:
            RequestError: the query cannot be answered, for instance because a term has the wrong form. The path is
                then `failed` for this user alone, and the circuit breaker does not count the failure. The same holds
                for a `DataError`.
            NotDeployed: the deployment lacks what the path needs, such as the address of a service. The path is then
                `skipped`, which counts neither against the path nor against the request.
        """

    def retrieve_batch(self, queries: Sequence[Query], quota: int) -> RankedBatch:
        """The lists of several users, in the order of `queries`; each equals that of `retrieve`."""
        return RankedBatch.from_lists([self.retrieve(query, quota) for query in queries])

    def explain(self, query: Query, item: int) -> Reason | None:
        """Why `retrieve` proposes item row `item` for `query`; None: there is nothing to say beyond rank and score.

        `Engine.explain` calls this method for an item that is in the list of the path; requests never call it.
        """
        return None

    def with_changes(self, changes: Changes) -> Self:
        """A copy of this retriever that also knows `changes`; called after each change if `live` is not empty.

        The copy shares with this retriever what did not change; where nothing changed, return this retriever. This
        retriever must keep answering as before, in other threads too. After the call, a query may hold any row of
        `changes.data`. Removed items need no handling: the engine excludes them through `query.allowed`. If `live`
        names "removals", the events in `changes.taken` and the users in `changes.forgotten` must not count any more.

        The copy shares the resources that `close` releases; only the last copy that was served is closed. The engine
        may call this method again on this retriever if the change could not be journaled.

        Raises:
            DataError: the retriever cannot take the changes. A change that is not acknowledged yet is then refused,
                and nothing changes. If the change is already in the journal, or on any other exception, the path
                serves as before until a refit.
        """
        raise TypeError(f"{type(self).__name__} takes no live changes: its `live` is empty")

    def part(self, rows: NDArray[np.int32]) -> Self | None:
        """A copy that proposes only the items of `rows`: one shard of an engine. None, the default: it stands whole.

        Rows keep their meaning: the lists of the copy hold rows of the whole catalogue, and so do the queries that it
        gets. Merged under the ordering rule, the lists of the parts of any split equal the list of the whole, scores to
        the bit; those of an approximate vector index have no lower recall. So a score must depend neither on what other
        items the part has nor on how many. The same holds for `retrieve_batch`, `similar_items` and, where the part has
        the item, `explain`; `item_vectors` gives those of the part.

        A part holds its share of what there is for each item, and what it needs of the whole, such as statistics or
        the vectors of all items of a history. `save` writes the latter, equal in all parts, into files of their own.
        `load` with the data of the whole catalogue gives the part again. A part is not split any further.

        `with_changes` of a part gets all changes. Rows that join after the split are its own: `query.allowed` hides
        those of other shards. Rows that were there at the split, but are not in `rows`, are never proposed; what
        changes about them still counts wherever it matters for other items.

        Args:
            rows: int32 (n,), ascending, without repeats; it may be empty.
        """
        return None

    def item_vectors(self) -> tuple[NDArray[np.int32], NDArray[np.float32]] | None:
        """Item rows, int32 (n,) ascending, and their vectors, finite float32 (n, dim); None: there are no vectors.

        A retriever that compares items by vectors returns those that it compares; a vector of zeros stands for an item
        without neighbours. Removed items need no handling: `Engine.vectors` leaves them out.
        """
        return None

    @property
    def revision(self) -> int:
        """A number that rises when answers change without a live change, as those of a file that is read again do.

        The result cache asks it for each request, so it must be quick.
        """
        return 0

    @property
    def trouble(self) -> str | None:
        """What is wrong though the path answers, such as a file that could not be read again, for `Engine.health`."""
        return None

    def similar_items(
        self, items: NDArray[np.int32], k: int, filters: Sequence[Filter] | None = None
    ) -> RankedBatch | None:
        """The items that are most like each of `items`, best first; None: the retriever compares no items.

        A list holds at most `k` items and never the item that it is of. It follows the ordering rule and, of
        `filters`, the one of its item. An item that the retriever knows nothing about has an empty list.
        """
        return None

    def close(self) -> None:  # noqa: B027 - most hold nothing but memory
        """Release resources other than memory, such as a connection to a service.

        The engine calls this method once, when the state that holds the retriever has retired: after a refit, another
        `fit` or `Engine.close`, when the engine is garbage-collected, or at the end of the process. All calls have
        returned by then, late ones included; only at the end of the process, calls that hang may still run. Of a
        retriever and its copies by `with_changes`, only the last one served is closed. A forked process closes no
        retriever of its parent. The method runs on the thread that releases the state last, so that it should not take
        long. An exception is logged.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write all that `load` needs into `folder`, which exists. Never use pickle."""

    @classmethod
    @abstractmethod
    def load(cls, config: Any, folder: Path, data: Dataset) -> Self:
        """The retriever that was saved into `folder`.

        Args:
            config: an instance of `Config`, with the settings of the fit.
            folder: the folder that `save` wrote. The engine has compared its files with the bundle's manifest.
            data: the data that the engine serves, live changes included. A retriever whose model knows items and users
                by external id, such as that of another library or a remote service, maps them to rows with
                `data.items.ids` and `data.users.ids`. A retriever that needs other parts of the data reads them here
                instead of saving a copy.
        """


@dataclass(frozen=True, slots=True)
class Term:
    """One of the terms that a path adds for an item, with a coefficient that can be learned.

    Attributes:
        name: its name, as in the settings of the fusion.
        prior: its coefficient when all paths count alike; what is learned from few requests stays near it.
        lowest: the lowest coefficient that may be learned.
    """

    name: str
    prior: float = 1.0
    lowest: float = 0.0


class Fusion(ABC):
    """Merges the ranked lists of several paths into one. It sees positions and lists, never users."""

    Config: ClassVar[type[PluginConfig]] = PluginConfig

    def __init__(self, config: Any) -> None:
        """Take an instance of `Config`."""
        self.config = config

    def for_paths(self, names: Sequence[str]) -> Self:
        """The fusion for paths of these names, in the order in which it gets their lists.

        The engine calls this method before any list is merged: with the names of all paths of the config, and on what
        that returns again with those of the paths that could be fitted. A fusion whose settings do not name paths
        returns itself.

        Raises:
            ConfigError: the settings do not suit these paths.
        """
        return self

    terms: ClassVar[tuple[Term, ...]] = ()
    """The terms of a fusion whose score is a sum, over the paths that propose an item, of terms with coefficients;
    (): it is no such sum, so nothing can be learned for it."""

    tried: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)
    """The settings with which a fit under `strategy = "auto"` and `tune` try this fusion."""

    def term_values(self, lists: RankedBatch, quota: int) -> NDArray[np.float32]:
        """The terms of each entry of one path's lists, cut at its quota: float32 (n_entries, n_terms).

        The prior of what is learned takes it that a term is of the order of 1 for the best items. So scale terms that
        are far smaller or larger, where a common factor changes no order.
        """
        raise TypeError(f"{type(self).__name__} has no terms")

    def with_coefficients(
        self, names: Sequence[str], coefficients: NDArray[np.float64], intercept: float
    ) -> tuple[dict[str, Any], list[float]]:
        """The settings of this fusion under which its terms have these coefficients, and the weights of the paths.

        Args:
            names: the names of the paths.
            coefficients: float64 (n_paths, n_terms).
            intercept: what to add to every score, where the fusion has an intercept.
        """
        raise TypeError(f"{type(self).__name__} has no terms")

    @property
    def intercept(self) -> float:
        """What the score of every candidate has, whichever paths propose it."""
        return 0.0

    def contributions(
        self, batches: Sequence[RankedBatch], weights: Sequence[float], quotas: Sequence[int]
    ) -> list[NDArray[np.float64]] | None:
        """What each entry of each path's lists adds to the score of its item; None: the score is no such sum.

        The score of a candidate is `intercept` and the contributions of all its entries. Entries that the fusion does
        not read add 0. The arrays, float64 (n_entries,), are in the order of `batches`.
        """
        return None

    def windows(self, quotas: Sequence[int]) -> list[int]:
        """The number of items to ask of each path (its window): its quota, unless the fusion can use more."""
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

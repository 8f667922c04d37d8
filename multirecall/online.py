"""What an engine asks, and tells, while it serves: interfaces that a deployment implements.

The engine knows no store, no monitoring system and no experiment. `Engine.use_history` gives it a source of history,
`Engine.observe` an observer of answers, `Engine.use_variants` who chooses variants; none of them is part of its config
or of a bundle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from multirecall.lists import RankedBatch
from multirecall.query import Where
from multirecall.result import CandidateBatch, Candidates
from multirecall.user import User
from multirecall.validation import Count, StrictModel
from multirecall.vocabulary import Id, Vocabulary

Call = Literal["retrieve", "retrieve_batch", "similar"]


@dataclass(frozen=True, slots=True)
class Recent:
    """What a source of history knows about a user; the bundle may know some of it as well.

    Attributes:
        items: the item id of each event, in any order. Text is read in the catalogue's kind of id.
        times: epoch seconds of each event.
        events: the name of each event, whose weight the config gives, or None.
        features: user features by field; fields that the engine does not know are ignored. Text is read in the
            field's kind; a list may be text too, as a JSON array.
    """

    items: Sequence[Id] = ()
    times: Sequence[float] = ()
    events: Sequence[str | None] = ()
    features: Mapping[str, Any] = field(default_factory=dict)


class HistorySource(Protocol):
    """Knows users' newest events and features. Any number of threads may call it."""

    def read(self, users: Sequence[Id], deadline: float) -> Sequence[Recent]:
        """What is known about each user, in order; an empty `Recent` for an unknown one.

        The call should take one round trip. The engine goes on without the answer at the `time.monotonic()` of
        `deadline`. Any exception means the same: the engine serves what the bundle knows. After several in a row it
        asks only now and then. A `TimeoutError` means that the source is late.
        """
        ...


class VariantChooser(Protocol):
    """Decides which variant of an engine a user gets. Any number of threads may call it."""

    def choose(self, user: Id | User, context: Mapping[str, Any], request_id: str) -> str | None:
        """The name of a variant that `Engine.use_variants` was given, or None for the engine's own settings.

        It runs on the thread of the request, so it must be quick; the same user should always get the same one. After
        an exception, or the name of no variant, the engine's own settings serve, and a warning is logged.

        Args:
            user: as the request names them; a visitor has no id.
            context: of the request.
            request_id: of the request, for visitors that nothing else tells apart.
        """
        ...


class Exploration(StrictModel):
    """In a share of the requests, the last slots of an answer are drawn from all that paths proposed.

    The drawn candidates are those behind the first `k - slots` of the fused list, each with the same probability and
    none twice. What decides is the id of the request. `Candidates.draw` has the exact probability of each candidate.
    """

    slots: Count
    """Slots at the end of an answer. Changes results."""

    share: Annotated[float, Field(strict=True, gt=0, le=1)]
    """The share of the requests, above 0 and at most 1. Changes results."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a call was given.

    Attributes:
        users: the users; none in a call of `similar`.
        ids: the id of the request, for each user. Those of a batch are made of that of the call and a number.
        time: epoch seconds at which the call began.
        exclude: the ids to leave out, as they were given.
        where: the predicates, as they were given, or None.
        seen: whether items that a user has interacted with may be returned.
        context: as it was given.
        item: the item of a call of `similar`, or None.
    """

    users: tuple[Id | User, ...]
    ids: tuple[str, ...]
    time: float
    exclude: Sequence[Id] | None = None
    where: Mapping[str, Any] | None = None
    seen: bool = False
    context: Mapping[str, Any] | None = None
    item: Id | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """What an engine answered with: one object for all answers of the same data, fits and variant.

    Attributes:
        version: the name of the bundle's version, or None without a bundle.
        data_version: as `Engine.data_version`.
        last_change: as `Engine.last_change`.
        values: the config as JSON values, for `EngineConfig.model_validate`. What a fit learned is in it, and what the
            variant changes.
        digest: the SHA-256 of `values` and `teams`, in hexadecimal.
        teams: the values of the two configs whose fusions are interleaved, or None.
        exploration: which slots are drawn, or None.
        paths: the names of the paths.
        windows: the number of items that each path is asked for.
        quotas: the quota of each path.
        level: the level of adaptive width, 0 for full width.
        catalogue: the item ids and their rows.
    """

    version: str | None
    data_version: int
    last_change: int
    values: Mapping[str, Any]
    digest: str
    teams: tuple[Mapping[str, Any], Mapping[str, Any]] | None
    exploration: Exploration | None
    paths: tuple[str, ...]
    windows: tuple[int, ...]
    quotas: tuple[int, ...]
    level: int
    catalogue: Vocabulary


@dataclass(frozen=True, slots=True)
class Proposed:
    """What the paths proposed to some users of a call, and what made candidates of it.

    Attributes:
        served: what answered.
        users: the positions of the users in the call, int64 (n,).
        lists: for each path its list for each of the users, as item rows, at most its window long.
        lengths: the length of each user's history, which decides the segment, int64 (n,).
        excluded: the sorted item rows that each user was not to get, int32: `exclude`, and the seen items unless
            `seen`.
        conditions: what `where` came to.
    """

    served: Served
    users: NDArray[np.int64]
    lists: tuple[RankedBatch, ...]
    lengths: NDArray[np.int64]
    excluded: tuple[NDArray[np.int32], ...]
    conditions: Where


@dataclass(frozen=True, slots=True)
class Observation:
    """One answer of an engine.

    Attributes:
        call: the method that was called.
        answer: what it returned; its arrays must not be changed. It has the state, time and count of each path.
        k: the number of candidates that were asked for, for each user.
        ms: wall time of the call, in milliseconds.
        cached: whether the answer was a cache hit; the times of its paths are then those of the first answer.
        segments: the segment of each user, by its position in `Engine.segments`, int64 (n_users,); that of a variant is
            a position in the variant's.
        request: what the call was given.
    """

    call: Call
    answer: Candidates | CandidateBatch
    k: int
    ms: float
    cached: bool
    segments: NDArray[np.int64]
    request: Request
    _tell: Callable[[], tuple[Proposed, ...]]

    @property
    def parts(self) -> tuple[Proposed, ...]:
        """What the paths proposed: one part, or one for each variant that answered a user of a batch.

        It is put together when it is asked for, by the observer's thread.
        """
        return self._tell()


class Observer(Protocol):
    """Learns of each answer of an engine; one that needs only some of them is a `SelectiveObserver`."""

    def observe(self, observation: Observation) -> None:
        """Take note of an answer.

        The engine calls this method on a thread of the observer's own, in the order of the answers, shortly after the
        answer was given. No request waits for it, and an exception is logged. An observer that is too slow misses
        answers.
        """
        ...


@runtime_checkable
class SelectiveObserver(Observer, Protocol):
    """Learns of some answers of an engine."""

    def wants(self, call: Call, request: Request) -> bool:
        """Whether to show it the answer to a request.

        It runs on the thread of the request, before the answer is queued, so it must be quick. After an exception the
        answer is shown.
        """
        ...

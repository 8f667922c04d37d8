"""What an engine asks, and tells, while it serves: interfaces that a deployment implements.

The engine knows no store, no monitoring system and no experiment. `Engine.use_history` gives it a source of history,
`Engine.observe` an observer of answers, `Engine.use_variants` who chooses variants; none of them is part of its config
or of a bundle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from multirecall.result import CandidateBatch, Candidates
from multirecall.user import User
from multirecall.vocabulary import Id

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

    def choose(self, user: Id | User, context: Mapping[str, Any]) -> str | None:
        """The name of a variant that `Engine.use_variants` was given, or None for the engine's own settings.

        It runs on the thread of the request, so it must be quick; the same user should always get the same one. After
        an exception, or the name of no variant, the engine's own settings serve, and a warning is logged.

        Args:
            user: as the request names them; a visitor has no id.
            context: of the request.
        """
        ...


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
    """

    call: Call
    answer: Candidates | CandidateBatch
    k: int
    ms: float
    cached: bool
    segments: NDArray[np.int64]


class Observer(Protocol):
    """Learns of each answer of an engine."""

    def observe(self, observation: Observation) -> None:
        """Take note of an answer.

        The engine calls this method on a thread of the observer's own, in the order of the answers, shortly after the
        answer was given. No request waits for it, and an exception is logged. An observer that is too slow misses
        answers.
        """
        ...

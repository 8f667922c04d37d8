"""How a source of history is asked: on a thread, until a part of the deadline, behind a circuit breaker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic, perf_counter
from typing import Any

import numpy as np

from multirecall.data import Dataset
from multirecall.engine.breaker import Breaker, Tally
from multirecall.engine.deadline import UNLIMITED, Clock, Deadline
from multirecall.engine.latest import Latest, read_latest
from multirecall.engine.path import fault_text
from multirecall.engine.workers import Workers
from multirecall.online import HistorySource, Recent
from multirecall.result import StoreState
from multirecall.user import User
from multirecall.vocabulary import Id

SHARE = 0.5
"""The part of a request's remaining time that its source may take; the paths have the rest."""

LONGEST_S = 1.0
"""Seconds for the source where a request has no deadline, and the most in any."""

RETRY_S = 0.25
"""Seconds after which a source that failed several times in a row is asked again, by one request."""

Answer = Sequence[Recent] | BaseException


@dataclass(frozen=True, slots=True)
class Found:
    """What a source of history said about the users of a request.

    Attributes:
        state: how the call ended; None where there was none, because the engine has no source or no user has an id.
        latest: by user id; empty unless the state is `ok`.
    """

    state: StoreState | None = None
    latest: dict[Id, Latest] = field(default_factory=dict)

    @property
    def key(self) -> tuple[Any, ...]:
        """All of it, for the key of the result cache."""
        return self.state, {user: one.key for user, one in self.latest.items()}

    def of(self, user: Id | User) -> Latest | None:
        """What is known about one user beyond the bundle."""
        return self.latest.get(_id_of(user)) if self.latest else None  # type: ignore[arg-type]


NOTHING = Found()
"""No source was asked."""


class NoSource:
    """Stands where an engine has no source of history."""

    tally: Tally | None = None

    def ask(self, data: Dataset, users: Sequence[Id | User], deadline: Deadline = UNLIMITED) -> Found:
        """Nothing, at once."""
        return NOTHING

    def close(self) -> None:
        """Nothing is held."""


class Lookup(NoSource):
    """A source of history with its threads and its circuit breaker. Whatever it does, a request goes on."""

    def __init__(self, source: HistorySource, clock: Clock = perf_counter) -> None:
        self._source = source
        self._breaker = Breaker(clock, RETRY_S, RETRY_S)
        self._workers: Workers[Answer] = Workers("history")

    @property
    def tally(self) -> Tally:  # type: ignore[override]
        """How its calls ended."""
        return self._breaker.tally

    def ask(self, data: Dataset, users: Sequence[Id | User], deadline: Deadline = UNLIMITED) -> Found:
        """Ask for all users of a request in one call, and wait for a part of what is left of the deadline."""
        ids = list(dict.fromkeys(id_ for user in users if isinstance(id_ := _id_of(user), str | int | np.integer)))
        if not ids:
            return NOTHING
        ticket = None if self._workers.clogged else self._breaker.admit()
        if ticket is None:
            self._breaker.count("skipped")
            return Found("failed")
        answer = self._answer(ids, deadline)
        if isinstance(answer, TimeoutError):
            return self._without(ticket, "late", answer, deadline.hasty)
        if isinstance(answer, BaseException):
            return self._without(ticket, "failed", answer)
        try:
            latest = {id_: read_latest(data, one) for id_, one in zip(ids, answer, strict=True)}
        except Exception as fault:  # noqa: BLE001 - what others wrote into a store must not fail a request
            self._breaker.count("failed", fault_text(fault))
            self._breaker.excuse(ticket)  # the source answers; the next user's data may be right
            return Found("failed")
        self._breaker.record(ticket, "ok")
        return Found("ok", latest)

    def close(self) -> None:
        """Let the threads end; the source stays its owner's to close."""
        self._workers.close()

    def _answer(self, ids: list[Id], deadline: Deadline) -> Answer:
        left = deadline.left_s
        wait = LONGEST_S if left is None else min(LONGEST_S, left * SHARE)
        call = self._workers.submit(partial(self._source.read, ids, monotonic() + wait), lambda fault: fault)
        try:
            return call.result(wait)
        except TimeoutError:
            self._workers.abandon(call)
            return TimeoutError(f"no answer within {wait * 1e3:.0f} ms")
        except KeyboardInterrupt:
            self._workers.abandon(call)
            raise

    def _without(self, ticket: int, state: StoreState, fault: BaseException, callers: bool = False) -> Found:
        if callers:
            self._breaker.excuse(ticket)
        else:
            self._breaker.record(ticket, state, fault_text(fault))
        return Found(state)


def _id_of(user: Id | User) -> Id | None:
    return user.id if isinstance(user, User) else user

"""A path: a fitted retriever in its place in an engine, and how one call to it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np

from multirecall.engine.breaker import Breaker
from multirecall.engine.check import fault_of, fault_of_batch
from multirecall.engine.closing import Closing
from multirecall.engine.deadline import UNLIMITED, Clock, Deadline
from multirecall.engine.elsewhere import Elsewhere
from multirecall.engine.narrow import narrow
from multirecall.engine.workers import Workers
from multirecall.errors import DataError, NotDeployed, RequestError
from multirecall.lists import RankedBatch, RankedList
from multirecall.protocols import Reason, Retriever
from multirecall.query import Query
from multirecall.query_batch import eligible_in_lists
from multirecall.result import PathStatus, State

L = TypeVar("L", RankedList, RankedBatch)

LONGEST_MESSAGE = 500
"""The most characters of an error message that a status keeps."""


class Garbage(Exception):  # noqa: N818
    """The retriever returned something that is not a valid ranked list."""


@dataclass(slots=True)
class Outcome(Generic[L]):
    """The outcome of one call of a path. It has no list if the call failed, was late or was skipped.

    Nobody changes it; it is not frozen because that takes time to make.

    Attributes:
        ranked: the list, or None.
        state: how the call ended.
        ms: wall time in milliseconds.
        detail: the fault, or None.
        callers: whether the caller's input or deadline is to blame. Such an outcome does not count against the path.
        deployed: False if the deployment lacks what the path needs. Nor does such an outcome count against the path.
    """

    ranked: L | None
    state: State
    ms: float
    detail: str | None = None
    callers: bool = False
    deployed: bool = True

    def status(self, quota: int) -> PathStatus:
        """The status that the user sees. Items beyond the quota, which only a fusion sees, do not count."""
        return PathStatus(self.state, 0 if self.ranked is None else self.ranked.within(quota), self.ms, self.detail)


@dataclass(frozen=True, slots=True)
class Path:
    """A fitted retriever in its engine, with its quota, its circuit breaker and its threads.

    Attributes:
        name: its name.
        retriever: the retriever.
        quota: most candidates that it contributes.
        required: whether a request fails without it.
        n_items: the number of item rows that the retriever knows. Its queries never hold an item that joined later.
        n_users: the number of user rows that the retriever knows.
        clock: seconds.
        breaker: keeps a failing path from being called.
        workers: the threads that it runs on, unless inline.
        closing: closes the retriever once nobody holds the path, or another one that has the same retriever.
        behind: whether items or users have joined that the retriever does not know.
        stale: why the retriever takes no live changes any more, or None.
        fit_seconds: the seconds of its fit, or None if it was loaded.
        dropped: why requests do not ask the path, which the fusion that was learned does not use; else None.
        similar: whether the path is asked for what is like the one item of a query's history.
        elsewhere: what answers for this path and its siblings, which stand in other processes; None: they stand here.
    """

    name: str
    retriever: Retriever
    quota: int
    required: bool
    n_items: int
    n_users: int
    clock: Clock
    breaker: Breaker
    workers: Workers[Outcome[RankedList]]
    closing: Closing
    behind: bool = False
    stale: str | None = None
    fit_seconds: float | None = None
    dropped: str | None = None
    similar: bool = False
    elsewhere: Elsewhere | None = None

    def answer(self, query: Query, window: int, deadline: Deadline) -> Outcome[RankedList]:
        """Ask for one user's first `window` eligible items. An exception of the retriever becomes a status.

        An `OSError` once the deadline has passed, such as a timeout that obeys `query.deadline`, means that it is late.
        """
        ask = partial(eligible_window, self.retriever, self._known(query), window, self.n_items, self.similar)
        return self._call_safely(ask, deadline)

    def answer_batch(self, queries: Sequence[Query], window: int) -> Outcome[RankedBatch]:
        """Ask for several users. A user whose own query is invalid gets an empty list; the others get theirs."""
        known = narrow(queries, self.n_items, self.n_users) if self.behind else queries
        outcome = self._call_safely(lambda: eligible_windows(self.retriever, known, window, self.n_items))
        return self._one_by_one(known, window) if outcome.callers else outcome

    def explain(self, query: Query, item: int) -> Reason | None:
        """What the retriever says about its proposal of item row `item`, or how it failed to say something."""
        try:
            return self.retriever.explain(self._known(query), item)
        except Exception as fault:  # noqa: BLE001 - a plug-in's fault must not hide what the other paths say
            return Reason(f"the path cannot explain it: {fault_text(fault)}")

    @property
    def trouble(self) -> str | None:
        """What the retriever says is wrong with it though it answers, or how it failed to say so."""
        try:
            return self.retriever.trouble
        except Exception as fault:  # noqa: BLE001 - a plug-in's fault must not hide the health of the other paths
            return f"it cannot say whether it is in trouble: {fault_text(fault)}"

    def crash_outcome(self, fault: BaseException) -> Outcome[RankedList]:
        """The outcome of a call that could not begin, or whose worker thread failed."""
        return Outcome(None, "failed", 0.0, fault_text(fault))

    def admit(self) -> int | None:
        """Return a ticket for one call, or None if the path must not be called now."""
        return None if self.workers.clogged else self.breaker.admit()

    def note_outcome(self, ticket: int, outcome: Outcome[L]) -> Outcome[L]:
        """Tell the circuit breaker how a call ended."""
        if not outcome.deployed:
            self.breaker.excuse(ticket)
            self.breaker.count(outcome.state, outcome.detail)
        elif outcome.callers:
            self.breaker.excuse(ticket)
        else:
            self.breaker.record(ticket, outcome.state, None if outcome.state == "ok" else outcome.detail)
        return outcome

    def drop_outcome(self) -> Outcome[Any]:
        """The outcome of a call that is not made because the fusion does not use the path."""
        return Outcome(None, "dropped", 0.0, self.dropped)

    def skip_outcome(self) -> Outcome[Any]:
        """The outcome of a call that is not made."""
        self.breaker.count("skipped")
        return Outcome(None, "skipped", 0.0, f"not called {self._refusal()}")

    def out_of_time(self, deadline: Deadline) -> Outcome[Any]:
        """The outcome of a call that is not made because the request has no time left. The path is not to blame."""
        if not deadline.hasty:
            self.breaker.count("late")
        return Outcome(None, "late", deadline.elapsed_ms, "the deadline had passed before its turn", deadline.hasty)

    def _refusal(self) -> str:
        tally = self.breaker.tally
        if self.workers.clogged:
            why = f"while {self.workers.abandoned} abandoned calls still run"
        elif tally.state == "half_open":
            why = "while a single call tries whether it answers again"
        else:
            why = f"after {tally.failures} failures in a row; tried again in {tally.retry_in_s or 0.0:.1f} s"
        return f"{why}; last fault: {tally.last_fault}"

    def _known(self, query: Query) -> Query:
        return narrow([query], self.n_items, self.n_users)[0] if self.behind else query

    def _one_by_one(self, queries: Sequence[Query], window: int) -> Outcome[RankedBatch]:
        start = self.clock()
        single = [
            self._call_safely(partial(eligible_window, self.retriever, query, window, self.n_items))
            for query in queries
        ]
        ms = (self.clock() - start) * 1e3
        faults = [one for one in single if one.ranked is None]
        if not all(one.callers for one in faults) or len(faults) == len(single):
            worst = min(faults, key=lambda one: one.callers)
            return Outcome(None, "failed", ms, worst.detail, worst.callers)
        batch = RankedBatch.from_lists([one.ranked or RankedList.empty() for one in single])
        detail = f"nothing for {len(faults)} of {len(single)} users: {faults[0].detail}" if faults else None
        return Outcome(batch, "ok", ms, detail)

    def _call_safely(self, ask: Callable[[], L], deadline: Deadline = UNLIMITED) -> Outcome[L]:
        start = self.clock()
        try:
            ranked = ask()
        except BaseException as fault:
            if isinstance(fault, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
                raise  # Ctrl-C must end the program, not the path alone
            if isinstance(fault, OSError) and deadline.passed:
                return Outcome(None, "late", deadline.elapsed_ms, fault_text(fault), deadline.hasty)
            if isinstance(fault, NotDeployed):
                return Outcome(None, "skipped", (self.clock() - start) * 1e3, fault_text(fault), deployed=False)
            callers = isinstance(fault, RequestError | DataError)
            return Outcome(None, "failed", (self.clock() - start) * 1e3, fault_text(fault), callers)
        return Outcome(ranked, "ok", (self.clock() - start) * 1e3)


def fault_text(fault: BaseException) -> str:
    """The type and the message of an exception, truncated to fit a status."""
    try:
        message = str(fault)
    except Exception:  # noqa: BLE001 - it comes from a plug-in, and may be broken as well
        message = "its message cannot be read"
    return f"{type(fault).__name__}: {message[:LONGEST_MESSAGE]}"


def new_path(
    name: str,
    retriever: Retriever,
    quota: int,
    required: bool,
    n_items: int,
    n_users: int,
    clock: Clock = time.perf_counter,
    closing: Closing | None = None,
) -> Path:
    """A path with a new circuit breaker and new worker threads; `closing` is that of a path with the same retriever."""
    closing = closing or Closing(name, retriever)
    return Path(name, retriever, quota, required, n_items, n_users, clock, Breaker(clock), Workers(name), closing)


def eligible_window(
    retriever: Retriever,
    query: Query,
    quota: int,
    n_items: int,
    similar: bool = False,
) -> RankedList:
    """The retriever's first `quota` eligible items; `similar`: those like the one item of the query's history.

    A retriever that does not filter is asked again with a doubled window until the quota is full or it has no more.

    Raises:
        Garbage: it returned something that is not a valid ranked list.
    """
    window = quota
    while True:
        answer = _similar_items(retriever, query, window) if similar else retriever.retrieve(query, window)
        ranked = answer if retriever.inline else _own_list(answer)
        fault = fault_of(ranked, window, n_items)
        if fault:
            raise Garbage(f"it returned garbage: {fault}")
        if retriever.filters:
            return ranked
        kept = _eligible(ranked, query)
        if len(kept) >= quota or len(ranked) < window or window >= n_items:
            return kept.head(quota)
        window *= 2


def _similar_items(retriever: Retriever, query: Query, window: int) -> RankedList:
    if not query.history.size:  # the item joined after the path was fitted
        return RankedList.empty()
    found = retriever.similar_items(query.history, window, [query.filter])
    return RankedList.empty() if found is None else found[0]


def eligible_windows(
    retriever: Retriever, queries: Sequence[Query], quota: int, n_items: int, window: int = 0
) -> RankedBatch:
    """The same for several users, beginning at `window`. Users whose quota is not full are asked again together."""
    window = max(window, quota)
    batch = _check_batch(_own_batch(retriever.retrieve_batch(queries, window)), len(queries), window, n_items)
    kept = (batch if retriever.filters else _eligible_batch(batch, queries)).heads(quota)
    short = np.flatnonzero((np.diff(kept.offsets) < quota) & (np.diff(batch.offsets) >= window))
    if window >= n_items or not short.size:
        return kept
    return kept.replace(
        short, eligible_windows(retriever, [queries[user] for user in short.tolist()], quota, n_items, 2 * window)
    )


def _own_list(answer: Any) -> Any:
    """Copy the list, so that a late call of the retriever cannot change it after it was checked."""
    if not isinstance(answer, RankedList):
        return answer
    if not all(isinstance(part, np.ndarray) for part in (answer.items, answer.scores)):
        return answer
    return RankedList(np.array(answer.items), np.array(answer.scores))


def _own_batch(answer: Any) -> Any:
    """The same for several users."""
    if not isinstance(answer, RankedBatch):
        return answer
    parts = (answer.offsets, answer.items, answer.scores)
    if not all(isinstance(part, np.ndarray) for part in parts):
        return answer
    return RankedBatch(np.array(answer.offsets), np.array(answer.items), np.array(answer.scores))


def _check_batch(batch: Any, n_users: int, window: int, n_items: int) -> RankedBatch:
    fault = fault_of_batch(batch, n_users, window, n_items)
    if fault:
        raise Garbage(f"it returned garbage: {fault}")
    checked: RankedBatch = batch
    return checked


def _eligible(ranked: RankedList, query: Query) -> RankedList:
    keep = query.eligible(np.ascontiguousarray(ranked.items))
    return ranked if keep.all() else RankedList(ranked.items[keep], ranked.scores[keep])


def _eligible_batch(batch: RankedBatch, queries: Sequence[Query]) -> RankedBatch:
    keep = eligible_in_lists(queries, batch.offsets, batch.items)
    return batch if keep.all() else batch.keep(keep)

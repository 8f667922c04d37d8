"""A path: a fitted retriever in its place in an engine, and how one call to it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from multirecall.engine.breaker import Breaker
from multirecall.engine.check import fault_of, fault_of_batch
from multirecall.engine.deadline import Clock
from multirecall.engine.workers import Workers
from multirecall.lists import RankedBatch, RankedList
from multirecall.protocols import Retriever
from multirecall.query import Query, eligible_in_lists
from multirecall.result import PathStatus, State

L = TypeVar("L", RankedList, RankedBatch)


class Garbage(Exception):  # noqa: N818
    """A retriever returned something that is no ranked list."""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[L]):
    """How one call of a path ended; without a list where it failed, was late or was skipped."""

    ranked: L | None
    state: State
    ms: float
    detail: str | None = None

    @property
    def status(self) -> PathStatus:
        """The outcome as the user sees it."""
        return PathStatus(self.state, 0 if self.ranked is None else self.ranked.items.size, self.ms, self.detail)


@dataclass(frozen=True, slots=True)
class Path:
    """A fitted retriever with its part in the fusion and its guards."""

    name: str
    retriever: Retriever
    quota: int
    required: bool
    n_items: int
    clock: Clock
    breaker: Breaker
    workers: Workers[Outcome[RankedList]]

    def answer(self, query: Query, window: int) -> Outcome[RankedList]:
        """Ask for one user's first `window` eligible items; whatever the retriever raises becomes a status."""
        return self._isolated(lambda: eligible_window(self.retriever, query, window, self.n_items))

    def answer_batch(self, queries: Sequence[Query], window: int) -> Outcome[RankedBatch]:
        """The same for several users."""
        return self._isolated(lambda: eligible_windows(self.retriever, queries, window, self.n_items))

    def crashed(self, fault: BaseException) -> Outcome[RankedList]:
        """The outcome of a call that ended its worker thread's task."""
        return Outcome(None, "failed", 0.0, f"{type(fault).__name__}: {fault}")

    def skipped(self) -> Outcome[Any]:
        """The outcome of a call that is not made."""
        why = "abandoned calls still run" if self.workers.clogged else "it failed several times in a row"
        return Outcome(None, "skipped", 0.0, f"not called, since {why}")

    def noted(self, outcome: Outcome[L]) -> Outcome[L]:
        """Let the breaker know how a call ended."""
        self.breaker.record(succeeded=outcome.state == "ok")
        return outcome

    def _isolated(self, ask: Callable[[], L]) -> Outcome[L]:
        start = self.clock()
        try:
            ranked = ask()
        except Exception as fault:  # noqa: BLE001 - the one place where a path is isolated
            return Outcome(None, "failed", (self.clock() - start) * 1e3, f"{type(fault).__name__}: {fault}")
        return Outcome(ranked, "ok", (self.clock() - start) * 1e3)


def new_path(
    name: str,
    retriever: Retriever,
    quota: int,
    required: bool,
    n_items: int,
    clock: Clock = time.perf_counter,
) -> Path:
    """A path with fresh guards."""
    return Path(name, retriever, quota, required, n_items, clock, Breaker(clock), Workers(name))


def eligible_window(retriever: Retriever, query: Query, quota: int, n_items: int) -> RankedList:
    """The retriever's first `quota` eligible items.

    A retriever that does not filter is asked for doubled windows until the quota is full or it is exhausted.

    Raises:
        Garbage: it returned something that is no ranked list.
    """
    window = quota
    while True:
        ranked = _checked(retriever.retrieve(query, window), n_items)
        kept = _eligible(retriever, ranked, query)
        if len(kept) >= quota or len(ranked) < window or window >= n_items:
            return kept.head(quota)
        window *= 2


def eligible_windows(
    retriever: Retriever, queries: Sequence[Query], quota: int, n_items: int, window: int = 0
) -> RankedBatch:
    """The same for several users, beginning at `window`; those whose quota is not full are asked for again together."""
    window = max(window, quota)
    batch = retriever.retrieve_batch(queries, window)
    fault = fault_of_batch(batch, len(queries), n_items)
    if fault:
        raise Garbage(f"it returned garbage: {fault}")
    kept = (batch if retriever.filters else _eligible_batch(batch, queries)).heads(quota)
    short = np.flatnonzero((np.diff(kept.offsets) < quota) & (np.diff(batch.offsets) >= window))
    if window >= n_items or not short.size:
        return kept
    return kept.replaced(
        short, eligible_windows(retriever, [queries[user] for user in short.tolist()], quota, n_items, 2 * window)
    )


def _checked(ranked: RankedList, n_items: int) -> RankedList:
    fault = fault_of(ranked, n_items)
    if fault:
        raise Garbage(f"it returned garbage: {fault}")
    return ranked


def _eligible(retriever: Retriever, ranked: RankedList, query: Query) -> RankedList:
    if retriever.filters:
        return ranked
    keep = query.eligible(np.ascontiguousarray(ranked.items))
    return ranked if keep.all() else RankedList(ranked.items[keep], ranked.scores[keep])


def _eligible_batch(batch: RankedBatch, queries: Sequence[Query]) -> RankedBatch:
    keep = eligible_in_lists(queries, batch.offsets, batch.items)
    return batch if keep.all() else batch.kept(keep)

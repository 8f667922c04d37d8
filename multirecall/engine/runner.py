"""Asking all paths: inline ones on the caller's thread, the others on workers, none beyond the deadline."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from multirecall.engine.deadline import Deadline
from multirecall.engine.path import Outcome, Path
from multirecall.errors import PathError
from multirecall.lists import RankedBatch, RankedList
from multirecall.query import Query

Call = Future[Outcome[RankedList]]


def run_paths(
    paths: Sequence[Path], windows: Sequence[int], query: Query, deadline: Deadline
) -> list[Outcome[RankedList]]:
    """Ask every path for its window; the others go on when one fails or is late.

    Workers start first, inline paths run while they work, then what is left of the deadline is waited for.

    Raises:
        PathError: a required path gave nothing, or none gave anything and at least one failed.
    """
    asked = list(zip(paths, windows, strict=True))
    calls = {path.name: _begun(path, query, window) for path, window in asked if not path.retriever.inline}
    done = {path.name: _inline(path, query, window, deadline) for path, window in asked if path.retriever.inline}
    outcomes = [done.get(path.name) or _collected(path, calls[path.name], deadline) for path in paths]
    _refuse_total_failure(paths, outcomes)
    return outcomes


def run_batch(paths: Sequence[Path], windows: Sequence[int], queries: Sequence[Query]) -> list[Outcome[RankedBatch]]:
    """The same for several users, on the caller's thread and without a deadline."""
    outcomes: list[Outcome[RankedBatch]] = [
        path.noted(path.answer_batch(queries, window)) if path.breaker.allows() else path.skipped()
        for path, window in zip(paths, windows, strict=True)
    ]
    _refuse_total_failure(paths, outcomes)
    return outcomes


def run_fallback(path: Path, window: int, query: Query, deadline: Deadline) -> Outcome[RankedList]:
    """Ask the fallback: inline it always runs, since it is what delivers when the paths are late."""
    if path.retriever.inline:
        return path.noted(path.answer(query, window)) if path.breaker.allows() else path.skipped()
    return _collected(path, _begun(path, query, window), deadline)


def _begun(path: Path, query: Query, window: int) -> Call | None:
    if path.workers.clogged or not path.breaker.allows():
        return None
    return path.workers.submit(partial(path.answer, query, window), path.crashed)


def _inline(path: Path, query: Query, window: int, deadline: Deadline) -> Outcome[RankedList]:
    if deadline.passed:
        return Outcome(None, "late", deadline.elapsed_ms, "the deadline had passed before its turn")
    return path.noted(path.answer(query, window)) if path.breaker.allows() else path.skipped()


def _collected(path: Path, call: Call | None, deadline: Deadline) -> Outcome[RankedList]:
    if call is None:
        return path.skipped()
    try:
        return path.noted(call.result(deadline.left_s))
    except TimeoutError:
        path.workers.abandon(call)
        return path.noted(Outcome(None, "late", deadline.elapsed_ms, f"no answer within {deadline.limit_ms:g} ms"))


def _refuse_total_failure(paths: Sequence[Path], outcomes: Sequence[Outcome[Any]]) -> None:
    for path, outcome in zip(paths, outcomes, strict=True):
        if path.required and outcome.state != "ok":
            raise PathError(
                f"required path {path.name!r} {outcome.state}: {outcome.detail}; mend it, or set required = false"
            )
    states = {outcome.state for outcome in outcomes}
    if "ok" not in states and states != {"late"}:
        details = "; ".join(f"{path.name}: {one.detail}" for path, one in zip(paths, outcomes, strict=True))
        raise PathError(f"all paths failed: {details}")

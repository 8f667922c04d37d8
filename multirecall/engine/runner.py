"""Asking all paths: inline ones on the caller's thread, the others on workers, none beyond the deadline."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from multirecall.engine.path import Outcome, Path
from multirecall.errors import PathError
from multirecall.lists import RankedBatch, RankedList
from multirecall.query import Query


def run_paths(
    paths: Sequence[Path], windows: Sequence[int], query: Query, deadline_ms: float | None
) -> list[Outcome[RankedList]]:
    """Ask every path for its window; the others go on when one fails or is late.

    Workers start first, inline paths run while they work, then what is left of the deadline is waited for.

    Raises:
        PathError: a required path gave nothing, or none gave anything and at least one failed.
    """
    start = paths[0].clock()
    asked = list(zip(paths, windows, strict=True))
    waiting = {
        path.name: path.workers.submit(partial(path.answer, query, window))
        for path, window in asked
        if not path.retriever.inline and not path.workers.clogged and path.breaker.allows()
    }
    done = {
        path.name: _inline(path, window, query, start, deadline_ms) for path, window in asked if path.retriever.inline
    }
    outcomes = [done.get(path.name) or _collected(path, waiting.get(path.name), start, deadline_ms) for path in paths]
    _refuse_total_failure(paths, outcomes)
    return outcomes


def run_batch(paths: Sequence[Path], windows: Sequence[int], queries: Sequence[Query]) -> list[Outcome[RankedBatch]]:
    """The same for several users, on the caller's thread and without a deadline."""
    outcomes: list[Outcome[RankedBatch]] = [
        path.answer_batch(queries, window) if path.breaker.allows() else _skipped(path)
        for path, window in zip(paths, windows, strict=True)
    ]
    _refuse_total_failure(paths, outcomes)
    return outcomes


def _inline(path: Path, window: int, query: Query, start: float, deadline_ms: float | None) -> Outcome[RankedList]:
    if deadline_ms is not None and path.since(start) >= deadline_ms:
        return Outcome(None, "late", path.since(start), "the deadline had passed before its turn")
    return path.answer(query, window) if path.breaker.allows() else _skipped(path)


def _collected(
    path: Path, future: Future[Outcome[RankedList]] | None, start: float, deadline_ms: float | None
) -> Outcome[RankedList]:
    if future is None:
        return _skipped(path)
    left = None if deadline_ms is None else max(0.0, (deadline_ms - path.since(start)) / 1e3)
    try:
        return future.result(left)
    except TimeoutError:
        path.workers.abandon(future)
        path.breaker.record(succeeded=False)
        return Outcome(None, "late", path.since(start), f"no answer within {deadline_ms:g} ms")


def _skipped(path: Path) -> Outcome[Any]:
    why = "abandoned calls still run" if path.workers.clogged else "it failed several times in a row"
    return Outcome(None, "skipped", 0.0, f"not called, since {why}")


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

"""How all paths are asked: inline ones on the caller's thread, the others on worker threads, until the deadline."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from multirecall.engine.deadline import UNLIMITED, Deadline
from multirecall.engine.elsewhere import Elsewhere
from multirecall.engine.path import Outcome, Path
from multirecall.errors import PathError, RequestError
from multirecall.lists import RankedBatch, RankedList
from multirecall.query import Query


class Call(NamedTuple):
    """A call that runs on a worker thread, with the ticket of its circuit breaker."""

    answer: Future[Outcome[RankedList]]
    ticket: int


def run_paths(
    paths: Sequence[Path], windows: Sequence[int], query: Query, deadline: Deadline
) -> list[Outcome[RankedList]]:
    """Ask every path for its window. A path that fails or is late does not stop the others.

    Raises:
        PathError: a required path gave nothing, or every path failed.
        RequestError: the same, because of the caller's input.
    """
    outcomes = ask_paths(paths, windows, query, deadline)
    refuse_total_failure(paths, outcomes)
    return outcomes


def ask_paths(
    paths: Sequence[Path], windows: Sequence[int], query: Query, deadline: Deadline
) -> list[Outcome[RankedList]]:
    """Ask every path and return the outcome of each.

    Worker threads start first; inline paths run meanwhile; then the call waits for the workers until the deadline.
    """
    elsewhere = elsewhere_of(paths)
    if elsewhere is not None:
        return elsewhere.ask(paths, windows, query, deadline)
    asked = list(zip(paths, windows, strict=True))
    calls = {path.name: _begun(path, query, window, deadline) for path, window in asked if not path.retriever.inline}
    try:
        done = [_inline(path, query, window, deadline) for path, window in asked if path.retriever.inline]
        if not calls:
            return done
        inline = iter(done)
        return [next(inline) if path.retriever.inline else _collect(path, calls[path.name], deadline) for path in paths]
    except KeyboardInterrupt:
        for path in paths:
            _give_up(path, calls.get(path.name))
        raise


def run_batch(paths: Sequence[Path], windows: Sequence[int], queries: Sequence[Query]) -> list[Outcome[RankedBatch]]:
    """The same for several users, on the caller's thread and without a deadline; raises as `run_paths`."""
    elsewhere = elsewhere_of(paths)
    if elsewhere is not None:
        outcomes = elsewhere.ask_batch(paths, windows, queries)
    else:
        outcomes = [_inline_batch(path, queries, window) for path, window in zip(paths, windows, strict=True)]
    refuse_total_failure(paths, outcomes)
    return outcomes


def elsewhere_of(paths: Sequence[Path]) -> Elsewhere | None:
    """What answers for these paths in place of their retrievers; None: each is asked here."""
    return paths[0].elsewhere if paths else None


def run_fallback(path: Path, window: int, query: Query, deadline: Deadline) -> Outcome[RankedList]:
    """Ask the fallback. An inline fallback always runs, because it must deliver when the paths are late."""
    if path.retriever.inline:
        return _inline(path, replace(query, deadline=None), window, UNLIMITED)
    return _collect(path, _begun(path, query, window, deadline), deadline)


def _begun(path: Path, query: Query, window: int, deadline: Deadline) -> Call | Outcome[RankedList]:
    if path.dropped is not None:
        return path.drop_outcome()
    if deadline.passed:
        return path.out_of_time(deadline)
    ticket = path.admit()
    if ticket is None:
        return path.skip_outcome()
    return Call(path.workers.submit(partial(path.answer, query, window, deadline), path.crash_outcome), ticket)


def _collect(path: Path, begun: Call | Outcome[RankedList], deadline: Deadline) -> Outcome[RankedList]:
    if isinstance(begun, Outcome):
        return begun
    try:
        return path.note_outcome(begun.ticket, begun.answer.result(deadline.left_s))
    except TimeoutError:
        path.workers.abandon(begun.answer)
        late: Outcome[RankedList] = Outcome(
            None, "late", deadline.elapsed_ms, f"no answer within {deadline.limit_ms:g} ms", deadline.hasty
        )
        return path.note_outcome(begun.ticket, late)


def _give_up(path: Path, begun: Call | Outcome[RankedList] | None) -> None:
    if isinstance(begun, Call) and not begun.answer.done():
        path.workers.abandon(begun.answer)


def _inline(path: Path, query: Query, window: int, deadline: Deadline) -> Outcome[RankedList]:
    if path.dropped is not None:
        return path.drop_outcome()
    if deadline.passed:
        return path.out_of_time(deadline)
    ticket = path.admit()
    return path.skip_outcome() if ticket is None else path.note_outcome(ticket, path.answer(query, window, deadline))


def _inline_batch(path: Path, queries: Sequence[Query], window: int) -> Outcome[RankedBatch]:
    if path.dropped is not None:
        return path.drop_outcome()
    ticket = path.admit()
    return path.skip_outcome() if ticket is None else path.note_outcome(ticket, path.answer_batch(queries, window))


def refuse_total_failure(paths: Sequence[Path], outcomes: Sequence[Outcome[Any]]) -> None:
    """Raise if every path failed. If some are only late, or skipped for it, the fallback still delivers.

    A path that is not deployed counts as if the config did not have it. If no other path is left, the fallback
    delivers.
    """
    for path, outcome in zip(paths, outcomes, strict=True):
        if path.required and outcome.state == "failed" and outcome.callers:
            raise RequestError(f"required path {path.name!r}: {outcome.detail}")
        if path.required and outcome.state not in ("ok", "partial"):
            raise PathError(
                f"required path {path.name!r} {outcome.state}: {outcome.detail}; fix the path, or set required = false"
            )
    if any(one.state == "ok" for one in outcomes):
        return
    asked = [(path, one) for path, one in zip(paths, outcomes, strict=True) if one.state != "dropped" and one.deployed]
    if asked and all(_is_failure(path, outcome) for path, outcome in asked):
        details = "; ".join(f"{path.name}: {one.detail}" for path, one in asked)
        raise (RequestError if all(one.callers for _, one in asked) else PathError)(f"all paths failed: {details}")


def _is_failure(path: Path, outcome: Outcome[Any]) -> bool:
    return outcome.state == "failed" or (outcome.state == "skipped" and path.breaker.failed_by == "failed")

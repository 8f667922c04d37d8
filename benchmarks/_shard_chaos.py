"""Requests to a sharded engine while parts of it are killed, each answer compared with the one that is right."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from multirecall import Candidates, Engine

FULL_WITHIN_S = 60.0
"""Seconds after which it counts as a fault that the answers are not full again."""


@dataclass
class Seen:
    """What the requests have met.

    Attributes:
        full: answers equal to the right one.
        partial: answers that say which shards they lack.
        wrong: answers that differ from the right one without saying so.
        failed: requests that raised.
        recovery_s: after each kill, the seconds until all replicas were up.
        full_after_s: after each kill, the seconds until the last answer that was not full.
    """

    full: int = 0
    partial: int = 0
    wrong: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    recovery_s: list[float] = field(default_factory=list)
    full_after_s: list[float] = field(default_factory=list)
    lacking_at: float = 0.0


Right = Mapping[Any, tuple[list[Any], bytes]]
"""The item ids and the scores of each user's right answer."""


def right_answers(engine: Engine, users: Sequence[Any]) -> Right:
    """What an engine answers."""
    return {user: _content(engine.retrieve(user)) for user in users}


def note_answer(seen: Seen, right: tuple[list[Any], bytes], answer: Candidates) -> None:
    """Count one answer."""
    states = {one.state for one in answer.status.values()}
    if states == {"ok"}:
        if _content(answer) == right:
            seen.full += 1
        else:
            seen.wrong.append(f"{answer.ids.tolist()[:5]} in place of {right[0][:5]}")
    elif states <= {"ok", "partial"} and any(one.detail and "shard" in one.detail for one in answer.status.values()):
        seen.partial += 1
        seen.lacking_at = time.monotonic()
    else:
        seen.wrong.append(f"{states}")


def endure(
    engine: Any,
    right: Right,
    kill: Callable[[int], None],
    mend: Callable[[int], None],
    n_kills: int,
    n_threads: int = 2,
) -> Seen:
    """Ask without a pause, with a part killed and mended `n_kills` times.

    Args:
        engine: a `ShardedEngine`.
        right: the right answer of each user.
        kill: kills one part, given the number of the kill.
        mend: brings back what was killed, such as a node; called as soon as it is dead.
        n_kills: how often.
        n_threads: the threads that ask.
    """
    seen, done, lock = Seen(), threading.Event(), threading.Lock()

    def ask(place: int) -> None:
        users = list(right)[place::n_threads]
        while not done.is_set():
            for user in users:
                try:
                    answer = engine.retrieve(user)
                except Exception as fault:  # noqa: BLE001 - whatever it is, the request failed
                    with lock:
                        seen.failed.append(f"{type(fault).__name__}: {fault}"[:200])
                    continue
                with lock:
                    note_answer(seen, right[user], answer)

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(n_threads)]
    for one in threads:
        one.start()
    try:
        for number in range(n_kills):
            before = time.monotonic()
            kill(number)
            mend(number)
            seen.recovery_s.append(_until_full(engine, list(right), before))
            seen.full_after_s.append(max(0.0, seen.lacking_at - before))
    finally:
        done.set()
        for one in threads:
            one.join()
    return seen


def _until_full(engine: Any, users: Sequence[Any], start: float) -> float:
    """The seconds until every replica is up and answers are full."""
    pause = threading.Event()
    while time.monotonic() - start < FULL_WITHIN_S:
        answer = engine.retrieve(users[0])
        is_full = {one.state for one in answer.status.values()} == {"ok"}
        if is_full and all(one.up and one.fault is None for one in engine.shard_health()):
            return time.monotonic() - start
        pause.wait(0.05)
    return FULL_WITHIN_S


def _content(answer: Candidates) -> tuple[list[Any], bytes]:
    return answer.ids.tolist(), answer.scores.tobytes()

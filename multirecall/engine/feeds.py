"""How observers learn of answers: through a bounded queue each, which no request waits for.

A thread that sleeps costs more to wake than an answer costs to note, so a thread is woken once for all answers of
`GATHER_S`.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from weakref import WeakSet

from multirecall.online import Call, Observation, Observer, Request, SelectiveObserver

_log = logging.getLogger("multirecall.engine")

LONGEST_QUEUE = 1_000
"""Answers that wait for an observer. A further answer is not shown to it, so that memory is bounded."""

GATHER_S = 0.02
"""Seconds that the first answer waits for others before the observer sees them."""


@dataclass(slots=True)
class _Waiting:
    """What a feed shares with its thread."""

    answers: deque[Observation] = field(default_factory=deque)
    some: threading.Event = field(default_factory=threading.Event)
    """Answers wait, or none will come any more."""
    ended: threading.Event = field(default_factory=threading.Event)


class Feed:
    """One observer, with its queue and the thread that empties it."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._selects = observer if isinstance(observer, SelectiveObserver) else None
        self._begin()
        _feeds.add(self)

    def _begin(self) -> None:
        """Start without a thread. A forked child must do so too, because it does not have its parent's threads."""
        self._lock = threading.Lock()
        self._waiting = _Waiting()
        self._started = False
        self._missed = 0

    @property
    def missed(self) -> int:
        """The number of answers that the observer was too slow for."""
        return self._missed

    def wants(self, call: Call, request: Request) -> bool:
        """Whether to show the answer to a request to the observer."""
        if self._selects is None:
            return True
        try:
            return self._selects.wants(call, request)
        except Exception:  # noqa: BLE001 - an observer must not fail a request
            return True

    def offer(self, observation: Observation) -> None:
        """Show an answer to the observer, later; never wait."""
        waiting = self._waiting
        with self._lock:
            if waiting.ended.is_set():
                return
            is_full = len(waiting.answers) >= LONGEST_QUEUE
            self._missed += is_full
            is_first_missed = is_full and self._missed == 1
            if not is_full:
                waiting.answers.append(observation)
                if not waiting.some.is_set():
                    waiting.some.set()
                if not self._started:
                    self._start()
        if is_first_missed:
            _log.warning("observer %s is too slow: it misses answers", type(self._observer).__name__)

    def end(self) -> None:
        """Take no more answers; the observer still gets those that wait."""
        with self._lock:
            self._waiting.ended.set()
            self._waiting.some.set()

    def __del__(self) -> None:
        self.end()

    def _start(self) -> None:
        name = f"multirecall-observer-{type(self._observer).__name__}"
        with suppress(RuntimeError):  # the system cannot start another thread; the next answer tries again
            threading.Thread(target=_deliver, args=(self._waiting, self._observer), name=name, daemon=True).start()
            self._started = True


class Feeds:
    """The observers of an engine: an immutable tuple of feeds, replaced by one assignment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: tuple[Feed, ...] = ()

    def add(self, observer: Observer) -> Feed:
        """Let an observer see the answers from now on."""
        feed = Feed(observer)
        with self._lock:
            self._all = (*self._all, feed)
        return feed

    def drop(self, feed: Feed) -> None:
        """Show an observer no more answers."""
        with self._lock:
            self._all = tuple(one for one in self._all if one is not feed)
        feed.end()

    def close(self) -> None:
        """Drop all."""
        for feed in self._all:
            self.drop(feed)

    @property
    def missed(self) -> int:
        """The number of answers that observers were too slow for."""
        return sum(feed.missed for feed in self._all)

    def wanting(self, call: Call, request: Request) -> list[Feed]:
        """The feeds of the observers that want the answer to a request."""
        return [feed for feed in self._all if feed.wants(call, request)]


_feeds: WeakSet[Feed] = WeakSet()


def _begin_in_child() -> None:
    for feed in list(_feeds):
        feed._begin()


os.register_at_fork(after_in_child=_begin_in_child)


def _deliver(waiting: _Waiting, observer: Observer) -> None:
    """The loop of a feed's thread. It holds no feed, so that an unused one can be collected."""
    faulty = is_last = False
    while not is_last:
        waiting.some.wait()
        waiting.ended.wait(GATHER_S)
        waiting.some.clear()  # before the answers are taken, so that one that comes now is not left behind
        is_last = waiting.ended.is_set()
        while waiting.answers:
            try:
                observer.observe(waiting.answers.popleft())
            except Exception:  # noqa: BLE001 - an observer's fault must not end what the others need
                if not faulty:
                    name = type(observer).__name__
                    _log.warning("observer %s failed; later faults are not logged", name, exc_info=True)
                faulty = True

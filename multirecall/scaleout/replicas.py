"""The replicas of the shards: which are up, how far each is, and how those that were down come back."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from multirecall.csr import offsets_of
from multirecall.engine.path import fault_text
from multirecall.errors import BundleError
from multirecall.scaleout.wire import pack, unpack

APPLY_S = 10.0
"""Seconds that replicas have for a live change. One that takes longer is down until it has caught up."""

LOOK_S = 0.1
"""Seconds between two looks at the replicas while some are down; ten times as many while none is."""

SILENT_S = 3.0
"""Seconds after which a replica that does not say how far it is counts as down. Ray itself may need longer to notice
that a machine is gone, and calls to it wait meanwhile."""

PER_MESSAGE = 256
"""The number of changes that one message holds when a replica catches up."""

NOTHING = pack({}, {})
"""A message without content."""

_log = logging.getLogger("multirecall.scaleout")


class Replica(Protocol):
    """A process that holds a shard, as its client sees it."""

    def call(self, method: str, message: bytes) -> Future[bytes]:
        """Let it call `Shard.call`. An exception of the future means that the replica gave no answer."""

    def close(self) -> None:
        """End the process."""


@dataclass(slots=True, eq=False)
class Member:
    """A replica with what its client knows about it.

    Attributes:
        replica: the replica.
        shard: the number of its shard.
        name: what log lines and `health` call it.
        up: whether requests are sent to it.
        seq: the number of the last live change that it serves.
        running: calls that are not answered.
        asked: calls that were made.
        fault: why it is down, or was last.
        looked: the question how far it is that was not answered yet, or None.
        looked_at: the `time.monotonic()` of that question.
    """

    replica: Replica
    shard: int
    name: str
    up: bool = False
    seq: int = 0
    running: int = 0
    asked: int = 0
    fault: str | None = None
    looked: Future[bytes] | None = None
    looked_at: float = 0.0
    _counting: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def call(self, method: str, message: bytes) -> Future[bytes]:
        """Send a message. A fault at once is one of the future."""
        try:
            future = self.replica.call(method, message)
        except Exception as fault:  # noqa: BLE001 - whatever keeps it from being asked means that it gives no answer
            future = Future()
            future.set_exception(fault)
            return future
        with self._counting:
            self.running += 1
            self.asked += 1
        future.add_done_callback(self._note_end)
        return future

    def _note_end(self, _: Future[bytes]) -> None:
        with self._counting:
            self.running -= 1


class Replicas:
    """All replicas of all shards. Those that are up have every change that the client has published.

    Args:
        shards: the replicas of each shard.

    Attributes:
        members: the replicas of each shard, with what is known about them.
        seq: the number of the newest change that was published.
    """

    def __init__(self, shards: Sequence[Sequence[Replica]]) -> None:
        self.members = [
            [Member(replica, number, f"{number}.{place}") for place, replica in enumerate(replicas)]
            for number, replicas in enumerate(shards)
        ]
        self.seq = 0
        self._since: Callable[[int], Iterable[tuple[int, bytes]]] = lambda _: ()
        self._turn = threading.RLock()
        self._closed, self._due = threading.Event(), threading.Event()
        self._watch = threading.Thread(target=self._look_after, name="multirecall-replicas", daemon=True)

    def __iter__(self) -> Iterator[Member]:
        return (member for members in self.members for member in members)

    def start(self, limit_s: float) -> None:
        """Wait until every replica is loaded, then look after them.

        Raises:
            BundleError: one cannot be loaded, or not in time.
        """
        calls = [(member, member.call("ping", NOTHING)) for member in self]
        end = time.monotonic() + limit_s
        for member, call in calls:
            try:
                member.seq = _seq_of(call.result(max(0.0, end - time.monotonic())))
            except Exception as fault:  # noqa: BLE001 - whatever it is, the shard cannot be served
                raise BundleError(f"shard {member.shard} cannot be loaded: {fault_text(fault)}") from None
            member.up = True
        self._watch.start()

    def choose(self, shard: int, but: Iterable[Member]) -> Member | None:
        """The replica of a shard that is up, not among `but`, and has the fewest calls to answer; they take turns."""
        up = [member for member in self.members[shard] if member.up and member not in but]
        return min(up, key=lambda member: (member.running, member.asked), default=None)

    def put_down(self, member: Member, fault: str) -> None:
        """Send no requests to a replica until it answers again and has caught up."""
        if member.up:
            _log.warning("shard %s is down: %s", member.name, fault)
        member.up, member.fault = False, fault
        self._due.set()

    def follow(self, since: Callable[[int], Iterable[tuple[int, bytes]]]) -> None:
        """Read the changes from `since`: those after a number, each with its own."""
        self._since = since

    def advance(self, seq: int) -> None:
        """Let all replicas that are up apply the changes up to `seq`, and wait for them."""
        with self._turn:
            while behind := [member for member in self if member.up and member.seq < seq]:
                first = min(member.seq for member in behind)
                alike = [member for member in behind if member.seq == first]
                for part in self._changes(first):
                    self._apply([member for member in alike if member.up], part)
                for member in alike:
                    if member.up and member.seq < seq:
                        self.put_down(member, f"it is at change {member.seq} of {seq}")
            self.seq = max(self.seq, seq)

    def _apply(self, members: Sequence[Member], changes: bytes) -> None:
        """Let replicas apply the changes of one message. Those that do not are down."""
        calls = [member.call("apply", changes) for member in members]
        end = time.monotonic() + APPLY_S
        for member, call in zip(members, calls, strict=True):
            try:
                while member.up and not call.done() and time.monotonic() < end:
                    wait([call], LOOK_S)
                member.seq = _seq_of(call.result(0))
            except Exception as fault:  # noqa: BLE001 - whatever it is, the replica does not have the change
                self.put_down(member, fault_text(fault))

    def close(self) -> None:
        """End all replicas."""
        self._closed.set()
        self._due.set()
        if self._watch.is_alive():
            self._watch.join()
        for member in self:
            member.up = False
            member.replica.close()

    def _changes(self, seq: int) -> list[bytes]:
        """The messages with the changes after `seq`."""
        payloads = [payload for _, payload in self._since(seq)]
        return [
            _pack_changes(seq + start, payloads[start : start + PER_MESSAGE])
            for start in range(0, len(payloads), PER_MESSAGE)
        ]

    def _look_after(self) -> None:
        """Ask all replicas again and again how far they are."""
        while not self._closed.is_set():
            self._due.wait(LOOK_S if any(not member.up for member in self) else 10 * LOOK_S)
            self._due.clear()
            for member in self:
                if not self._closed.is_set():
                    self._look_at(member)

    def _look_at(self, member: Member) -> None:
        """Ask a replica how far it is, unless it is asked already; one that is down and says so catches up."""
        looked = member.looked
        if looked is None:
            looked = member.looked = member.call("ping", NOTHING)
            member.looked_at = time.monotonic()
        if not looked.done():
            if member.up and time.monotonic() > member.looked_at + SILENT_S:
                self.put_down(member, f"it has been silent for {SILENT_S:g} s")
            return
        member.looked = None
        try:
            seq = _seq_of(looked.result())
            if not member.up:
                self._catch_up(member, seq)
        except Exception as fault:  # noqa: BLE001 - it is not up; the next look tries again
            self.put_down(member, fault_text(fault))

    def _catch_up(self, member: Member, seq: int) -> None:
        """Let a replica at change `seq` apply those that came since; then it is up."""
        with self._turn:  # no change is published meanwhile
            for part in self._changes(seq):
                seq = _seq_of(member.call("apply", part).result(APPLY_S))
            if seq >= self.seq:
                member.seq, member.up = seq, True
                _log.warning("shard %s is up again", member.name)


def _seq_of(answer: bytes) -> int:
    """How far a replica says that it is; raises `RuntimeError` with the fault that it tells instead."""
    values, _ = unpack(answer)
    if "fault" in values:
        raise RuntimeError(values["fault"])
    return int(values["seq"])


def _pack_changes(after: int, payloads: Sequence[bytes]) -> bytes:
    return pack(
        {"after": after},
        {
            "bounds": offsets_of([len(payload) for payload in payloads]),
            "payloads": np.frombuffer(b"".join(payloads), np.uint8),
        },
    )

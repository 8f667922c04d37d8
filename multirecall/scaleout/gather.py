"""One message to every shard: to a replica of each, to another one after the usual time, until the deadline."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field

from multirecall.engine.path import fault_text
from multirecall.scaleout.latencies import Latencies
from multirecall.scaleout.replicas import Member, Replicas
from multirecall.scaleout.wire import Message, unpack


@dataclass(frozen=True, slots=True)
class Missing:
    """Why a shard gave no answer; `late` if it had no more time, else no replica of it is up."""

    why: str
    late: bool


@dataclass(slots=True)
class _Round:
    """The calls of one request."""

    replicas: Replicas
    method: str
    message: bytes
    asked: dict[int, list[Member]] = field(default_factory=dict)
    waiting: dict[Future[bytes], Member] = field(default_factory=dict)
    begun: dict[Future[bytes], float] = field(default_factory=dict)
    faults: dict[int, str] = field(default_factory=dict)

    def ask(self, shard: int) -> bool:
        """Ask a replica of the shard that was not asked yet; whether there is one."""
        member = self.replicas.choose(shard, self.asked.setdefault(shard, []))
        if member is None:
            return False
        self.asked[shard].append(member)
        call = member.call(self.method, self.message)
        self.waiting[call], self.begun[call] = member, time.monotonic()
        return True

    def is_asked(self, shard: int) -> bool:
        """Whether an answer of the shard may still come."""
        return any(member.shard == shard for member in self.waiting.values())


def gather(
    replicas: Replicas,
    shards: Sequence[int],
    method: str,
    message: bytes,
    limit_s: float,
    latencies: Latencies | None = None,
) -> dict[int, Message | Missing]:
    """The answer of each of these shards to a message, or why there is none.

    A shard whose replica fails is asked again, at another one, at once; a shard that takes longer than 95 % of all
    answers did is asked at another one as well (Dean & Barroso 2013: hedged requests). The first answer counts.

    Args:
        replicas: of all shards.
        shards: the numbers of those that are asked.
        method: of `Shard.call`.
        message: what is sent.
        limit_s: seconds after which the shards that have not answered are missing.
        latencies: those of requests like this one; None: no other replica is asked for being slow.
    """
    start = time.monotonic()
    found: dict[int, Message | Missing] = {}
    this = _Round(replicas, method, message)
    for shard in shards:
        if not this.ask(shard):
            found[shard] = _none_up(this, shard)
    p95 = None if latencies is None else latencies.p95
    hedge_at = None if p95 is None else start + p95
    while this.waiting:
        now = time.monotonic()
        if now >= start + limit_s:
            break
        if hedge_at is not None and now >= hedge_at:
            hedge_at = None
            for shard in shards:
                if shard not in found:
                    this.ask(shard)
        until = min(start + limit_s, hedge_at or start + limit_s)
        done, _ = wait(this.waiting, max(0.0, until - now), FIRST_COMPLETED)
        for call in done:
            member = this.waiting.pop(call)
            if member.shard not in found:
                _take(this, call, member, found, latencies)
        if len(found) == len(shards):
            break
    for shard in shards:
        if shard not in found:
            found[shard] = Missing(f"no answer within {limit_s * 1e3:.0f} ms", late=True)
    return found


def _take(
    this: _Round,
    call: Future[bytes],
    member: Member,
    found: dict[int, Message | Missing],
    latencies: Latencies | None,
) -> None:
    """Take the answer of one call, or ask another replica."""
    try:
        message = unpack(call.result())
    except Exception as fault:  # noqa: BLE001 - whatever it is, there is no answer
        fault_of_call = fault_text(fault)
    else:
        if "fault" in message[0]:  # the replica is well, and another one would say the same
            found[member.shard] = Missing(message[0]["fault"], late=False)
            return
        if "behind" not in message[0]:
            if latencies is not None:
                latencies.note(time.monotonic() - this.begun[call])
            found[member.shard] = message
            return
        fault_of_call = f"it is at change {message[0]['behind']}, and catches up"
    this.faults[member.shard] = fault_of_call
    this.replicas.put_down(member, fault_of_call)
    if not this.ask(member.shard) and not this.is_asked(member.shard):
        found[member.shard] = _none_up(this, member.shard)


def _none_up(this: _Round, shard: int) -> Missing:
    known = (this.faults.get(shard), *(member.fault for member in this.replicas.members[shard]))
    return Missing(f"no replica of it is up ({next(filter(None, known), 'not asked')})", late=False)

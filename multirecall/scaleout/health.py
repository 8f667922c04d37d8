"""The health of the replicas of a sharded engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace

from multirecall.engine.health import Health
from multirecall.engine.path import fault_text
from multirecall.scaleout.replicas import NOTHING, Member, Replicas
from multirecall.scaleout.wire import unpack

WAIT_S = 1.0
"""Seconds that replicas have to tell how they are."""


@dataclass(frozen=True, slots=True)
class ShardHealth:
    """The health of one replica of a shard.

    Attributes:
        shard: the number of the shard.
        replica: the number of the replica among those of the shard.
        up: whether requests are sent to it.
        running: calls that it has not answered.
        seq: the number of the last live change that it serves.
        memory_bytes: the memory of each path's arrays, by name, without those of the dataset.
        trouble: of each path that has any, what is wrong with it, by name.
        fault: why the replica is down or did not answer, or None.
    """

    shard: int
    replica: int
    up: bool
    running: int
    seq: int
    memory_bytes: Mapping[str, int] = field(default_factory=dict)
    trouble: Mapping[str, str] = field(default_factory=dict)
    fault: str | None = None


def shard_healths(replicas: Replicas) -> tuple[ShardHealth, ...]:
    """Ask every replica."""
    members = [(shard, place, one) for shard, own in enumerate(replicas.members) for place, one in enumerate(own)]
    calls = [member.call("health", NOTHING) for _, _, member in members]
    wait(calls, WAIT_S)
    return tuple(
        _health(shard, place, member, call) for (shard, place, member), call in zip(members, calls, strict=True)
    )


def with_shards(health: Health, shards: Sequence[ShardHealth]) -> Health:
    """The health of an engine whose paths have the memory of one replica of each shard, and the trouble of any."""
    first = {one.shard: one for one in reversed(shards) if one.memory_bytes}.values()
    paths = {
        name: replace(
            path,
            memory_bytes=sum(one.memory_bytes.get(name, 0) for one in first),
            trouble=next((f"shard {one.shard}: {one.trouble[name]}" for one in shards if name in one.trouble), None),
        )
        for name, path in health.paths.items()
    }
    return replace(health, paths=paths)


def _health(shard: int, place: int, member: Member, call: Future[bytes]) -> ShardHealth:
    fault = None if member.up else member.fault
    paths: dict[str, tuple[int, str | None]] = {}
    try:
        paths = unpack(call.result(0))[0]["paths"]
    except Exception as silence:  # noqa: BLE001 - whatever it is, the replica does not tell how it is
        fault = fault or fault_text(silence)
    memory = {name: held for name, (held, _) in paths.items()}
    trouble = {name: wrong for name, (_, wrong) in paths.items() if wrong}
    return ShardHealth(shard, place, member.up, member.running, member.seq, memory, trouble, fault)

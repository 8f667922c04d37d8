"""Replicas as Ray actors, those of one shard on different nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

from multirecall.engine.path import fault_text
from multirecall.errors import MultirecallError, RequestError
from multirecall.scaleout.cluster import joined_cluster
from multirecall.scaleout.import_names import import_name
from multirecall.scaleout.layout import Layout
from multirecall.scaleout.shard import Shard
from multirecall.scaleout.wire import pack

PLACING_S = 30.0
"""Seconds that Ray has to find room for the replicas."""

SPARE_THREADS = 2
"""Threads of a replica beside those that answer requests, so that changes and looks at its health get through."""


class ShardActor:
    """What runs in an actor. A bundle that cannot be loaded is what it answers, in place of a failing actor."""

    def __init__(self, folder: str, number: int, plugins: Sequence[str]) -> None:
        self._fault: bytes | None = None
        try:
            self._shard = Shard(folder, number, plugins)
        except MultirecallError as fault:
            self._fault = pack({"fault": fault_text(fault)}, {})

    def call(self, method: str, message: bytes) -> bytes:
        """As `Shard.call`."""
        return self._fault or self._shard.call(method, message)


class RayReplica:
    """A replica in a Ray actor. Ray sends bytes as they are."""

    def __init__(self, actor: Any, kill: Callable[[Any], None]) -> None:
        self._actor = actor
        self._kill = kill

    def call(self, method: str, message: bytes) -> Future[bytes]:
        """As `Replica.call`."""
        future: Future[bytes] = self._actor.call.remote(method, message).future()
        return future

    def close(self) -> None:
        """End the actor for good."""
        self._kill(self._actor)


def start_replicas(
    folder: Path,
    layout: Layout,
    n_replicas: int,
    address: str | None,
    cpus: float,
    threads: int,
    plugins: Sequence[type],
) -> tuple[list[list[RayReplica]], Callable[[], None]]:
    """Start the actors of every shard, which load their bundles meanwhile; arguments as in `ShardedEngine.connect`.

    Returns:
        The replicas of each shard, and what gives their room back once they are closed.

    Raises:
        RequestError: there is no such cluster, it has no room for them, or workers cannot import a plug-in.
        MissingExtra: Ray is not installed.
    """
    n_shards, named = len(layout.shards), [import_name(one) for one in plugins]
    with ExitStack() as stack:
        ray = stack.enter_context(
            joined_cluster(address, "ShardedEngine.connect", cpus=int(n_shards * n_replicas * cpus) + 1)
        )
        rooms = _find_room(ray, n_shards, n_replicas, cpus, stack)
        end = stack.pop_all().close
    actor = ray.remote(ShardActor)

    def start(shard: int, place: int) -> RayReplica:
        options = {
            "num_cpus": cpus,
            "max_restarts": -1,
            "max_concurrency": threads + SPARE_THREADS,
            "scheduling_strategy": import_module("ray.util.scheduling_strategies").PlacementGroupSchedulingStrategy(
                rooms[shard], placement_group_bundle_index=place
            ),
        }
        return RayReplica(actor.options(**options).remote(str(folder.resolve()), shard, named), ray.kill)

    return [[start(shard, place) for place in range(n_replicas)] for shard in range(n_shards)], end


def _find_room(ray: Any, n_shards: int, n_replicas: int, cpus: float, stack: ExitStack) -> list[Any]:
    """A placement group for the replicas of each shard, on different nodes if there are enough; `stack` removes it."""
    groups = import_module("ray.util.placement_group")
    n_nodes = sum(node["Alive"] for node in ray.nodes())
    spread = "STRICT_SPREAD" if n_nodes >= n_replicas else "SPREAD"
    rooms = []
    for _ in range(n_shards):
        rooms.append(groups.placement_group([{"CPU": cpus}] * n_replicas, strategy=spread))
        stack.callback(groups.remove_placement_group, rooms[-1])
    ready, _ = ray.wait([room.ready() for room in rooms], num_returns=n_shards, timeout=PLACING_S)
    if len(ready) < n_shards:
        having = ray.cluster_resources().get("CPU", 0)
        raise RequestError(
            f"connect: the cluster has no room for {n_shards} shards of {n_replicas} replicas with {cpus:g} CPUs each: "
            f"it has {having:g} CPUs on {n_nodes} nodes; add nodes, or lower cpus or replicas"
        )
    return rooms

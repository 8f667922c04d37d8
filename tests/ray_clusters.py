"""Clusters of Ray on this machine, which only its own processes reach."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
ENVIRONMENT = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # then Ray listens on the loopback interface alone, on Linux as well
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",  # Ray would write a token into the user's home
}
MEMORY = 80_000_000
"""Bytes of the object store of a node; Ray takes no less than 75 MiB."""

os.environ |= ENVIRONMENT  # Ray reads some of it when it is imported


@contextmanager
def ray_cluster(*cpus: int) -> Iterator[Any]:
    """A `ray.cluster_utils.Cluster` of a head without CPUs and a node for each number, to which Ray is connected.

    A lost node is noticed within two seconds. The commands that this process runs find the cluster at its `address`.
    """
    import ray
    from ray._private import ray_constants
    from ray.cluster_utils import Cluster

    ray_constants.ENABLE_RAY_CLUSTER = False  # should something have imported Ray before
    head = {
        "num_cpus": 0,
        "include_dashboard": False,
        "_system_config": {"health_check_period_ms": 500, "health_check_failure_threshold": 3},
    }
    cluster = Cluster(initialize_head=True, head_node_args={**head, **_node()})
    try:
        for number in cpus:
            add_node(cluster, number)
        ray.init(address=cluster.address, log_to_driver=False)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def add_node(cluster: Any, cpus: int) -> Any:
    """Add a node, and wait until it is there."""
    return cluster.add_node(num_cpus=cpus, **_node())


def kill_node(cluster: Any, node: Any) -> None:
    """Lose a machine: all processes of a node end at once. Ray alone would leave its actors alive for some seconds."""
    actors = [process for process, _ in _children([node])]
    cluster.remove_node(node, allow_graceful=False)
    for process in actors:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def processes_of(cluster: Any, actor: str) -> list[int]:
    """The processes in which the actors of a class run, on all nodes."""
    return [process for process, title in _children(cluster.list_all_nodes()) if title.startswith(f"ray::{actor}")]


def _children(nodes: Iterable[Any]) -> list[tuple[int, str]]:
    """The processes that nodes have started, with their titles."""
    raylets = {node.all_processes["raylet"][0].process.pid for node in nodes}
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            title = (folder / "cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent in raylets:
            found.append((int(folder.name), title))
    return sorted(found)


def _node() -> dict[str, Any]:
    return {"node_ip_address": HOST, "object_store_memory": MEMORY}

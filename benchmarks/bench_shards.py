"""Shards on a Ray cluster of three nodes on this machine: time, memory, and nodes killed under load.

    python benchmarks/bench_shards.py [--kills 20] [--items 100000]

Writes `results/sharded.json`. Everything shares the cores of this machine, so that a request waits for Ray and for the
other processes: what counts is the time beyond that of the slowest shard.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from _harness import machine, write
from _served import five_paths
from _shard_chaos import endure, right_answers

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from ray_clusters import add_node, kill_node, ray_cluster

from multirecall import Engine
from multirecall.engine.footprint import held_bytes
from multirecall.scaleout import ShardedEngine, shard_bundle
from multirecall.scaleout.gather import Missing

N_SHARDS = 3
N_REPLICAS = 2
REQUESTS = 500
CPUS = 0.5


def main() -> None:
    """Measure, and write the result file."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--items", type=int, default=100_000)
    chosen = options.parse_args()
    data, config = five_paths(20_000, chosen.items, 1_000_000)
    users = data.users.ids.ids()[:: max(1, data.n_users // REQUESTS)][:REQUESTS].tolist()
    with tempfile.TemporaryDirectory() as place, Engine(config).fit(data) as whole:
        folder = Path(place)
        whole.save(folder / "bundle")
        report = shard_bundle(folder / "bundle", N_SHARDS, folder / "shards")
        single = _times(whole, users)
        right = right_answers(whole, users[:100])
        memory = {
            "single_bytes": sum(held_bytes(path.retriever, whole.data) for path in _state(whole).paths),
            "split_bytes": sum(one.split for one in report.paths.values()),
            "replicated_bytes": sum(one.replicated for one in report.paths.values()),
            "before_bytes": sum(one.before for one in report.paths.values()),
            "data_bytes": report.data,
            "whole_paths": [name for name, one in report.paths.items() if one.whole is not None],
        }
        with (
            ray_cluster(4, 4, 4) as cluster,
            ShardedEngine.connect(folder / "shards", replicas=N_REPLICAS, cpus=CPUS) as over,
        ):
            with _slowest_shards() as slowest:
                sharded = _times(over, users)
            beyond = (np.array(sharded) - np.array(slowest[-len(users) :])) * 1e3
            nodes = list(cluster.worker_nodes)

            def kill(_: int) -> None:
                kill_node(cluster, nodes.pop(0))

            seen = endure(over, right, kill, lambda _: nodes.append(add_node(cluster, 4)), chosen.kills)
            held = {one.shard: sum(one.memory_bytes.values()) for one in over.shard_health()}
        write(
            "sharded",
            {
                "machine": machine(),
                "items": data.n_items,
                "shards": N_SHARDS,
                "replicas": N_REPLICAS,
                "single_ms": _summary(np.array(single) * 1e3),
                "sharded_ms": _summary(np.array(sharded) * 1e3),
                "slowest_shard_ms": _summary(np.array(slowest[-len(users) :]) * 1e3),
                "beyond_slowest_ms": _summary(beyond),
                "memory": {**memory, "shards_bytes": list(held.values())},
                "kills": {
                    "n": len(seen.recovery_s),
                    "full": seen.full,
                    "partial": seen.partial,
                    "failed": len(seen.failed),
                    "wrong": len(seen.wrong),
                    "examples": (seen.failed + seen.wrong)[:5],
                    "recovery_s": [round(one, 2) for one in seen.recovery_s],
                    "full_after_s": [round(one, 2) for one in seen.full_after_s],
                },
            },
        )


def _state(engine: Engine) -> Any:
    return engine._current()


def _times(engine: Any, users: list[Any]) -> list[float]:
    """Seconds of each request, one after the other, after a round that does not count."""
    for user in users[:50]:
        engine.retrieve(user)
    times = []
    for user in users:
        start = perf_counter()
        engine.retrieve(user)
        times.append(perf_counter() - start)
    return times


@contextmanager
def _slowest_shards() -> Iterator[list[float]]:
    """The seconds that the slowest shard of each request needed, as it says itself."""
    module: Any = import_module("multirecall.scaleout.shards")
    seconds: list[float] = []
    own = module.gather

    def gather(*given: Any) -> Any:
        found = own(*given)
        seconds.append(max(one[0]["ms"] for one in found.values() if not isinstance(one, Missing)) / 1e3)
        return found

    module.gather = gather
    try:
        yield seconds
    finally:
        module.gather = own


def _summary(values: Any) -> dict[str, float]:
    return {f"p{share}": round(float(np.quantile(values, share / 100)), 3) for share in (50, 95, 99)}


if __name__ == "__main__":
    main()

"""Shards on a Ray cluster of three nodes on this machine: right answers, while nodes are killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from _shard_chaos import endure, right_answers
from ray_clusters import add_node, kill_node, ray_cluster
from sharded import PATHS, VISITORS, assert_same

from multirecall import Engine, EngineConfig
from multirecall.errors import BundleError, RequestError
from multirecall.scaleout import ShardedEngine, ray_replicas, shard_bundle
from multirecall.testing.worlds import small_shop

pytestmark = pytest.mark.slow
CPUS = 0.25
KILLS = 2


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A bundle, and its three shards."""
    folder = tmp_path_factory.mktemp("ray")
    with Engine(EngineConfig.model_validate({"paths": PATHS, "threads": 1})).fit(small_shop()) as engine:
        engine.save(folder / "bundle")
    shard_bundle(folder / "bundle", 3, folder / "shards")
    return folder / "bundle", folder / "shards"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Three nodes and a head without CPUs."""
    with ray_cluster(2, 2, 2) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def over(cluster: Any, bundles: tuple[Path, Path]) -> Iterator[ShardedEngine]:
    """Two replicas of each shard."""
    with ShardedEngine.connect(bundles[1], cpus=CPUS) as engine:
        yield engine


def test_answers_are_those_of_the_whole(bundles: tuple[Path, Path], over: ShardedEngine) -> None:
    with Engine.load(bundles[0]) as whole:
        for user in (*range(8), *VISITORS):
            for filters in ({}, {"where": {"group": "even"}, "seen": True}):
                assert_same(whole.retrieve(user, **filters), over.retrieve(user, **filters))  # type: ignore[arg-type]
        assert_same(whole.similar(7), over.similar(7))
        assert whole.explain(3, 7) == over.explain(3, 7)
    assert all(one.up and one.memory_bytes["top"] for one in over.shard_health())


def test_nodes_die_and_no_request_fails(cluster: Any, bundles: tuple[Path, Path], over: ShardedEngine) -> None:
    over.add_interactions([{"user_id": user, "item_id": 3, "timestamp": 1_708_000_000} for user in (1, 900)])
    over.add_items([{"item_id": 990, "group": "odd"}])
    nodes = list(cluster.worker_nodes)
    right = right_answers(over, [*range(20), 900])

    def kill(number: int) -> None:
        kill_node(cluster, nodes.pop(0))

    seen = endure(over, right, kill, lambda _: nodes.append(add_node(cluster, 2)), KILLS)
    assert seen.failed == []
    assert seen.wrong == []
    assert seen.partial == 0, "the other replica of each shard lives"
    assert seen.full > 50
    assert len(seen.recovery_s) == KILLS
    assert all(one.up and one.seq == over.last_change == 2 for one in over.shard_health())
    assert right_answers(over, list(right)) == right


def test_a_cluster_without_room_says_what_it_has(
    cluster: Any, bundles: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_replicas, "PLACING_S", 0.5)
    with pytest.raises(RequestError, match=r"no room for 3 shards of 2 replicas with 50 CPUs each: it has 6 CPUs on"):
        ShardedEngine.connect(bundles[1], cpus=50.0)


def test_a_shard_that_cannot_be_loaded_is_named(cluster: Any, bundles: tuple[Path, Path], tmp_path: Path) -> None:
    shard_bundle(bundles[0], 2, tmp_path / "out")
    (tmp_path / "out/shards/1/CURRENT").unlink()
    with pytest.raises(BundleError, match=r"shard 1 cannot be loaded: .*CURRENT: is missing"):
        ShardedEngine.connect(tmp_path / "out", replicas=1, cpus=CPUS)

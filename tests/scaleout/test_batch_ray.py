"""Batches by actors of Ray, which are killed, as are their nodes and their driver: a cluster on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from batches import USERS, contents, fill, fill_with_killed_actors, fill_with_killed_drivers, make_bundle
from ray_clusters import ray_cluster

from multirecall.errors import RequestError

pytestmark = pytest.mark.slow
ray = pytest.importorskip("ray", reason="ray is not installed: multirecall[ray]")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with ray_cluster(1, 1) as found:
        yield found


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("ray") / "bundle")


@pytest.fixture(scope="module")
def expected(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole") / "out"
    fill(bundle, folder, workers=1)
    return contents(folder)


def test_actors_write_what_processes_write(cluster: Any, bundle: Path, expected: Any, tmp_path: Path) -> None:
    fill(bundle, tmp_path / "out", ray="auto", workers=None)
    assert contents(tmp_path / "out") == expected
    assert ray.is_initialized(), "who has begun it ends it"


def test_killed_actors_and_nodes_lose_nothing(cluster: Any, bundle: Path, expected: Any, tmp_path: Path) -> None:
    killed = fill_with_killed_actors(bundle, tmp_path / "out", cluster, actors=4, nodes=1, seed=3)
    assert killed == (4, 1)
    assert contents(tmp_path / "out") == expected
    assert not list((tmp_path / "out").glob(".*"))


def test_a_killed_driver_is_gone_on_from(cluster: Any, bundle: Path, expected: Any, tmp_path: Path) -> None:
    pl.DataFrame({"user_id": USERS}).write_parquet(tmp_path / "users.parquet")
    address = ("--ray", cluster.address)
    assert fill_with_killed_drivers(bundle, tmp_path / "users.parquet", tmp_path / "out", 1, 4, *address) == 1
    assert contents(tmp_path / "out") == expected


def test_no_cluster_at_the_address(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(RequestError, match=r"ray 'nowhere': .*; start a cluster with ray start --head"):
        fill(bundle, tmp_path / "out", ray="nowhere")

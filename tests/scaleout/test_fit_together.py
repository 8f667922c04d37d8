"""A fit by several processes, started by torchrun and by Ray, beside the fit of one process."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import output_of
from ray_clusters import ray_cluster

from multirecall import Dataset, Engine, EngineConfig
from multirecall.blocks import blocks_run_by
from multirecall.cli.fit import _without
from multirecall.datasets import generate
from multirecall.errors import ConfigError, ProcessLost, RequestError
from multirecall.progress import SILENT
from multirecall.registry import retriever_class
from multirecall.scaleout import ray_fit
from multirecall.scaleout.process_group import VARIABLES, joined_processes
from multirecall.scaleout.ray_blocks import RayBlocks, do_blocks
from multirecall.scaleout.ray_fit import fit_on_ray

TOML = """
[[paths]]
retriever = "item_cf"
[[paths]]
retriever = "sequence"  # whose settings are chosen, in blocks, while the other process waits for a tower
[[paths]]
retriever = "two_tower"
params = { dim = 16, epochs = 2, precision = "float32" }
[[paths]]
retriever = "sasrec"
params = { dim = 16, epochs = 1, dropout = 0.0, precision = "float32" }
"""
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A log that is large enough to learn the fusion from, and a config whose towers are not the first paths."""
    folder = tmp_path_factory.mktemp("shop")
    log = generate(1_500, 600, 20_000).interactions
    log.write_parquet(folder / "interactions.parquet")
    (folder / "engine.toml").write_text(TOML)
    return ["--interactions", str(folder / "interactions.parquet"), "--config", str(folder / "engine.toml")]


@pytest.fixture(scope="module")
def alone(arguments: list[str]) -> Engine:
    config = EngineConfig.model_validate({"paths": [], **_config_of(arguments)})
    return Engine(config).fit(Dataset.load([arguments[1]], config=config.data))


def _config_of(arguments: list[str]) -> dict[str, Any]:
    return EngineConfig.from_toml(arguments[3]).model_dump(exclude_unset=True)


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """Two nodes of one CPU each."""
    module = pytest.importorskip("ray")
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"  # the actors inherit it
    with ray_cluster(1, 1):
        yield module
    del os.environ["GLOO_SOCKET_IFNAME"]


def require_same_answers(bundle: Path, alone: Engine) -> None:
    """The bundle has one version, learned the same fusion, and answers as the other engine does but for rounding."""
    with Engine.load(bundle) as together:
        assert len(Engine.versions(bundle)) == 1
        learned, expected = together.fusion_report(), alone.fusion_report()
        assert learned is not None
        assert expected is not None
        assert expected.n_requests
        assert learned.strategy == expected.strategy
        users = [f"u{number:05}" for number in range(0, 1_500, 10)]
        assert together.paths == alone.paths
        for path in ("two_tower", "sasrec"):
            assert np.abs(together.vectors(path)[1] - alone.vectors(path)[1]).max() < 1e-3
        pairs = zip(together.retrieve_batch(users, 20), alone.retrieve_batch(users, 20), strict=True)
        shared = [len({*one.ids.tolist()} & {*other.ids.tolist()}) for one, other in pairs]
        assert np.mean(shared) > 19.5


@slow
def test_processes_of_torchrun_write_the_bundle_of_one_process(
    arguments: list[str], alone: Engine, tmp_path: Path
) -> None:
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    output_of(
        *run, "-m", "multirecall", "fit", *arguments, "--out", tmp_path / "bundle", "--distributed",
        environment=ENVIRONMENT,
    )  # fmt: skip
    require_same_answers(tmp_path / "bundle", alone)


@slow
def test_actors_of_ray_write_the_bundle_of_one_process(
    ray: Any, arguments: list[str], alone: Engine, tmp_path: Path
) -> None:
    fit_on_ray([*arguments, "--out", str(tmp_path / "bundle")], 2, "auto")
    require_same_answers(tmp_path / "bundle", alone)
    alone.save(tmp_path / "alone")
    lists = [sorted(folder.rglob("paths/item_cf/*.npy")) for folder in (tmp_path / "bundle", tmp_path / "alone")]
    assert [file.read_bytes() for file in lists[0]] == [file.read_bytes() for file in lists[1]]
    assert lists[0]


class Actor:
    """Does blocks as the processes of a fit do."""

    def blocks(self, name: str, bounds: list[tuple[int, int]], *arguments: Any) -> Any:
        return do_blocks(name, bounds, *arguments)


class Broken:
    """Ends when it is asked."""

    def blocks(self, *_: Any) -> Any:
        os._exit(1)


class Busy:
    """Has something else to do first, as a process that still trains towers has."""

    def blocks(self, *_: Any) -> Any:
        threading.Event().wait()


@slow
@pytest.mark.parametrize("kinds", [(Actor, Actor), (Broken, Actor), (Broken, Broken), (Busy, Actor)])
def test_lists_counted_by_actors_are_those_counted_here_to_the_bit(
    ray: Any, arguments: list[str], kinds: tuple[type, type]
) -> None:
    data = Dataset.load([arguments[1]])
    actors = [ray.remote(num_cpus=1)(kind).remote() for kind in kinds]
    for name in ("item_cf", "sequence"):
        kind: Any = retriever_class(name)
        here, there = (kind(kind.Config()) for _ in range(2))
        here.fit(data, rng=np.random.default_rng(0), progress=SILENT)
        with blocks_run_by(RayBlocks(actors)):
            there.fit(data, rng=np.random.default_rng(0), progress=SILENT)
        own, other = here._neighbours.arrays(), there._neighbours.arrays()
        assert own["offsets"].size > 2 * 256, "there are several blocks"
        assert all(np.array_equal(own[part], other[part]) for part in own)
    for actor in actors:
        ray.kill(actor)


@slow
def test_a_fault_of_an_actor_is_told(ray: Any, tmp_path: Path) -> None:
    lost = str(tmp_path / "lost.parquet")
    with pytest.raises(ProcessLost, match=r"process 0 of 2: error: interactions: .*lost\.parquet: no such file"):
        fit_on_ray(["--interactions", lost, "--out", str(tmp_path / "bundle")], 2, "auto")


@slow
def test_an_actor_that_ends_ends_the_fit(ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_fit, "GRACE_S", 0.1)

    class Ending:
        def end(self) -> str:
            os._exit(1)

        def wait(self) -> str:
            threading.Event().wait()
            return ""

    actors = [ray.remote(num_cpus=1)(Ending).remote() for _ in range(2)]
    with pytest.raises(ProcessLost, match="process 1 of 2: its actor ended"):
        ray_fit._see_through(ray, {actors[0].wait.remote(): 0, actors[1].end.remote(): 1})
    for actor in actors:
        ray.kill(actor)


@slow
def test_more_workers_than_cpus_are_refused(ray: Any) -> None:
    with pytest.raises(ConfigError, match="--workers 3: the cluster has 2 CPUs; ask for fewer workers"):
        fit_on_ray([], 3, "auto")


def test_a_cluster_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    module = pytest.importorskip("ray")

    def fail(address: str, **_: object) -> None:
        raise ConnectionError("nobody answers")

    monkeypatch.setattr(module, "is_initialized", lambda: False)
    monkeypatch.setattr(module, "init", fail)
    with pytest.raises(RequestError, match="ray 'auto': nobody answers; start a cluster with ray start"):
        fit_on_ray([], 2, "auto")
    with pytest.raises(RequestError, match=r"ray '127\.0\.0\.1:1': .*; start a cluster with ray start"):
        fit_on_ray([], 2, "127.0.0.1:1")


def test_a_group_needs_the_environment_of_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=r"the variable RANK is not set.*torchrun"), joined_processes():
        pass


def test_actors_get_the_arguments_but_for_those_of_ray() -> None:
    given = ["--ray", "auto", "--out", "b", "--workers=3", "--interactions", "log.parquet", "--ray=x"]
    assert _without(given, "--ray", "--workers") == ["--out", "b", "--interactions", "log.parquet"]

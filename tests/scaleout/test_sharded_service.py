"""A service over a sharded engine, and the commands that make and serve one."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from _served import serving as serving_process
from local_replicas import local_replicas
from service_client import detail, serving
from sharded import PATHS

from multirecall import Engine, EngineConfig
from multirecall.scaleout import ShardedEngine, shard_bundle
from multirecall.testing.worlds import small_shop


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle and, below `shards`, its two shards."""
    with Engine(EngineConfig.model_validate({"paths": PATHS, "threads": 1})).fit(small_shop()) as engine:
        engine.save(tmp_path / "bundle")
    shard_bundle(tmp_path / "bundle", 2, tmp_path / "shards")
    return tmp_path


def run(*arguments: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "multirecall", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=env)


def test_the_routes_answer_as_over_the_whole(folder: Path) -> None:
    members = local_replicas(folder / "shards", 2)
    with Engine.load(folder / "bundle") as whole, ShardedEngine.over(folder / "shards", members) as over:
        mine, theirs = serving(over, writable=True), serving(whole, writable=True)
        for route, body in (
            ("/v1/retrieve", {"user_id": 3, "k": 12, "fields": ["title"]}),
            ("/v1/retrieve", {"history": [3, 5], "k": 12, "where": {"group": ["odd"]}}),
            ("/v1/similar", {"item_id": 7, "k": 5}),
            ("/v1/explain", {"user_id": 3, "item_id": 7}),
        ):
            answers = [client("POST", route, body).json() for client in (mine, theirs)]
            for one in answers:
                one.pop("request_id", None)
                for status in one.get("status", {}).values():
                    status.pop("ms")
            assert answers[0] == answers[1]
        events = {"interactions": [{"user_id": 3, "item_id": 9, "timestamp": 1_708_000_000}]}
        version = mine("POST", "/v1/interactions", events).json()["version"]
        read = mine("POST", "/v1/retrieve", {"user_id": 3}, headers={"X-Min-Version": str(version)})
        assert 9 not in read.json()["items"]
        assert "this engine is sharded" in detail(mine("POST", "/v1/refresh", {}), 400)
        assert mine("GET", "/health/ready").json()["status"] == "ready"
        for one in members[1]:
            one.kill()
        lacking = mine("POST", "/v1/retrieve", {"user_id": 4}).json()
        assert lacking["status"]["top"]["state"] == "partial"
        assert "shard 1" in lacking["status"]["top"]["detail"]


def test_the_command_splits_a_bundle_and_says_how(folder: Path) -> None:
    made = run("shard", folder / "bundle", "--shards", 3, "--out", folder / "three")
    assert made.returncode == 0, made.stderr
    assert "in parts" in made.stdout
    assert "items in each of 3 shards" in " ".join(made.stdout.split())
    again = run("shard", folder / "bundle", "--shards", 3, "--out", folder / "three")
    assert (again.returncode, "is not empty" in again.stderr) == (1, True)
    loaded = run("retrieve", folder / "three")
    assert loaded.returncode == 1
    assert "multirecall serve" in loaded.stderr


def test_what_does_not_go_with_shards_is_refused(folder: Path) -> None:
    several = run("serve", folder / "shards", "--workers", 2)
    assert (several.returncode, "leave --workers out" in several.stderr) == (1, True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    nobody = run("serve", folder / "shards", "--ray", f"127.0.0.1:{port}")
    assert nobody.returncode == 1
    assert f"ray '127.0.0.1:{port}': " in nobody.stderr
    assert "Connection refused; start a cluster with ray start --head" in " ".join(nobody.stderr.split())
    whole = run("serve", folder / "bundle", "--ray", "auto")
    assert (whole.returncode, "is not sharded" in whole.stderr) == (1, True)


@pytest.mark.slow
def test_the_command_serves_shards_on_this_machine(folder: Path) -> None:
    with serving_process(folder / "shards", "--replicas", "1") as served:
        request = urllib.request.Request(
            f"http://127.0.0.1:{served.port}/v1/retrieve",
            json.dumps({"user_id": 3, "k": 5}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            said = json.load(answer)
    with Engine.load(folder / "bundle") as whole:
        assert said["items"] == whole.retrieve(3, 5).ids.tolist()
    assert {one["state"] for one in said["status"].values()} == {"ok"}

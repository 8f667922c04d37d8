"""`multirecall serve` as a process: it says where it listens, answers over a socket, and ends when it is told to."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from service_client import shop_engine

from multirecall import Engine

COMMAND = [sys.executable, "-m", "multirecall"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "bundle"
    engine = Engine(shop_engine().config).fit(shop_engine().data)
    engine.save(folder)
    engine.close()
    return folder


@pytest.fixture
def started(bundle: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A service on a free port, with its address."""
    settings = tmp_path / "serve.toml"
    settings.write_text("[limits]\nheader_s = 0.2\nidle_s = 60\nshutdown_s = 5\n")
    command = [*COMMAND, "serve", str(bundle), "--settings", str(settings), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            said = process.stderr.readline()
            found = re.search(r"http://[\d.:]+", said)
            assert found is not None, said + process.stderr.read()
            yield process, found[0]
        finally:
            process.kill()


def test_a_process_serves_and_ends(started: tuple[subprocess.Popen[str], str]) -> None:
    process, address = started
    with httpx.Client(base_url=address, timeout=60) as client:
        answer = client.post("/v1/retrieve", json={"user_id": 3, "k": 5})
        assert answer.json()["items"] == shop_engine().retrieve(3, 5).ids.tolist()
        assert client.get("/v1/items/4").status_code == 200
        assert client.post("/v1/retrieve", content=b"x" * 2_000_000).status_code == 413
        assert client.post("/v1/items", json={}).status_code in (404, 405)
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as slow:
            slow.sendall(b"POST /v1/retrieve HT")
            assert slow.recv(100) == b"", "a client that does not send its head is disconnected"
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None
    lines = process.stderr.read()
    assert process.wait(timeout=60) in (0, -signal.SIGTERM)
    assert '"route":"/v1/retrieve","status":200' in lines
    assert "Traceback" not in lines


def test_the_start_says_what_is_wrong(bundle: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "serve", str(bundle), "--host", "0.0.0.0"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert "needs API keys" in done.stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [*COMMAND, "serve", str(bundle), "--port", port], capture_output=True, text=True, timeout=120, check=False
        )
    assert done.returncode == 1
    assert "cannot be listened on" in done.stderr


def test_a_key_is_printed_once() -> None:
    done = subprocess.run([*COMMAND, "serve-key", "ranker"], capture_output=True, text=True, timeout=120, check=True)
    key = tomllib.loads(done.stdout)["key"][0]
    assert (key["name"], key["scopes"]) == ("ranker", ["read"])
    assert len(done.stderr.split(": ")[1].strip()) == 43


def test_the_demo_serves_its_explorer(tmp_path: Path) -> None:
    config = tmp_path / "engine.toml"
    config.write_text('[[paths]]\nretriever = "popularity"\n[fusion]\nstrategy = "rrf"\n')
    sizes = ["--users", "60", "--items", "60", "--interactions", "1500", "--config", str(config)]
    command = [*COMMAND, "demo", *sizes, "--serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            found = next(match for line in process.stdout if (match := re.search(r"(http://\S+)/explore", line)))
            with httpx.Client(base_url=found[1], timeout=60) as client:
                page = client.get("/explore")
                assert page.status_code == 200
                assert "popularity" in page.text
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        finally:
            process.kill()

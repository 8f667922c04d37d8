"""`multirecall serve --workers`: one process writes, the others follow it and pass writes on, any may be killed."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from patience import PATIENCE_S, eventually
from prometheus_client.parser import text_string_to_metric_families
from service_client import detail, fitted

from multirecall import Engine

COMMAND = [sys.executable, "-m", "multirecall", "serve"]
SETTINGS = 'keys = { keys_env = "SHOP_KEYS" }\nwritable = true\n[limits]\nidle_s = 600\nshutdown_s = 3\n'
READ, BOTH = ({"Authorization": f"Bearer {name * 32}"} for name in "rb")
KEYS = {"SHOP_KEYS": f"read:{'r' * 32} read+write:{'b' * 32}"}
USER = 3
NOBODY = "no worker writes now, so that nothing has changed; try again"
PERHAPS = (
    "the worker that writes ended before it answered, so the change may be stored or not; "
    "look up what it changed, and send it again only if it is missing"
)


@dataclass
class Running:
    """A service in processes of its own."""

    process: subprocess.Popen[bytes]
    log: Path
    bundle: Path
    address: str = ""

    def client(self) -> httpx.Client:
        """A client with a connection of its own."""
        return httpx.Client(base_url=self.address, headers=BOTH, timeout=PATIENCE_S)

    @contextmanager
    def workers(self, n: int) -> Iterator[dict[int, httpx.Client]]:
        """For each of `n` workers, a client whose connection leads there."""
        found: dict[int, httpx.Client] = {}
        with ExitStack() as stack:

            def all_found() -> bool:
                client = stack.enter_context(self.client())
                number = client.get("/health/ready").json()["process"]
                if number in found:
                    client.close()
                found.setdefault(number, client)
                return len(found) == n

            eventually(all_found)
            yield found


@contextmanager
def running(folder: Path, n: int) -> Iterator[Running]:
    """A writable service of `n` workers."""
    with fitted() as engine:
        engine.save(folder / "bundle")
    (folder / "serve.toml").write_text(SETTINGS)
    command = [*COMMAND, str(folder / "bundle"), "--settings", str(folder / "serve.toml"), "--port", "0"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, "--workers", str(n)], stderr=log, env={**os.environ, **KEYS})
    service = Running(process, folder / "log", folder / "bundle")
    try:
        eventually(lambda: "limits:" in service.log.read_text() or process.poll() is not None)
        found = re.search(r"http://[\d.:]+", service.log.read_text())
        assert found is not None, service.log.read_text()
        service.address = found[0]
        yield service
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("workers"), 3) as started:
        yield started


def event(item: int) -> dict[str, Any]:
    return {"interactions": [{"user_id": USER, "item_id": item, "timestamp": 1_720_000_000 + item}]}


def writer_of(workers: dict[int, httpx.Client]) -> int:
    [number] = [one for one, client in workers.items() if client.get("/health/ready").json()["writes"]]
    return number


def history(client: httpx.Client, version: int) -> list[int]:
    answer = client.get(f"/v1/users/{USER}/history", headers={"X-Min-Version": str(version), "X-Deadline-Ms": "9000"})
    assert answer.status_code == 200, answer.text
    items: list[int] = answer.json()["items"]
    return items


def sample(client: httpx.Client, name: str, **labels: str) -> float:
    """The sum of the samples of a metric with these labels."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return sum(
        one.value
        for family in families
        for one in family.samples
        if one.name == name and labels.items() <= one.labels.items()
    )


def test_every_worker_reads_what_any_has_written(service: Running) -> None:
    assert "3 processes" in service.log.read_text()
    with service.workers(3) as workers:
        for item, client in enumerate(workers.values(), 10):
            answer = client.post("/v1/interactions", json=event(item))
            assert answer.status_code == 200, answer.text
            for reader in workers.values():
                assert history(reader, answer.json()["version"])[-1] == item
        for client in workers.values():
            assert sample(client, "multirecall_requests_total", route="/v1/interactions") == 3, "each is counted once"
        eventually(lambda: sample(client, "multirecall_journal_oldest") == 3)
        assert sample(client, "multirecall_journal_newest") == 3


def test_problems_come_back_as_they_are(service: Running) -> None:
    with service.workers(3) as workers:
        for client in workers.values():
            assert "item_id" in detail(client.post("/v1/interactions", json={"interactions": [{"user_id": 3}]}), 400)
            detail(client.post("/v1/interactions", json=event(1), headers=READ), 403)
            assert "through the bundle alone" in detail(client.post("/v1/refresh", json={"save": False}), 400)


def test_the_writer_is_killed(service: Running) -> None:
    """The others go on reading, writes come back soon, and nothing that was acknowledged is lost."""
    with service.workers(3) as workers:
        writer = writer_of(workers)
        [first, second] = [client for number, client in workers.items() if number != writer]
        with reading(second) as statuses:
            os.kill(writer, signal.SIGKILL)
            acknowledged = write_until_a_new_one_writes(first)
        assert statuses
        assert {*statuses} == {200}
    version, items = acknowledged
    with service.workers(3) as again:
        assert writer not in again
        assert writer_of(again) not in workers
        for client in again.values():
            assert {*items} <= {*history(client, version)}
        eventually(lambda: sample(client, "multirecall_journal_oldest") == version)
    assert f"worker {writer}, which wrote, ended" in service.log.read_text()


@contextmanager
def reading(client: httpx.Client) -> Iterator[list[int]]:
    """The statuses of requests that go on until the block ends."""
    statuses: list[int] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            statuses.append(client.post("/v1/retrieve", json={"user_id": USER, "k": 5}).status_code)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield statuses
    finally:
        done.set()
        thread.join()


def write_until_a_new_one_writes(client: httpx.Client) -> tuple[int, list[int]]:
    """Write after the writer was killed. Returns the last version, and the items that were acknowledged."""
    acknowledged: list[int] = []
    refused: list[str] = []
    version = 0

    def write() -> bool:
        nonlocal version
        item = 20 + (len(acknowledged) + len(refused)) % 40
        answer = client.post("/v1/interactions", json=event(item))
        if answer.status_code == 200:
            acknowledged.append(item)
            version = answer.json()["version"]
        else:
            assert answer.headers["retry-after"] == "1"
            refused.append(detail(answer, 503))
        return answer.status_code == 200 and bool(refused)

    eventually(write)
    assert {*refused} <= {NOBODY, PERHAPS}
    return version, acknowledged


def test_a_worker_that_cannot_start_is_tried_again(service: Running) -> None:
    pointer, aside = service.bundle / "CURRENT", service.bundle / "aside"
    with service.workers(3) as workers:
        killed = next(number for number in workers if number != writer_of(workers))
        pointer.rename(aside)
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: "another starts in 2 s" in service.log.read_text())
        aside.rename(pointer)
    with service.workers(3) as again:
        assert killed not in again


def test_all_stop_together(service: Running) -> None:
    with service.workers(3) as workers:
        numbers = [*workers]
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(PATIENCE_S) == 0
    assert not any(alive(number) for number in numbers)
    assert "Traceback" not in service.log.read_text()


def test_no_worker_outlives_its_parent(tmp_path: Path) -> None:
    with running(tmp_path, 2) as service:
        with service.workers(2) as workers:
            numbers = [*workers]
        service.process.kill()
        service.process.wait(PATIENCE_S)
        eventually(lambda: not any(alive(number) for number in numbers))
        with Engine.load(service.bundle) as engine:
            engine.hold()
        port = int(service.address.rpartition(":")[2])
        socket.create_server(("127.0.0.1", port)).close()


def test_a_start_that_cannot_write_says_why(tmp_path: Path) -> None:
    with fitted() as engine:
        engine.save(tmp_path / "bundle")
        command = [*COMMAND, str(tmp_path / "bundle"), "--workers", "2", "--writable", "--port", "0"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 1
    assert f"is being written by process {os.getpid()}" in done.stderr


def test_a_call_that_never_ends_does_not_keep_the_process() -> None:
    program = (
        "import os, signal, threading\n"
        "from multirecall.serving import ServeSettings\n"
        "from multirecall.serving.server import bind, run\n"
        "settings = ServeSettings.model_validate({'port': 0, 'limits': {'shutdown_s': 1}})\n"
        "threading.Thread(target=threading.Event().wait).start()\n"
        "async def app(scope, receive, send): raise RuntimeError\n"
        "try: run(app, settings, [bind(settings)], lambda: os.kill(os.getpid(), signal.SIGINT))\n"
        "except KeyboardInterrupt: pass\n"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=PATIENCE_S, check=False).returncode == 1


def alive(number: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"

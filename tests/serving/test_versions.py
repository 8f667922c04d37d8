"""Reading what was written: `version` of a write, `X-Min-Version` and `X-Version` of a read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from patience import eventually
from service_client import Client, detail, fitted, serving

from multirecall import Engine
from multirecall.engine import follower
from multirecall.serving import ServeSettings, create_app

EVENTS = {"interactions": [{"user_id": 3, "item_id": 61, "timestamp": 1_720_000_000}]}
READS: list[tuple[str, str, Any]] = [
    ("POST", "/v1/retrieve", {"user_id": 3, "k": 5}),
    ("POST", "/v1/retrieve/batch", {"users": [3], "k": 5}),
    ("POST", "/v1/similar", {"item_id": 3}),
    ("GET", "/v1/similar?item_id=3", None),
    ("POST", "/v1/explain", {"user_id": 3, "item_id": 5}),
    ("GET", "/v1/items/3", None),
    ("GET", "/v1/users/3/history", None),
]


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, Path]]:
    folder = tmp_path_factory.mktemp("versions") / "bundle"
    with fitted() as engine:
        engine.save(folder)
        yield engine, folder


@pytest.fixture
def following(writer: tuple[Engine, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A service that would look at the bundle once an hour by itself."""
    monkeypatch.setattr(follower, "INTERVAL_S", 3_600.0)
    app = create_app(writer[1], ServeSettings())
    yield Client(app)
    app.state.service.close()


@pytest.mark.parametrize(("method", "path", "body"), READS)
def test_a_read_waits_for_the_version_that_it_names(
    writer: tuple[Engine, Path], following: Client, method: str, path: str, body: Any
) -> None:
    before = following.app.state.service.engine.last_change
    said = serving(writer[0], writable=True)("POST", "/v1/interactions", EVENTS).json()
    assert said["version"] == before + 1
    assert following(method, path, body).headers["x-version"] == str(before)
    found = following(method, path, body, headers={"X-Min-Version": str(said["version"])})
    assert found.status_code == 200, found.text
    assert found.headers["x-version"] == str(said["version"])


def test_a_version_that_does_not_come_is_503(following: Client) -> None:
    served = following.app.state.service.engine.last_change
    asked: dict[str, Any] = {"headers": {"X-Min-Version": str(served + 1), "X-Deadline-Ms": "20"}}
    sentence = f"version {served + 1} is not served here yet, but {served}"
    assert sentence in detail(following("GET", "/v1/items/3", **asked), 503)
    assert following("GET", "/v1/items/3", **asked).headers["retry-after"] == "1"
    body = {"user_id": 3, "deadline_ms": 20.0}
    assert sentence in detail(following("POST", "/v1/retrieve", body, headers={"X-Min-Version": str(served + 1)}), 503)


@pytest.mark.parametrize("version", ["", "-1", "1.5", "x", "9" * 19, "9" * 30, "٣"])
def test_what_is_no_version(following: Client, version: str) -> None:
    headers = {"X-Min-Version": version.encode()}
    assert "X-Min-Version must be" in detail(following("GET", "/v1/items/3", headers=headers), 400)


def test_who_waits_takes_a_place_but_no_thread(writer: tuple[Engine, Path]) -> None:
    """Two wait, one place is left for a request with the only thread, and a fourth is turned away."""
    client = serving(writer[0], limits={"threads": 1, "queue": 2})
    taken = 0

    async def ask_all() -> list[int]:
        late = {"X-Min-Version": "999999", "X-Deadline-Ms": "60000"}
        waiting = [asyncio.create_task(client.ask("GET", "/v1/items/3", headers=late)) for _ in range(2)]
        nonlocal taken
        while taken < 2:
            await asyncio.sleep(0)
        served = await client.ask("GET", "/v1/items/3")
        third = asyncio.create_task(client.ask("GET", "/v1/items/3", headers=late))
        while taken < 3:
            await asyncio.sleep(0)
        refused = await client.ask("GET", "/v1/items/3")
        for one in (*waiting, third):
            one.cancel()
        await asyncio.gather(*waiting, third, return_exceptions=True)
        return [served.status_code, refused.status_code]

    engine = client.app.state.service.engine
    look_now = engine.look_now
    seen: set[Any] = set()

    def count() -> None:
        nonlocal taken
        seen.add(asyncio.current_task())
        taken = len(seen)
        look_now()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "look_now", count)
        assert asyncio.run(ask_all()) == [200, 429]


def test_a_save_that_failed_shows(tmp_path: Path) -> None:
    with fitted() as engine:
        engine.save(tmp_path / "bundle")
        ask = serving(engine, writable=True)
        assert ask("GET", "/health/ready").json()["refresh"] == "none"

        def full(_: Path) -> None:
            raise OSError("the disk is full")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(engine, "save", full)
            assert ask("POST", "/v1/refresh").json()["last_fault"] is None
            eventually(lambda: ask("GET", "/health/ready").json()["refresh"] == "failed")
        assert ask("POST", "/v1/refresh").json()["last_fault"] == "the disk is full"
        eventually(lambda: ask("GET", "/health/ready").json()["refresh"] == "ok")

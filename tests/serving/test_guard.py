"""Keys, scopes, hosts and limits: who is let in, and how much at once."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from service_client import Client, Gate, detail, post_scope, serving, shop_engine

from multirecall import Engine
from multirecall.errors import ConfigError
from multirecall.serving import ServeSettings, create_app, keys
from multirecall.serving.keys import KeyRing, make_key

READ, WRITE = "read-key-of-20-characters", "write-key-of-20-characters"


@pytest.fixture(scope="module")
def engine() -> Engine:
    return shop_engine()


@pytest.fixture
def ask(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Client:
    """Ask a service with a key for each scope."""
    monkeypatch.setenv("SERVICE_KEYS", f"read:{READ} write:{WRITE}")
    return serving(engine, writable=True, keys={"keys_env": "SERVICE_KEYS"})


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_a_key_opens_what_its_scope_says(ask: Client) -> None:
    assert "API key" in detail(ask("POST", "/v1/retrieve", {"user_id": 1}), 401)
    assert ask("GET", "/docs").headers["www-authenticate"] == "Bearer"
    detail(ask("POST", "/v1/retrieve", {"user_id": 1}, headers=bearer("another-key-of-20-characters")), 401)
    detail(ask("POST", "/v1/retrieve", {"user_id": 1}, headers={"Authorization": f"Basic {READ}"}), 401)
    assert ask("POST", "/v1/retrieve", {"user_id": 1}, headers=bearer(READ)).status_code == 200
    assert "'write'" in detail(ask("DELETE", "/v1/users/77", headers=bearer(READ)), 403)
    assert "'read'" in detail(ask("GET", "/v1/items/1", headers=bearer(WRITE)), 403)
    detail(ask("POST", "/v1/items", {}, headers=bearer(WRITE)), 422)  # let in, and then wrong
    assert ask("GET", "/health/live").status_code == 200


def test_without_a_key_only_this_machine_is_served(engine: Engine) -> None:
    away = Client(create_app(engine), client="192.0.2.7")
    assert "only this machine" in detail(away("POST", "/v1/retrieve", {"user_id": 1}), 403)
    assert away("GET", "/health/ready").status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.com"])
def test_other_machines_need_a_key(host: str) -> None:
    with pytest.raises(ConfigError, match="needs API keys"):
        ServeSettings().override(host=host)


def test_the_host_header_is_checked(engine: Engine) -> None:
    app = create_app(engine, ServeSettings(allowed_hosts=("recall.example.com",)))
    for host, status in (("evil.example", 400), ("recall.example.com", 200), ("localhost", 200), ("[::1]", 200)):
        assert Client(app, host=host)("GET", "/v1/items/1").status_code == status
    anyone = create_app(engine, ServeSettings(allowed_hosts=("*",)))
    assert Client(anyone, host="evil.example")("GET", "/v1/items/1").status_code == 200


def test_no_other_page_may_read_answers_unless_it_is_named(engine: Engine) -> None:
    origin = {"Origin": "https://shop.example"}
    assert "access-control-allow-origin" not in serving(engine)("GET", "/v1/items/1", headers=origin).headers
    named = serving(engine, cors_origins=["https://shop.example"])
    assert named("GET", "/v1/items/1", headers=origin).headers["access-control-allow-origin"] == "https://shop.example"


def test_a_file_of_keys_is_read_again(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "RELOAD_S", 0)
    file, first, second = tmp_path / "keys.toml", make_key("a", ("read",)), make_key("b", ("read",))
    file.write_text(first.lines)
    ask = serving(engine, keys={"file": str(file)})

    def status(secret: str) -> int:
        return ask("GET", "/v1/items/1", headers=bearer(secret)).status_code

    assert (status(first.secret), status(second.secret)) == (200, 401)
    replace(file, second.lines)
    assert (status(first.secret), status(second.secret)) == (401, 200)
    replace(file, "key = 1")
    assert status(second.secret) == 200, "a faulty file changes nothing"
    replace(file, "")
    assert status(second.secret) == 401


def replace(file: Path, text: str) -> None:
    """Write another file in its place, as editors and orchestrators do."""
    other = file.with_suffix(".new")
    other.write_text(text)
    os.replace(other, file)


def test_faulty_keys_stop_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ServeSettings.model_validate({"keys": {"keys_env": "SERVICE_KEYS"}}).keys
    for value in ("", "read:short", "all:" + READ, READ):
        monkeypatch.setenv("SERVICE_KEYS", value)
        with pytest.raises(ConfigError, match="SERVICE_KEYS") as caught:
            KeyRing(settings)
        assert READ not in str(caught.value)
    file = tmp_path / "keys.toml"
    for text in (None, "", "nonsense", '[[key]]\nname = "a"\nscopes = []\nsha256 = "0"'):
        if text is not None:
            file.write_text(text)
        with pytest.raises(ConfigError, match=r"keys\.toml"):
            KeyRing(settings.model_copy(update={"file": file, "keys_env": None}))
    with pytest.raises(ConfigError, match="name"):
        make_key('a"\n', ("read",))


def test_a_key_is_kept_only_as_its_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_KEYS", f"read:{READ}")
    ring = KeyRing(ServeSettings.model_validate({"keys": {"keys_env": "SERVICE_KEYS"}}).keys)
    found = ring.find(READ)
    assert found is not None
    assert READ not in repr(vars(ring)) + repr(found)


def test_past_the_queue_a_request_is_refused(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(engine, monkeypatch)
    ask = serving(engine, limits={"threads": 1, "queue": 1})

    async def three() -> list[int]:
        held = [asyncio.ensure_future(ask.ask("POST", "/v1/retrieve", {"user_id": one})) for one in (1, 2)]
        await asyncio.get_running_loop().run_in_executor(None, gate.entered.acquire)
        refused = await ask.ask("POST", "/v1/retrieve", content=b"not even json")
        assert refused.headers["retry-after"] == "1"
        assert (await ask.ask("GET", "/health/live")).status_code == 200
        gate.open.set()
        served = await asyncio.gather(*held)
        after = await ask.ask("POST", "/v1/retrieve", {"user_id": 3})
        return [refused.status_code, *(one.status_code for one in served), after.status_code]

    assert asyncio.run(three()) == [429, 200, 200, 200]


def test_a_slow_body_is_given_up_and_holds_no_place(engine: Engine) -> None:
    ask = serving(engine, limits={"threads": 1, "queue": 0, "body_s": 0.05})

    sent: list[Any] = []

    async def raw() -> None:
        """As a server calls it: a client that sends the first part and then nothing."""
        began = asyncio.Event()

        async def receive() -> Any:
            if not began.is_set():
                began.set()
                return {"type": "http.request", "body": b"{", "more_body": True}
            return await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        scope = post_scope("/v1/retrieve")
        slow_one = asyncio.ensure_future(ask.app(scope, receive, send))
        await began.wait()
        assert (await ask.ask("POST", "/v1/retrieve", {"user_id": 1})).status_code == 200
        await slow_one

    asyncio.run(raw())
    assert sent[0]["status"] == 408


def test_a_log_line_holds_no_one_and_nothing_of_theirs(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    body = {"user_id": 3, "history": [41, 43], "features": {"country": "FR"}, "k": 7}
    with caplog.at_level(logging.INFO, "multirecall.serving.access"):
        serving(engine)("POST", "/v1/retrieve", body, headers={"X-Request-Id": "abc-1"})
        serving(engine)("GET", "/v1/users/39/history", headers={"X-Request-Id": "bad id\twith spaces"})
        serving(engine, log_bodies=True)("POST", "/v1/retrieve", body)
    first, second, third = (json.loads(one.message) for one in caplog.records if one.name.endswith("access"))
    assert first.pop("ms") > 0
    assert first == {
        "request_id": "abc-1",
        "process": os.getpid(),
        "method": "POST",
        "route": "/v1/retrieve",
        "status": 200,
        "key": None,
        "k": 7,
        "paths": dict.fromkeys(engine.paths, "ok"),
    }
    assert second["route"] == "/v1/users/{user_id:path}/history"
    assert len(second["request_id"]) == 16
    assert json.loads(third["body"]) == body


def test_a_mounted_service_keeps_its_guard(engine: Engine) -> None:
    outer = FastAPI()
    outer.mount("/recall", create_app(engine))
    assert Client(outer)("POST", "/recall/v1/retrieve", {"user_id": 1}).status_code == 200
    assert Client(outer, client="192.0.2.7")("POST", "/recall/v1/retrieve", {"user_id": 1}).status_code == 403


def test_observers_see_each_exchange(engine: Engine) -> None:
    app = create_app(engine)
    seen: list[Any] = []
    app.state.service.observers.append(seen.append)
    Client(app)("POST", "/v1/retrieve", {"user_id": 1, "k": 3})
    assert (seen[0].route, seen[0].status, seen[0].k, len(seen[0].found)) == ("/v1/retrieve", 200, 3, 3)

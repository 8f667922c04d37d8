"""Who may use the explorer: sessions in place of keys, and only from its own page."""

from __future__ import annotations

import logging
from pathlib import Path
from time import time

import pytest
from explorer_page import OWN, Explorer, exploring
from service_client import Client, detail, shop_engine

from multirecall import Engine
from multirecall.serving import ServeSettings, create_app, keys
from multirecall.serving.app import build_app
from multirecall.serving.crew import Membership
from multirecall.serving.explorer import sessions
from multirecall.serving.keys import make_key

READ, WRITE = "read-key-of-20-characters", "write-key-of-20-characters"
BODY = {"user": "1", "k": 5}


@pytest.fixture(scope="module")
def engine() -> Engine:
    return shop_engine()


@pytest.fixture
def page(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Explorer:
    """The explorer of a service with a key for each scope."""
    monkeypatch.setenv("SERVICE_KEYS", f"read:{READ} write:{WRITE}")
    return exploring(engine, writable=True, keys={"keys_env": "SERVICE_KEYS"})


def test_a_key_opens_a_session(page: Explorer) -> None:
    form = page("GET", "/explore")
    assert form.status_code == 200
    assert 'type="password"' in form.text
    assert "explorer-setup" not in form.text
    answer = page("POST", "/explore/session", headers=OWN, data={"key": READ})
    assert (answer.status_code, answer.headers["location"]) == (303, "/explore")
    cookie = answer.headers["set-cookie"]
    assert READ not in cookie
    assert {part.strip().lower() for part in cookie.split(";")[1:]} == {
        "httponly",
        "max-age=28800",
        "path=/explore",
        "samesite=strict",
    }
    assert page.sign_in(READ) == 303
    assert page.post("ask", BODY)["fused"]["ids"]


def test_a_wrong_key_opens_nothing(page: Explorer) -> None:
    for wrong in ("another-key-of-20-characters", "", WRITE, "<script>alert(1)</script>", "\udcff"[:0] + "ä" * 30):
        answer = page("POST", "/explore/session", headers=OWN, data={"key": wrong})
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers
        assert "not known here" in answer.text
        assert not wrong or wrong not in answer.text
    for form in ({}, {"key": "", "other": "1"}, {f"field{number}": "1" for number in range(9)} | {"key": READ}):
        assert page("POST", "/explore/session", headers=OWN, data=form).status_code == 403
    assert page("POST", "/explore/session", headers=OWN, content=b"\xff%zz&&==").status_code == 403


def test_without_a_session_nothing_is_told(page: Explorer) -> None:
    for question in ("ask", "fuse", "why", "similar", "search", "pulse", "other"):
        assert "sign in" in detail(page("POST", f"/explore/api/{question}", BODY, headers=OWN), 401)
    assert page("GET", "/explore/static/x/explorer.css").status_code == 200
    detail(page("POST", "/explore/api/ask", BODY, headers={**OWN, "Authorization": f"Bearer {READ}"}), 401)


def test_a_session_is_good_for_the_explorer_alone(page: Explorer) -> None:
    page.sign_in(READ)
    headers = {**page.headers, "X-Explorer-Token": page.token()}
    detail(page("POST", "/v1/retrieve", {"user_id": 1}, headers=headers), 401)
    detail(page("DELETE", "/v1/users/1", headers=headers), 401)
    detail(page("GET", "/metrics", headers=headers), 401)
    detail(page("GET", "/explored", headers=headers), 401)


def test_what_is_no_session_is_none(page: Explorer, engine: Engine) -> None:
    page.sign_in(READ)
    real = page.session
    claim, _, signature = real.rpartition(".")
    prefix, ends, nonce = claim.split(".")
    for forged in (
        "",
        "x",
        "a.b.c.d",
        f"{claim}.{'0' * 64}",
        f"{prefix}.{int(ends) + 1}.{nonce}.{signature}",
        f"{'0' * 16}.{ends}.{nonce}.{signature}",
        f"{real}0",
        "%C3%A9.1.2.3",
    ):
        page.session = forged
        detail(page("POST", "/explore/api/ask", BODY, headers=page.headers), 401)
    other = exploring(engine, keys={"keys_env": "SERVICE_KEYS"})  # another deployment, with another secret
    other.session = real
    assert "explorer-token" not in other.page()


def test_a_session_ends(page: Explorer, monkeypatch: pytest.MonkeyPatch) -> None:
    page.sign_in(READ)
    headers = {**page.headers, "X-Explorer-Token": page.token()}
    assert page("POST", "/explore/api/pulse", {}, headers=headers).status_code == 200
    late = time() + sessions.SESSION_S + 1
    monkeypatch.setattr(sessions, "time", lambda: late)
    detail(page("POST", "/explore/api/pulse", {}, headers=headers), 401)
    assert 'type="password"' in page.page()


def test_a_key_that_is_withdrawn_ends_its_sessions(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "RELOAD_S", 0.0)
    file = tmp_path / "keys.toml"
    first, second = make_key("first", ("read",)), make_key("second", ("read",))
    file.write_text(first.lines + second.lines)
    page = exploring(engine, keys={"file": file})
    page.sign_in(first.secret)
    assert page.post("pulse", {})
    file.write_text(second.lines)
    detail(page("POST", "/explore/api/pulse", {}, headers=page.headers), 401)


def test_workers_with_one_secret_know_each_others_sessions(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_KEYS", f"read:{READ}")
    settings = ServeSettings.model_validate({"keys": {"keys_env": "SERVICE_KEYS"}})
    first, second = (Explorer(build_app(engine, settings, Membership(b"shared" * 6))) for _ in range(2))
    first.sign_in(READ)
    second.session = first.session
    assert second.post("ask", BODY)["fused"]["ids"] == first.post("ask", BODY)["fused"]["ids"]


def test_signing_out_takes_the_cookie(page: Explorer) -> None:
    page.sign_in(READ)
    answer = page("POST", "/explore/session/end", headers=page.headers)
    assert answer.status_code == 303
    assert 'multirecall_explorer=""; ' in answer.headers["set-cookie"]
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert "Path=/explore" in answer.headers["set-cookie"]


FOREIGN: list[dict[str, str]] = [
    {},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:9"},
    {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "cross-site"},
    {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "same-site"},
    {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "none"},
]


@pytest.mark.parametrize("said", FOREIGN)
def test_other_sites_can_make_a_browser_do_nothing(page: Explorer, said: dict[str, str]) -> None:
    page.sign_in(READ)
    cookie = {"Cookie": f"multirecall_explorer={page.session}"}
    token = page.token()
    for path, body in (("api/ask", BODY), ("api/fuse", BODY), ("session", None), ("session/end", None)):
        headers = {**cookie, **said, "X-Explorer-Token": token}
        assert "another site" in detail(page("POST", f"/explore/{path}", body, headers=headers), 403)


@pytest.mark.parametrize("said", [OWN, {"Sec-Fetch-Site": "same-origin", "Origin": "null"}])
def test_the_page_itself_needs_its_token(page: Explorer, engine: Engine, said: dict[str, str]) -> None:
    page.sign_in(READ)
    token = page.token()
    headers = {**page.headers, **said}
    detail(page("POST", "/explore/api/ask", BODY, headers=headers), 403)
    detail(page("POST", "/explore/api/ask", BODY, headers={**headers, "X-Explorer-Token": "1"}), 403)
    assert page("POST", "/explore/api/ask", BODY, headers={**headers, "X-Explorer-Token": token}).status_code == 200
    page.sign_in(READ)
    again = {**page.headers, **said, "X-Explorer-Token": token}
    assert "load it again" in detail(page("POST", "/explore/api/ask", BODY, headers=again), 403)
    open_page = exploring(engine)
    detail(open_page("POST", "/explore/api/ask", BODY, headers=said), 403)
    assert open_page("GET", "/explore").status_code == 200


def test_only_this_machine_is_served_without_keys(engine: Engine) -> None:
    far = Client(create_app(engine, ServeSettings()), client="10.0.0.7")
    detail(far("GET", "/explore"), 403)
    detail(Client(create_app(engine, ServeSettings()), host="evil.example")("GET", "/explore"), 400)


def test_the_cookie_travels_over_https_only(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_KEYS", f"read:{READ}")
    settings = ServeSettings.model_validate(
        {"allowed_hosts": ["recall.example.com"], "keys": {"keys_env": "SERVICE_KEYS"}}
    )
    away = Client(create_app(engine, settings), host="recall.example.com")
    answer = away("POST", "/explore/session", headers={"Sec-Fetch-Site": "same-origin"}, data={"key": READ})
    assert "; Secure" in answer.headers["set-cookie"]
    answer = away("POST", "/explore/session", headers={"Origin": "https://recall.example.com"}, data={"key": READ})
    assert answer.status_code == 303


@pytest.mark.parametrize("log_bodies", [False, True])
def test_a_key_is_in_no_log(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, log_bodies: bool
) -> None:
    monkeypatch.setenv("SERVICE_KEYS", f"read:{READ}")
    page = exploring(engine, log_bodies=log_bodies, keys={"keys_env": "SERVICE_KEYS"}, limits={"body_bytes": 600})
    caplog.set_level(logging.DEBUG)
    with caplog.at_level(logging.INFO, "multirecall.serving.access"):
        page.sign_in(READ)
        page("POST", "/explore/session", data={"key": READ})  # refused before it is read
        page("POST", "/explore/session", headers=OWN, data={"key": READ, "more": "x" * 1_000})  # too large
        page.post("ask", BODY)
    lines = [record.getMessage() for record in caplog.records if record.name == "multirecall.serving.access"]
    assert len(lines) >= 4
    assert not any(READ in line or page.session in line for line in lines)
    assert any('"user":"1"' in line.replace("\\", "").replace(" ", "") for line in lines) == log_bodies
    assert any('"key":"SERVICE_KEYS[0]"' in line for line in lines)


def test_limits_hold(engine: Engine) -> None:
    page = exploring(engine, limits={"body_bytes": 200, "k": 50})
    headers = {**OWN, "X-Explorer-Token": page.token()}
    detail(page("POST", "/explore/api/search", {"text": "x" * 300}, headers=headers), 413)
    assert "at most 50" in page.refused("ask", {"user": "1", "k": 51})

"""The store and the figures in the service."""

from __future__ import annotations

from pathlib import Path

import pytest
from patience import eventually
from redis_server import RedisServer
from service_client import Client, detail, fitted, serving, shop_engine

from multirecall import User
from multirecall.serving import ServeSettings, create_app
from multirecall.serving.crew import Membership
from multirecall.serving.service import Service
from multirecall.serving.store import RedisStore

NEWEST = 1_900_000_000
STORE = {"kind": "redis", "url_env": "SHOP_REDIS", "timeout_ms": 2_000.0}


def test_requests_and_answers_are_counted() -> None:
    ask = serving(fitted())
    for user in (1, 2):
        assert ask("POST", "/v1/retrieve", {"user_id": user, "k": 5}).status_code == 200
    assert ask("POST", "/v1/retrieve", {"k": 0}).status_code == 422
    ask("GET", "/nowhere/17")
    eventually(lambda: 'multirecall_answers_total{call="retrieve"} 2.0' in ask("GET", "/metrics").text)
    text = ask("GET", "/metrics").text
    assert 'multirecall_requests_total{method="POST",route="/v1/retrieve",status="200"} 2.0' in text
    assert 'multirecall_requests_total{method="POST",route="/v1/retrieve",status="422"} 1.0' in text
    assert 'multirecall_requests_total{method="GET",route="none",status="404"} 1.0' in text
    assert 'multirecall_path_answers_total{path="item_cf",state="ok"} 2.0' in text


def test_a_secret_is_random_unless_workers_share_one() -> None:
    made = [Service(shop_engine(), ServeSettings()).secret for _ in range(2)]
    assert made[0] != made[1]
    assert min(map(len, made)) >= 32
    assert Service(shop_engine(), ServeSettings(), Membership(made[0])).secret == made[0]


def test_figures_need_the_read_scope_where_keys_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_KEYS", "read:" + "r" * 32)
    ask = serving(fitted(), keys={"keys_env": "SHOP_KEYS"})
    detail(ask("GET", "/metrics"), 401)
    assert ask("GET", "/metrics", headers={"Authorization": "Bearer " + "r" * 32}).status_code == 200


def test_the_service_asks_its_store_and_forgets_there_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = RedisServer(tmp_path)
    monkeypatch.setenv("SHOP_REDIS", server.url)
    engine = fitted()
    expected = engine.retrieve(User(history=[2, 4, 6]), k=5).ids.tolist()
    app = create_app(engine, ServeSettings.model_validate({"store": STORE, "writable": True}))
    ask, store = Client(app), app.state.service.store
    assert isinstance(store, RedisStore)
    store.add_events({777: [(item, NEWEST + item, "view") for item in (2, 4, 6)]})
    said = ask("POST", "/v1/retrieve", {"user_id": 777, "k": 5}).json()
    assert (said["items"], said["store"]) == (expected, "ok")
    assert ask("DELETE", "/v1/users/777").status_code == 200
    assert store.read([777], 0.0)[0].items == []
    server.kill()
    said = ask("POST", "/v1/retrieve", {"user_id": 777, "k": 5}).json()
    assert said["store"] == "failed"
    assert len(said["items"]) == 5
    assert "nothing was forgotten" in detail(ask("DELETE", "/v1/users/777"), 503)
    app.state.service.close()

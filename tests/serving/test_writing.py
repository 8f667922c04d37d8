"""The routes that change the engine: off by default, and seen by the next request once they answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from service_client import Client, detail, fitted, serving, shop_engine

from multirecall import Engine
from multirecall.serving import ServeSettings, create_app


@pytest.fixture(scope="module")
def ask() -> Client:
    return serving(shop_engine())


WRITES = [
    ("POST", "/v1/interactions"),
    ("POST", "/v1/items"),
    ("PATCH", "/v1/items"),
    ("DELETE", "/v1/items"),
    ("DELETE", "/v1/users/3"),
    ("POST", "/v1/refresh"),
]


@pytest.fixture
def own() -> Iterator[Engine]:
    with fitted() as engine:
        yield engine


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_writes_are_off_by_default(ask: Client, method: str, path: str) -> None:
    assert ask(method, path, {}).status_code in (404, 405)


def test_a_change_is_seen_by_the_next_request(own: Engine) -> None:
    ask = serving(own, writable=True)
    before = ask("GET", "/health/ready").json()["data_version"]
    said = ask(
        "POST", "/v1/interactions", {"interactions": [{"user_id": 3, "item_id": 61, "timestamp": 1_720_000_000}]}
    )
    assert said.json() == {"count": 1, "version": before + 1, "data_version": before + 1}
    assert ask("GET", "/v1/users/3/history").json()["items"][-1] == 61
    assert (
        ask("POST", "/v1/items", {"items": [{"item_id": 900, "title": "a new one", "price": 2.5}]}).json()["count"] == 1
    )
    assert ask("PATCH", "/v1/items", {"items": [{"item_id": 900, "price": 3.5}]}).status_code == 200
    assert ask("GET", "/v1/items/900").json()["features"] == {"title": "a new one", "price": 3.5}
    assert ask("DELETE", "/v1/items", {"item_ids": [4]}).json()["count"] == 1
    assert ask("GET", "/v1/items/4").json()["removed"]
    assert 4 not in ask("POST", "/v1/retrieve", {"user_id": 1, "k": 100, "seen": True}).json()["items"]
    assert ask("DELETE", "/v1/users/3").json()["count"] == 1
    assert "no user has the id '3'" in detail(ask("GET", "/v1/users/3/history"), 404)


def test_what_the_engine_refuses_is_the_callers_fault(own: Engine) -> None:
    ask = serving(own, writable=True)
    assert "item_id" in detail(ask("POST", "/v1/interactions", {"interactions": [{"user_id": 3}]}), 400)
    assert "item ids are int" in detail(
        ask("POST", "/v1/interactions", {"interactions": [{"user_id": 3, "item_id": "x", "timestamp": 1}]}), 400
    )
    detail(ask("PATCH", "/v1/items", {"items": [{"item_id": 12_345, "price": 1}]}), 404)
    assert "the catalogue has no item 12345" in detail(ask("DELETE", "/v1/items", {"item_ids": [12_345]}), 404)
    detail(ask("POST", "/v1/items", {"items": []}), 422)


def test_too_many_rows(own: Engine) -> None:
    ask = serving(own, writable=True, limits={"rows": 2})
    assert "at most 2" in detail(ask("DELETE", "/v1/items", {"item_ids": [1, 2, 3]}), 413)


def test_another_writer_is_a_conflict(own: Engine, tmp_path: Path) -> None:
    own.save(tmp_path / "bundle")
    with Engine.load(tmp_path / "bundle") as other:
        ask = serving(other, writable=True)
        event = {"interactions": [{"user_id": 3, "item_id": 5, "timestamp": 1_720_000_000}]}
        assert "is being written by" in detail(ask("POST", "/v1/interactions", event), 409)


def test_refresh_fits_and_saves(own: Engine, tmp_path: Path) -> None:
    own.save(tmp_path / "bundle")
    ask = serving(own, writable=True)
    assert ask("POST", "/v1/refresh").status_code == 202
    own.refresh().result(timeout=120)
    assert own.health().refit.served >= 1


def test_a_bundle_is_loaded_and_followed(own: Engine, tmp_path: Path) -> None:
    own.save(tmp_path / "bundle")
    app = create_app(tmp_path / "bundle", ServeSettings())
    try:
        found = Client(app)("POST", "/v1/retrieve", {"user_id": 3, "k": 5}).json()
        assert found["items"] == own.retrieve(3, 5).ids.tolist()
    finally:
        app.state.service.close()
    assert "shuts down" in detail(Client(app)("GET", "/v1/items/4"), 503)

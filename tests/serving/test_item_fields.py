"""Item features beside candidates come from a real Redis, and from the bundle where it has none or does not answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from time import monotonic
from typing import Any

import polars as pl
import pytest
from patience import PATIENCE_S, eventually
from redis_server import RedisServer
from service_client import Client, fitted, shop_engine

from multirecall.serving import ServeSettings, create_app
from multirecall.serving.store import RedisStore

FIELDS = ["title", "price", "tags", "group", "arrival"]
BODY = {"user_id": 3, "k": 4, "fields": FIELDS}
STORE = {"kind": "redis", "url_env": "SHOP_REDIS", "timeout_ms": 2_000.0, "item_fields": FIELDS[:-1]}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisServer]:
    running = RedisServer(tmp_path)
    monkeypatch.setenv("SHOP_REDIS", running.url)
    yield running
    running.kill()


@pytest.fixture
def ask(server: RedisServer) -> Iterator[Client]:
    app = create_app(fitted(), ServeSettings.model_validate({"store": STORE}))
    yield Client(app)
    app.state.service.close()


def store_of(ask: Client) -> RedisStore:
    store = ask.app.state.service.store
    assert isinstance(store, RedisStore)
    return store


def plain() -> dict[str, Any]:
    """What the bundle alone answers."""
    said = Client(create_app(shop_engine()))("POST", "/v1/retrieve", BODY).json()
    assert said["fields_store"] is None
    answer: dict[str, Any] = said
    return answer


def test_values_of_the_store_come_in_the_kind_of_the_feature(ask: Client) -> None:
    expected = plain()
    first, second, third, _ = expected["items"]
    group = "even" if expected["fields"]["group"][0] == "odd" else "odd"
    store_of(ask).set_items({first: {"title": "Ein Fuß", "price": 9.99, "tags": ["p", "q"], "group": group}})
    store_of(ask).set_items({second: {"price": "cheap", "tags": "[1, null]"}, third: {"price": "NaN", "arrival": 5}})
    said = ask("POST", "/v1/retrieve", BODY).json()
    assert said["fields_store"] == "ok"
    for field, value in (("title", "Ein Fuß"), ("price", 9.99), ("tags", ["p", "q"]), ("group", group)):
        assert said["fields"][field][0] == value
        assert said["fields"][field][1:] == expected["fields"][field][1:], "absent and wrong values are the bundle's"
    assert said["fields"]["arrival"] == expected["fields"]["arrival"], "it is not among those of the store"


def test_one_round_trip_for_a_request(ask: Client) -> None:
    redis = store_of(ask)._redis
    ask("POST", "/v1/retrieve", BODY)
    before = redis.info("stats")["total_reads_processed"]
    ask("POST", "/v1/retrieve", {"history": [2, 4], "k": 60, "fields": FIELDS})  # a visitor has no history to be read
    assert redis.info("stats")["total_reads_processed"] == before + 2, "one for the pipeline, one for `info`"


def test_similar_items_and_batches_have_them_too(ask: Client) -> None:
    items = ask("POST", "/v1/similar", {"item_id": 4, "k": 2}).json()["items"]
    store_of(ask).set_items({item: {"title": "new"} for item in range(60)})
    said = ask("POST", "/v1/similar", {"item_id": 4, "k": 2, "fields": ["title"]}).json()
    assert (said["items"], said["fields"]["title"]) == (items, ["new", "new"])
    headers = {"Accept": "application/vnd.apache.arrow.stream"}
    batch = {"users": [3, 4], "k": 3, "fields": ["title", "price"]}
    assert ask("POST", "/v1/retrieve/batch", batch).json()["fields"]["title"] == ["new"] * 6
    frame = pl.read_ipc_stream(BytesIO(ask("POST", "/v1/retrieve/batch", batch, headers=headers).content))
    assert frame["field_title"].to_list() == ["new"] * 6


def test_a_store_that_is_late_costs_no_more_than_the_deadline(ask: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    held = threading.Event()
    monkeypatch.setattr(store_of(ask), "read_items", lambda *_: held.wait(PATIENCE_S))
    try:
        said = ask("POST", "/v1/retrieve", {**BODY, "deadline_ms": 1_000.0}).json()
    finally:
        held.set()
    assert said["fields_store"] == "late"
    assert said["fields"] == plain()["fields"]


def test_a_lost_store_gives_the_bundles_values_and_comes_back_within_a_second(ask: Client, server: RedisServer) -> None:
    """Killed and restarted under load: no request fails, and what is right comes soon after the restart."""
    expected = plain()
    first = expected["items"][0]
    store_of(ask).set_items({first: {"title": "new"}})
    wanted = ["new", *expected["fields"]["title"][1:]]
    answers: list[Any] = []
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            answers.append(ask("POST", "/v1/retrieve", BODY))

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()

    def is_now(state: str) -> bool:
        return any(one.json()["fields_store"] == state for one in answers[-2:])

    try:
        eventually(lambda: is_now("ok"))
        server.kill()
        eventually(lambda: is_now("failed"))
        server.start()
        back = monotonic()
        while not is_now("ok"):
            assert monotonic() < back + 1, "a second after the restart, the store is not read again"
            stop.wait(0.01)
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE_S)
    assert {one.status_code for one in answers} == {200}
    for said in (one.json() for one in answers):
        right = wanted if said["fields_store"] == "ok" else expected["fields"]["title"]
        assert said["fields"]["title"] == right

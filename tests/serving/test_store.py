"""The store in Redis, against a real server: what it holds reaches answers, and its loss fails no request."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import polars as pl
import pytest
from commands import output_of
from patience import PATIENCE_S, eventually
from redis_server import RedisServer

from multirecall import Candidates, Engine, EngineConfig, User
from multirecall.errors import ConfigError
from multirecall.serving.store import RedisStore, StoreSettings, open_store
from multirecall.serving.store.layout import Layout
from multirecall.testing import small_shop

NEWEST = 1_900_000_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    running = RedisServer(tmp_path_factory.mktemp("redis"))
    yield running
    running.kill()


@pytest.fixture
def store(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisStore]:
    """A store whose keys no other test has."""
    monkeypatch.setenv("SHOP_REDIS", server.url)
    settings = {"kind": "redis", "url_env": "SHOP_REDIS", "prefix": f"test-{uuid4().hex}", "timeout_ms": 2_000.0}
    opened = open_store(StoreSettings.model_validate(settings))
    assert opened is not None
    yield opened
    opened.close()


def shop(ids: str = "int") -> Engine:
    paths = [{"retriever": "item_cf"}, {"retriever": "popularity"}]
    return Engine(EngineConfig.model_validate({"k": 8, "paths": paths})).fit(small_shop(ids))


def same(left: Candidates, right: Candidates) -> bool:
    return np.array_equal(left.ids, right.ids) and np.array_equal(left.scores, right.scores)


def raw(store: RedisStore) -> Any:
    return store._redis


def layout(store: RedisStore) -> Layout:
    return store._layout


@pytest.mark.parametrize("ids", ["int", "str"])
def test_what_another_service_writes_reaches_the_answer(store: RedisStore, ids: str) -> None:
    """The documented layout, written by hand."""
    engine = shop(ids)
    items = engine.data.items.ids.ids()[[2, 4, 6]].tolist()
    new = 777 if ids == "int" else "Zoë: a/b %"
    expected = engine.retrieve(User(history=items, features={"country": "FR"}))
    for place, item in enumerate(items):
        quoted = f'"{item}"' if ids == "str" else item
        raw(store).lpush(f"{layout(store).prefix}:history:{new}", f'[{quoted},{NEWEST + place},"view"]')
    raw(store).hset(f"{layout(store).prefix}:user:{new}", mapping={"country": "FR", "unheard_of": "1"})
    engine.use_history(store)
    found = engine.retrieve(new)
    assert found.store == "ok"
    assert same(found, expected)


def test_all_users_are_read_in_one_round_trip(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.add_events({user: [(user, NEWEST, None)] for user in range(1, 20)})
    store.set_users({3: {"country": "FR", "tags": ["a", "b"], "price": 1.5}})
    before = raw(store).info("stats")["total_reads_processed"]
    found = store.read(range(1, 20), 0.0)
    assert raw(store).info("stats")["total_reads_processed"] == before + 2, "one for the pipeline, one for `info`"
    assert [one.items for one in found] == [[user] for user in range(1, 20)]
    assert found[2].features == {"country": "FR", "tags": '["a", "b"]', "price": "1.5"}


def test_the_newest_events_are_kept_and_read(store: RedisStore) -> None:
    store.add_events({1: [(item, NEWEST + item, "view") for item in range(30)]}, keep=25)
    store._events = 20
    [found] = store.read([1], 0.0)
    assert found.items == list(range(29, 9, -1))
    assert raw(store).llen(layout(store).history(1)) == 25


def test_a_forgotten_user_is_gone(store: RedisStore) -> None:
    store.add_events({1: [(2, NEWEST, None)], 2: [(2, NEWEST, None)]})
    store.set_users({1: {"country": "FR"}})
    store.forget_user(1)
    one, two = store.read([1, 2], 0.0)
    assert (one.items, one.features) == ([], {})
    assert two.items == [2]


def test_items_metadata_come_as_text(store: RedisStore) -> None:
    store.set_items({1: {"title": "Ein Fuß", "price": 9.99}, "a/b": {"title": "x", "tags": ["p"]}})
    assert store.item_values([1, 5, "a/b"], ["title", "price", "tags"]) == [
        {"title": "Ein Fuß", "price": "9.99"},
        {},
        {"title": "x", "tags": '["p"]'},
    ]
    assert store.item_values([], ["title"]) == []
    assert store.item_values([1], []) == [{}]


@pytest.mark.parametrize("entry", ["", "17", "[1]", '[1,"x",null]', "[true,1,null]", "[null,1,null]", "[1,2,3]"])
def test_what_is_no_event_is_named(store: RedisStore, entry: str) -> None:
    engine = shop()
    raw(store).lpush(layout(store).history(1), entry)
    engine.use_history(store)
    assert engine.retrieve(1).store == "failed"
    source = engine.health().source
    assert source is not None
    assert "such as" in str(source.last_fault)


def test_a_key_of_another_type_fails_no_request(store: RedisStore) -> None:
    engine = shop()
    expected = engine.retrieve(1)
    raw(store).set(layout(store).history(1), "text")
    engine.use_history(store)
    found = engine.retrieve(1)
    assert found.store == "failed"
    assert same(found, expected)


def test_a_redis_that_is_killed_under_load_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No request fails, each gets the right list for what the store said, and the store is read again."""
    server = RedisServer(tmp_path)
    monkeypatch.setenv("SHOP_REDIS", server.url)
    store = open_store(StoreSettings(kind="redis", url_env="SHOP_REDIS", timeout_ms=2_000.0))
    assert store is not None
    engine = shop()
    without, with_events = engine.retrieve(777), engine.retrieve(User(history=[2, 4, 6]))
    assert not same(without, with_events)
    store.add_events({777: [(2, NEWEST, None), (4, NEWEST + 1, None), (6, NEWEST + 2, None)]})
    engine.use_history(store)
    answers: list[Candidates] = []
    faults: list[BaseException] = []
    stop = threading.Event()

    def ask() -> None:
        try:
            while not stop.is_set():
                answers.append(engine.retrieve(777))
        except BaseException as fault:  # noqa: BLE001 - the test reads it
            faults.append(fault)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()

    def next_states(state: str) -> bool:
        return bool(faults) or any(one.store == state for one in answers[-3:])

    try:
        eventually(lambda: next_states("ok"))
        server.kill()
        eventually(lambda: next_states("failed"))
        server.start()
        eventually(lambda: next_states("ok"))
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE_S)
        server.kill()
        store.close()
    assert faults == []
    assert {one.store for one in answers} <= {"ok", "failed", "late"}
    assert all(same(one, with_events if one.store == "ok" else without) for one in answers)


def test_metadata_of_a_lost_store_are_none_and_it_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = RedisServer(tmp_path)
    store = RedisStore(server.url, StoreSettings(kind="redis"))
    assert store.item_values([1], ["title"]) == [{}]
    server.kill()
    for _ in range(8):
        assert store.item_values([1], ["title"]) is None
    assert store._breaker.tally.state == "open"
    server.start()
    eventually(lambda: store.item_values([1], ["title"]) == [{}])
    server.kill()
    store.close()


def test_push_fills_the_store_from_a_log(store: RedisStore, server: RedisServer, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(
        "user_id,item_id,timestamp,event\n1,5,1700000030,view\n2,7,1700000000,buy\n1,6,1700000010,\n1,8,1700000020,view\n"
    )
    (tmp_path / "items.csv").write_text("item_id,title,price\n5,Ein Fuß,9.99\n6,,1\n")
    pl.DataFrame({"user_id": [1], "country": ["FR"], "tags": [["a"]]}).write_parquet(tmp_path / "users.parquet")
    (tmp_path / "serve.toml").write_text(
        f'[store]\nkind = "redis"\nurl_env = "SHOP_REDIS"\ntimeout_ms = 2000.0\nprefix = "{layout(store).prefix}"\n'
    )
    push = [sys.executable, "-m", "multirecall", "store", "push", "--settings", "serve.toml"]
    push += ["--interactions", "log.csv", "--items", "items.csv", "--users", "users.parquet", "--keep", "2"]
    environment = {**os.environ, "SHOP_REDIS": server.url}
    for _ in range(2):  # the second push changes nothing
        output_of(*push, environment=environment, cwd=tmp_path)
    one, two = store.read([1, 2], 0.0)
    assert (one.items, one.times, one.events) == ([5, 8], [1_700_000_030, 1_700_000_020], ["view", "view"])
    assert one.features == {"country": "FR", "tags": '["a"]'}
    assert (two.items, two.times, two.events) == ([7], [1_700_000_000], ["buy"])
    assert store.item_values([5, 6], ["title", "price"]) == [{"title": "Ein Fuß", "price": "9.99"}, {"price": "1"}]


def test_settings_keep_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_store(StoreSettings()) is None
    monkeypatch.delenv("MULTIRECALL_REDIS_URL", raising=False)
    with pytest.raises(ConfigError, match="set the environment variable MULTIRECALL_REDIS_URL"):
        open_store(StoreSettings(kind="redis"))
    monkeypatch.setenv("MULTIRECALL_REDIS_URL", "http://:hush@cache")
    with pytest.raises(ConfigError) as fault:
        open_store(StoreSettings(kind="redis"))
    assert "hush" not in str(fault.value)

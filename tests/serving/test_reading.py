"""The routes that read answer what the engine answers."""

from __future__ import annotations

import re
from dataclasses import asdict
from io import BytesIO
from urllib.parse import quote

import numpy as np
import polars as pl
import pytest
from service_client import Client, serving, shop_engine

from multirecall import Dataset, Engine, EngineConfig, User


@pytest.fixture(scope="module")
def engine() -> Engine:
    return shop_engine()


@pytest.fixture(scope="module")
def text_engine() -> Engine:
    return shop_engine("str")


@pytest.fixture(scope="module")
def ask(engine: Engine) -> Client:
    return serving(engine)


def test_retrieve_is_that_of_the_engine(ask: Client, engine: Engine) -> None:
    body = {"user_id": 3, "k": 9, "exclude": [5], "where": {"group": ["odd"]}, "seen": True}
    answer = ask("POST", "/v1/retrieve", body)
    found = engine.retrieve(3, 9, exclude=[5], where={"group": ["odd"]}, seen=True)
    said = answer.json()
    assert answer.status_code == 200
    assert said["items"] == found.ids.tolist()
    assert said["scores"] == found.scores.tolist()
    assert said["ranks"] == dict(zip(found.paths, found.ranks.T.tolist(), strict=True))
    assert {path: one["state"] for path, one in said["status"].items()} == dict.fromkeys(found.paths, "ok")
    assert (said["known"], said["shortfall"], said["n_backfilled"]) == (True, found.shortfall, found.n_backfilled)


def test_a_visitor_with_history_features_and_terms(ask: Client, engine: Engine) -> None:
    body = {"history": [2, 4, 999], "features": {"country": "FR"}, "terms": {"title": "red item"}, "k": 5}
    said = ask("POST", "/v1/retrieve", body).json()
    user = User(history=[2, 4, 999], features={"country": "FR"}, terms={"title": "red item"})
    assert said["items"] == engine.retrieve(user, 5).ids.tolist()
    assert (said["known"], said["unknown_items"]) == (False, [999])


def test_fields_come_with_the_candidates(ask: Client, engine: Engine) -> None:
    said = ask("POST", "/v1/retrieve", {"user_id": 1, "k": 6, "fields": ["title", "price", "tags", "group"]}).json()
    table = engine.data.items
    for place, item in enumerate(said["items"]):
        values = table.values(table.ids.row(item))
        assert {name: column[place] for name, column in said["fields"].items()} == {
            name: values.get(name) for name in ("title", "price", "tags", "group")
        }


def test_a_batch_is_a_request_for_each_user(ask: Client, engine: Engine) -> None:
    users = [3, 40_000, {"history": [2, 4]}, {"user_id": 5, "features": {"country": "DE"}}]
    said = ask("POST", "/v1/retrieve/batch", {"users": users, "k": 7, "fields": ["price"]}).json()
    assert said["users"] == [3, 40_000, None, 5]
    assert said["known"] == [True, False, False, True]
    asked: list[int | User] = [3, 40_000, User(history=[2, 4]), User(5, features={"country": "DE"})]
    for number, user in enumerate(asked):
        part = slice(said["offsets"][number], said["offsets"][number + 1])
        found = engine.retrieve(user, 7)
        assert said["items"][part] == found.ids.tolist()
        assert said["ranks"]["item_cf"][part] == found.ranks[:, 0].tolist()
        assert len(said["fields"]["price"][part]) == 7


def test_a_batch_as_an_arrow_stream(ask: Client, engine: Engine) -> None:
    headers = {"Accept": "application/vnd.apache.arrow.stream"}
    answer = ask("POST", "/v1/retrieve/batch", {"users": [3, 4], "k": 5, "fields": ["title", "price"]}, headers=headers)
    assert answer.headers["content-type"] == "application/vnd.apache.arrow.stream"
    frame = pl.read_ipc_stream(BytesIO(answer.content))
    assert frame["variant"].to_list() == [None] * 10
    assert frame.drop("variant", "field_title", "field_price").equals(engine.retrieve_batch([3, 4], 5).to_polars())
    assert frame["field_title"][0] == engine.data.items.values(engine.data.items.ids.row(frame["item_id"][0]))["title"]


def test_similar_by_body_and_by_address(ask: Client, engine: Engine) -> None:
    by_body = ask("POST", "/v1/similar", {"item_id": 4, "k": 5, "fields": ["title"]}).json()
    by_address = ask("GET", "/v1/similar", params={"item_id": "4", "k": "5", "fields": "title"}).json()
    assert by_body["items"] == by_address["items"] == engine.similar(4, 5).ids.tolist()
    assert by_body["fields"] == by_address["fields"]


def test_explain(ask: Client, engine: Engine) -> None:
    said = ask("POST", "/v1/explain", {"user_id": 3, "item_id": 7, "k": 20}).json()
    wanted = asdict(engine.explain(3, 7, 20))
    assert said["reason"] == wanted["reason"]
    assert said["paths"].keys() == wanted["paths"].keys()


def test_look_ups(ask: Client, engine: Engine) -> None:
    assert ask("GET", "/v1/items/4").json() == {
        "item_id": 4,
        "features": engine.data.items.values(engine.data.items.ids.row(4)),
        "removed": False,
    }
    said = ask("GET", "/v1/users/3/history", params={"newest": "2"}).json()
    events = engine.data.history(engine.data.users.ids.row(3))
    assert said["items"] == engine.data.items.ids.ids(events.items[-2:]).tolist()
    assert events.times is not None
    assert said["times"] == events.times[-2:].tolist()
    assert said["n_events"] == events.items.size


@pytest.mark.parametrize("odd", ["a/b", "a b", "Möbel", "50%", "x/history", "a%2Fb", "?#"])
def test_ids_in_addresses_are_percent_encoded(odd: str) -> None:
    log = pl.DataFrame({"user_id": [odd, "u2", "u2"], "item_id": [odd, odd, "i2"]})
    with Engine(EngineConfig.model_validate({"paths": [{"retriever": "popularity"}]})) as engine:
        ask = serving(engine.fit(Dataset.from_frames(log)))
        assert ask("GET", f"/v1/items/{quote(odd, safe='')}").json()["item_id"] == odd
        assert ask("GET", f"/v1/users/{quote(odd, safe='')}/history").json()["items"] == [odd]


def test_text_ids_and_numbers_are_not_taken_for_each_other(engine: Engine, text_engine: Engine) -> None:
    answer = serving(engine)("POST", "/v1/retrieve", {"user_id": "17"})
    assert answer.status_code == 400
    assert answer.json()["detail"] == "user ids are int, got '17' (str): pass int ids, here 17"
    answer = serving(text_engine)("POST", "/v1/retrieve", {"user_id": 17})
    assert answer.status_code == 400
    assert "here '17'" in answer.json()["detail"]


def test_the_columns_are_arrays_for_text_ids_too(text_engine: Engine) -> None:
    user = str(text_engine.data.users.ids.id(0))
    said = serving(text_engine)("POST", "/v1/retrieve", {"user_id": user, "k": 4}).json()
    assert said["items"] == text_engine.retrieve(user, 4).ids.tolist()


def test_a_deadline_goes_on_without_late_paths(ask: Client) -> None:
    said = ask("POST", "/v1/retrieve", {"user_id": 1, "deadline_ms": 60_000}, headers={"X-Deadline-Ms": "0.0001"})
    assert said.status_code == 200  # that of the body counts
    late = ask("POST", "/v1/retrieve", {"user_id": 1}, headers={"X-Deadline-Ms": "0.0001"})
    assert late.status_code == 503
    assert "deadline" in late.json()["detail"]


def test_health_and_documents(ask: Client) -> None:
    assert ask("GET", "/health/live").json() == {"status": "live"}
    said = ask("GET", "/health/ready").json()
    assert (said["status"], said["breakers"]["item_cf"]) == ("ready", "closed")
    document = ask("GET", "/openapi.json").json()
    assert "/v1/retrieve" in document["paths"]
    assert "/v1/interactions" not in document["paths"]
    page = ask("GET", "/docs")
    assert "/v1/retrieve" in page.text
    assert "<script" not in page.text
    assert "src=" not in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'")


def test_every_reference_of_the_document_leads_somewhere(ask: Client) -> None:
    document = ask("GET", "/openapi.json")
    for name in set(re.findall(r'"#/components/schemas/(\w+)"', document.text)):
        assert name in document.json()["components"]["schemas"]


def test_scores_have_every_digit(ask: Client, engine: Engine) -> None:
    said = ask("POST", "/v1/retrieve", {"user_id": 2, "k": 50}).json()
    assert np.array_equal(np.array(said["scores"]), engine.retrieve(2, 50).scores)

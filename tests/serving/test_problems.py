"""Every error is a problem detail with the status that the caller can act on, and never a 500."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from faulty import Raises
from hypothesis import given
from hypothesis import strategies as st
from service_client import Client, detail, serving, shop_engine

from multirecall import Engine, EngineConfig
from multirecall.errors import RequestError
from multirecall.serving.schemas import MAX_DEPTH
from multirecall.testing import small_shop

POSTS = ("/v1/retrieve", "/v1/retrieve/batch", "/v1/similar", "/v1/explain")


@pytest.fixture(scope="module")
def engine() -> Engine:
    return shop_engine()


@pytest.fixture(scope="module")
def ask(engine: Engine) -> Client:
    return serving(engine)


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        ({"user_id": 1, "where": {"prize": [1]}}, 400, "did you mean 'price'"),
        ({"user_id": 1, "fields": ["titel"]}, 400, "did you mean 'title'"),
        ({"user_id": 1, "k": 1_000_000}, 400, "k must be at most 1,000"),
        ({"user_id": 1, "k": 0}, 422, "k: "),
        ({"user_id": 1, "k": True}, 422, "k: "),
        ({"user_id": 1, "k": "5"}, 422, "k: "),
        ({"user_id": True}, 422, "user_id: an id is a whole number of 64 bits or a text"),
        ({"user_id": 1.5}, 422, "user_id: an id is"),
        ({"user_id": 2**70}, 422, "user_id: an id is"),
        ({"user_id": 1, "history": [1, None]}, 422, "history[1]: an id is"),
        ({"user": 1}, 422, "user: is no field"),
        ({"user_id": 1, "seen": 1}, 422, "seen: "),
        ({"user_id": 1, "deadline_ms": 0}, 422, "deadline_ms: "),
        ({"user_id": 1, "exclude": [0] * 10_001}, 413, "exclude: has more than 10,000 ids"),
        ([], 400, "no JSON object"),
    ],
)
def test_the_callers_fault(ask: Client, body: Any, status: int, sentence: str) -> None:
    assert sentence in detail(ask("POST", "/v1/retrieve", body), status)


def test_what_is_unknown(ask: Client) -> None:
    assert "no item has the id 999" in detail(ask("POST", "/v1/similar", {"item_id": 999}), 404)
    assert "no item has the id 999" in detail(ask("POST", "/v1/explain", {"user_id": 1, "item_id": 999}), 404)
    assert "no item has the id '999'" in detail(ask("GET", "/v1/items/999"), 404)
    assert "item ids are int" in detail(ask("GET", "/v1/items/1_0"), 400)
    detail(ask("GET", "/v1/nothing"), 404)
    detail(ask("GET", "/v1/retrieve"), 405)
    detail(ask("GET", "/v1/similar"), 422)
    detail(ask("GET", "/v1/similar", params={"item_id": "4", "k": "-1"}), 422)
    detail(ask("POST", "/v1/retrieve", {}, headers={"X-Deadline-Ms": "soon"}), 400)


def test_batches_have_bounds(engine: Engine) -> None:
    ask = serving(engine, limits={"users": 2, "batch_candidates": 20})
    detail(ask("POST", "/v1/retrieve/batch", {"users": [1, 2, 3]}), 413)
    detail(ask("POST", "/v1/retrieve/batch", {"users": [1, 2], "k": 11}), 413)
    detail(ask("POST", "/v1/retrieve/batch", {"users": []}), 422)
    assert ask("POST", "/v1/retrieve/batch", {"users": [1, 2], "k": 10}).status_code == 200


def test_a_body_has_bounds(engine: Engine) -> None:
    ask = serving(engine, limits={"body_bytes": 100})
    assert "more than 100 bytes" in detail(ask("POST", "/v1/retrieve", {"history": [1] * 100}), 413)

    async def parts() -> Any:
        for _ in range(3):
            yield b" " * 50

    detail(ask("POST", "/v1/retrieve", content=parts()), 413)


def test_values_have_a_depth(ask: Client) -> None:
    deep: Any = 1
    for _ in range(MAX_DEPTH + 1):
        deep = [deep]
    assert "nested deeper" in detail(ask("POST", "/v1/retrieve", {"context": {"x": deep}}), 422)
    detail(ask("POST", "/v1/retrieve", content=b'{"context":' + b'{"a":' * 1000 + b"1" + b"}" * 1001), 422)
    detail(ask("POST", "/v1/retrieve", content=b"[" * 100_000), 400)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"nul", b"\xff\xfe", b'{"user_id": "\\ud800"}', b'{"k": NaN}', b'{"user_id": 1e999}', b"\x00", b'"x"'],
)
def test_what_is_no_json(ask: Client, body: bytes) -> None:
    assert ask("POST", "/v1/retrieve", content=body).status_code in (400, 422)


def test_every_path_failing_is_unavailable() -> None:
    config = EngineConfig.model_validate({"paths": [{"retriever": Raises}]})
    with Engine(config).fit(small_shop()) as engine:
        detail(serving(engine)("POST", "/v1/retrieve", {"user_id": 1}), 503)


def test_nothing_served_is_unavailable() -> None:
    ask = serving(Engine())
    assert "nothing to serve" in detail(ask("GET", "/health/ready"), 503)
    assert ask("GET", "/health/live").status_code == 200


def test_an_error_of_ours_shows_nothing_of_itself(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(engine, "retrieve", broken)
    assert "secret" not in detail(serving(engine)("POST", "/v1/retrieve", {"user_id": 1}), 500)


def test_a_long_sentence_is_cut(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def long(*_: Any, **__: Any) -> None:
        raise RequestError("x" * 100_000 + "\ud800")

    monkeypatch.setattr(engine, "retrieve", long)
    assert len(detail(serving(engine)("POST", "/v1/retrieve", {"user_id": 1}), 400)) <= 1_000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = (
    *("user_id", "users", "item_id", "history", "features", "terms", "k", "exclude", "where", "seen", "context"),
    *("deadline_ms", "fields", "interactions", "items", "item_ids", "save"),
)
FEATURES = ("group", "tags", "title", "price", "arrival", "country", "item_id", "user_id", "timestamp")
TABLES = st.dictionaries(st.sampled_from(FEATURES), JSON, max_size=3)
BODIES_OF_ALL_SORTS = st.dictionaries(st.sampled_from(NAMES), JSON | TABLES | st.lists(TABLES, max_size=3), max_size=5)


@given(body=BODIES_OF_ALL_SORTS, path=st.sampled_from(POSTS))
def test_no_body_gives_a_500(ask: Client, body: dict[str, Any], path: str) -> None:
    content = json.dumps(body).encode("utf-8", "surrogatepass")
    assert ask("POST", path, content=content).status_code in (200, 400, 404, 413, 422)


@given(content=st.binary(max_size=200), path=st.sampled_from(POSTS))
def test_no_bytes_give_a_500(ask: Client, content: bytes, path: str) -> None:
    assert ask("POST", path, content=content).status_code in (400, 422)


def test_requests_beside_each_other_get_their_own_answers(engine: Engine) -> None:
    ask = serving(engine)

    async def all_at_once() -> list[httpx.Response]:
        return await asyncio.gather(*(ask.ask("POST", "/v1/retrieve", {"user_id": one, "k": 5}) for one in range(20)))

    for user, answer in enumerate(asyncio.run(all_at_once())):
        assert answer.json()["items"] == engine.retrieve(user, 5).ids.tolist()

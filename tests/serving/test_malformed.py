"""A real server under requests that no client should send; `benchmarks/bench_malformed.py` sends many more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from socket import create_connection
from typing import Any

import pytest
from _malformed import BODIES, Got, Sent, ask, fault_of, malformed, post
from _served import serving
from pydantic import TypeAdapter
from service_client import fitted
from service_client import serving as client_of

from multirecall.serving.answers import ANSWERS

SETTINGS = "[limits]\nidle_s = 1\nbody_s = 1.0\nheader_s = 1.0\n"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A writable service in a process of its own, which gives up soon."""
    folder = tmp_path_factory.mktemp("malformed")
    with fitted() as engine:
        engine.save(folder / "bundle")
    (folder / "serve.toml").write_text(SETTINGS)
    with serving(folder / "bundle", "--writable", "--settings", str(folder / "serve.toml")) as served:
        yield served.port
        assert "Traceback" not in served.log.read_text()


def test_every_error_is_a_problem_and_the_service_lives_on(port: int) -> None:
    faults = []
    for sent in malformed(seed=1, n=600):
        answers = ask(port, sent)
        if not answers and sent.waits:
            faults.append(f"{sent.name}: no answer")
        faults += [f"{sent.name}: {fault}" for got in answers if (fault := fault_of(got)) is not None]
    assert faults == []
    [alive] = ask(port, Sent("health", post("GET", "/health/ready", b"")))
    assert alive.status == 200


@pytest.mark.parametrize(
    ("head", "status", "sentence"),
    [
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 40_000 + b"\r\n\r\n", 431, "more than 32,768 bytes"),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 400_000, 431, "more than 32,768 bytes"),
        (b"GET /" + b"y" * 400_000, 431, "more than 32,768 bytes"),
        (b"\x16\x03\x01\x02\x00", 400, "no request of HTTP/1.1"),
        (b"GET /v1/items/4 HTTP/1.1\r\nHost: localhost\r\n\r\nx\r\n", 400, "no request of HTTP/1.1"),
    ],
)
def test_what_is_no_request_gets_a_problem_too(port: int, head: bytes, status: int, sentence: str) -> None:
    *_, got = ask(port, Sent("head", head))
    assert fault_of(got) is None
    assert got.status == status
    assert sentence in str(got.body)


def test_a_head_that_never_ends_is_given_up(port: int) -> None:
    """The first of a connection, and one behind an answer."""
    right = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert ask(port, Sent("slow", b"GET / HT")) == []
    [got] = ask(port, Sent("slow", right + b"GET / HT"))
    assert got.status == 200


def test_one_connection_too_many_is_refused(tmp_path: Path) -> None:
    with fitted() as engine:
        engine.save(tmp_path / "bundle")
    (tmp_path / "serve.toml").write_text("[limits]\nconnections = 1\n")
    with (
        serving(tmp_path / "bundle", "--settings", str(tmp_path / "serve.toml")) as served,
        create_connection(("127.0.0.1", served.port)),
    ):
        [got] = ask(served.port, Sent("another", post("GET", "/health/live", b"")))
        assert fault_of(got) is None
        assert got.status == 503


def test_a_great_many_faults_are_named_at_once(port: int) -> None:
    """The time must not grow with the square of their number: ten thousand took a quarter of a minute."""
    body = b'{"items": [' + b"1," * 9_999 + b"1]}"
    [got] = ask(port, Sent("faults", post("POST", "/v1/items", body)))
    assert isinstance(got, Got)
    assert got.status == 422
    assert str(got.body).count("input should be a valid dictionary") == 10


def test_every_answer_is_as_the_document_says() -> None:
    with fitted() as engine:
        client = client_of(engine, writable=True)
        document = client.app.openapi()
        described = {(method, path) for path, own in document["paths"].items() for method in own}
        assert ANSWERS.keys() == described
        asked: list[tuple[str, str, str, Any]] = [(method, path, path, body) for (method, path), body in BODIES.items()]
        asked += [
            ("GET", "/v1/similar", "/v1/similar?item_id=4", None),
            ("GET", "/v1/items/{item_id}", "/v1/items/4", None),
            ("GET", "/v1/users/{user_id}/history", "/v1/users/5/history", None),
            ("DELETE", "/v1/users/{user_id}", "/v1/users/3", None),
            ("GET", "/health/live", "/health/live", None),
            ("GET", "/health/ready", "/health/ready", None),
            ("POST", "/v1/refresh", "/v1/refresh", {}),
        ]
        assert {(method.lower(), route) for method, route, _, _ in asked} == described
        for method, route, path, body in asked:
            answer = client(method, path, body)
            assert answer.is_success, answer.text
            TypeAdapter(ANSWERS[method.lower(), route]).validate_json(answer.content, strict=True)
            operation = document["paths"][route][method.lower()]
            assert str(answer.status_code) in operation["responses"]

"""A client that hangs up while its request waits costs no thread and keeps no place."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from service_client import Gate, fitted, post_scope, serving


def test_who_hangs_up_in_the_queue_loses_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = fitted()
    gate = Gate(engine, monkeypatch)
    asked = record_calls(engine, monkeypatch)
    ask = serving(engine, limits={"threads": 1, "queue": 1})
    statuses: list[int] = []
    ask.app.state.service.observers.append(lambda exchange: statuses.append(exchange.status))
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def scenario() -> list[int]:
        first = asyncio.ensure_future(ask.ask("POST", "/v1/retrieve", {"user_id": 1}))
        await asyncio.get_running_loop().run_in_executor(None, gate.entered.acquire)
        messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": b'{"user_id": 2}', "more_body": False},
            {"type": "http.disconnect"},
        ]
        await ask.app(post_scope("/v1/retrieve"), receive_from(messages), send)
        third = asyncio.ensure_future(ask.ask("POST", "/v1/retrieve", {"user_id": 3}))
        for _ in range(100):  # turns of the loop, so that it is in the queue, or refused, before a thread is free
            await asyncio.sleep(0)
        gate.open.set()
        return [(await one).status_code for one in (first, third)]

    assert asyncio.run(scenario()) == [200, 200], "the third has the place of the second"
    assert sent == []
    assert statuses == [499, 200, 200]
    assert asked == [1, 3], "nothing was computed for the second"


def test_who_hangs_up_before_the_body_is_whole_is_not_answered() -> None:
    ask = serving(fitted())
    statuses: list[int] = []
    ask.app.state.service.observers.append(lambda exchange: statuses.append(exchange.status))

    async def send(message: Any) -> None:
        raise AssertionError(message)

    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]
    asyncio.run(ask.app(post_scope("/v1/retrieve"), receive_from(messages), send))
    assert statuses == [499]


def test_a_request_that_waits_and_stays_is_answered() -> None:
    """The watch for a client that hangs up must end by itself."""
    engine = fitted()
    ask = serving(engine, limits={"threads": 1, "queue": 8})

    async def many() -> list[Any]:
        answers = await asyncio.gather(*(ask.ask("POST", "/v1/retrieve", {"user_id": one}) for one in range(1, 9)))
        return [(one.status_code, json.loads(one.content)["items"]) for one in answers]

    assert asyncio.run(many()) == [(200, engine.retrieve(one).ids.tolist()) for one in range(1, 9)]


def receive_from(messages: list[dict[str, Any]]) -> Any:
    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)
        return messages.pop(0)

    return receive


def record_calls(engine: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The user of each call of `retrieve`, as they come."""
    asked: list[Any] = []
    retrieve = engine.retrieve

    def recorded(user: Any, *args: Any, **rest: Any) -> Any:
        asked.append(user.id)
        return retrieve(user, *args, **rest)

    monkeypatch.setattr(engine, "retrieve", recorded)
    return asked

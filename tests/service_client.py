"""Engines and a client for the tests of the service."""

from __future__ import annotations

import asyncio
import threading
from functools import cache
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from multirecall import Engine, EngineConfig
from multirecall.serving import ServeSettings, create_app
from multirecall.testing import small_shop

PATHS = [{"retriever": name} for name in ("item_cf", "user_cf", "content", "popularity")]


def fitted(ids: str = "int", **config: Any) -> Engine:
    return Engine(EngineConfig.model_validate({"paths": PATHS, **config})).fit(small_shop(ids))


@cache
def shop_engine(ids: str = "int") -> Engine:
    """An engine that tests share and do not change."""
    return fitted(ids)


class Client:
    """Asks an application in this process, without an event loop of the caller's."""

    def __init__(self, app: FastAPI, host: str = "127.0.0.1", client: str = "127.0.0.1") -> None:
        self.app, self._base, self._client = app, f"http://{host}", client

    def __call__(self, method: str, path: str, body: Any = None, **rest: Any) -> httpx.Response:
        return asyncio.run(self.ask(method, path, body, **rest))

    async def ask(self, method: str, path: str, body: Any = None, **rest: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, client=(self._client, 1))
        async with httpx.AsyncClient(transport=transport, base_url=self._base) as client:
            return await client.request(method, path, **({} if body is None else {"json": body}), **rest)


def serving(engine: Engine, **settings: Any) -> Client:
    """A client of a service with these settings."""
    return Client(create_app(engine, ServeSettings.model_validate(settings)))


def detail(answer: httpx.Response, status: int) -> str:
    """The sentence of a problem, which must have this status and every field of RFC 9457 that we promise."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    said = answer.json()
    assert said.keys() == {"type", "title", "status", "detail", "request_id"}
    assert (said["status"], said["request_id"]) == (status, answer.headers["x-request-id"])
    assert "Traceback" not in said["detail"]
    sentence: str = said["detail"]
    return sentence


class Gate:
    """Holds calls of `retrieve` until it is opened."""

    def __init__(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open, self.entered = threading.Event(), threading.Semaphore(0)
        retrieve = engine.retrieve

        def held(*args: Any, **rest: Any) -> Any:
            self.entered.release()
            assert self.open.wait(timeout=60)
            return retrieve(*args, **rest)

        monkeypatch.setattr(engine, "retrieve", held)


def post_scope(path: str) -> dict[str, Any]:
    """A POST as a server hands it to an application."""
    return {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "scheme": "http",
        "http_version": "1.1",
        "root_path": "",
    }

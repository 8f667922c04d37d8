"""Reading what was written: a request waits until the engine serves the version that it names."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import orjson
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from multirecall.errors import MultirecallError, NotFitted
from multirecall.serving.exchange import Exchange, exchange_of
from multirecall.serving.guard import path_of, scope_of
from multirecall.serving.headers import read_deadline_ms, read_min_version
from multirecall.serving.problems import Problem, problem_of, problem_response

if TYPE_CHECKING:
    from multirecall.serving.service import Service

WAIT_MS = 1_000.0
"""How long a request waits that has no deadline, in milliseconds."""

MOST_WAIT_MS = 10_000.0
"""How long any request waits: it holds a place in the queue."""

FIRST_PAUSE_MS, LONGEST_PAUSE_MS = 1.0, 50.0
"""The pause between two looks begins with the first and doubles up to the second, in milliseconds."""


class Freshness:
    """Let each request that reads wait for the version that it names. It holds a place in the queue, but no thread."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and path_of(scope).startswith("/v1/") and _reads(scope):
            exchange = exchange_of(scope)
            try:
                await self._wait(exchange, Headers(scope=scope))
                with suppress(NotFitted):  # the route says it
                    exchange.version = self._service.engine.last_change
            except (MultirecallError, Problem) as fault:
                await problem_response(problem_of(fault), exchange.request_id)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _wait(self, exchange: Exchange, headers: Headers) -> None:
        """Wait for the version of the headers; raises `Problem` 503 where it does not come in time."""
        wanted, engine = read_min_version(headers), self._service.engine
        if wanted is None or engine.last_change >= wanted:
            return
        limit = min(await self._limit_ms(exchange, headers), MOST_WAIT_MS)
        pause = FIRST_PAUSE_MS
        while (served := engine.last_change) < wanted:
            left = limit - exchange.ms
            if left <= 0:
                raise Problem(
                    503, f"version {wanted} is not served here yet, but {served}; try again", {"Retry-After": "1"}
                )
            engine.look_now()
            await asyncio.sleep(min(pause, left) / 1e3)
            pause = min(2 * pause, LONGEST_PAUSE_MS)

    async def _limit_ms(self, exchange: Exchange, headers: Headers) -> float:
        named = await self._service.read(_named_deadline_ms, exchange.body) or read_deadline_ms(headers)
        return named or self._service.settings.limits.deadline_ms or WAIT_MS


def _reads(scope: Scope) -> bool:
    return scope_of(scope["method"], path_of(scope)) == "read"


def _named_deadline_ms(body: bytes) -> float | None:
    """The deadline of a body, None where there is none that can be used; the route says what is wrong with it."""
    try:
        deadline_ms = orjson.loads(body)["deadline_ms"]
    except (ValueError, KeyError, TypeError):
        return None
    usable = isinstance(deadline_ms, int | float) and deadline_ms > 0
    return float(deadline_ms) if usable else None

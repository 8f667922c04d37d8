"""How much at once: bodies are read within bounds of size and time, and past the queue a request gets 429.

Nothing is parsed here. A client that sends or reads slowly holds a connection, never a thread or a place in the queue.
One that hangs up while its request waits loses its place; a call of the engine that runs cannot be stopped.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from multirecall.serving.exchange import Exchange, exchange_of
from multirecall.serving.problems import Problem, problem_response

if TYPE_CHECKING:
    from multirecall.serving.service import Service

CLOSE = {"Connection": "close"}

GONE = 499
"""The status in log lines and figures of a request whose client hung up before it was answered, as nginx has it."""


class ClientGone(Exception):  # noqa: N818
    """The client has hung up before it was answered."""


class Intake:
    """Read the body, take a place in the queue, pass the request on, and give the place back once it is answered."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service, self._limits = app, service, service.settings.limits
        self._places = self._limits.threads + self._limits.queue
        self._taken = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] != "http" or scope["path"].removeprefix(scope.get("root_path", "")).startswith("/health/"):
            await self._app(scope, receive, send)
            return
        exchange = exchange_of(scope)
        try:
            self._refuse_past_the_queue()
            exchange.body = await self._read(scope, receive)
            self._refuse_past_the_queue()
        except Problem as problem:
            await problem_response(problem, exchange.request_id)(scope, receive, send)
            return
        except ClientGone:
            exchange.status = GONE
            return
        await self._pass_on(scope, exchange, receive, send)

    async def _pass_on(self, scope: Scope, exchange: Exchange, receive: Receive, send: Send) -> None:
        unread = True
        holds = True
        self._taken += 1
        task = asyncio.current_task()
        watch: asyncio.Task[None] | None = None

        async def replay() -> Message:
            nonlocal unread
            if unread:
                unread = False
                return {"type": "http.request", "body": exchange.body, "more_body": False}
            return await receive()

        async def drop_when_gone() -> None:
            message = await receive()
            if message["type"] == "http.disconnect" and holds and task is not None:
                exchange.status, exchange.body = GONE, b""  # the queue may hold it until a thread comes by
                task.cancel()

        async def send_in_time(message: Message) -> None:
            nonlocal holds
            if holds:  # the answer is computed; how fast the client takes it must not matter to others
                holds = False
                self._taken -= 1
                if watch is not None:
                    watch.cancel()
            if message["type"] == "http.response.start":
                await send(message)
                return
            async with asyncio.timeout(self._limits.send_s):
                await send(message)

        if self._taken > self._limits.threads:  # it waits; a request that begins at once needs no watch
            watch = asyncio.ensure_future(drop_when_gone())
        try:
            await self._app(scope, replay, send_in_time)
        except asyncio.CancelledError:
            if exchange.status != GONE or task is None:
                raise
            task.uncancel()
        finally:
            if holds:
                self._taken -= 1
            if watch is not None:
                watch.cancel()

    def _refuse_past_the_queue(self) -> None:
        if self._taken >= self._places:
            self._service.engine.note_refused(math.inf)
            raise Problem(429, f"{self._places} requests are waiting already; try again later", {"Retry-After": "1"})

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body; raises `Problem` 413 where it is too large and 408 where it comes too slowly."""
        most = self._limits.body_bytes
        too_large = Problem(413, f"the body has more than {most:,} bytes; send less", CLOSE)
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and (len(length) > 18 or int(length) > most):
            raise too_large
        parts, n = [], 0
        try:
            async with asyncio.timeout(self._limits.body_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    parts.append(message.get("body", b""))
                    n += len(parts[-1])
                    if n > most:
                        raise too_large
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            raise Problem(408, f"the body did not come within {self._limits.body_s} s", CLOSE) from None

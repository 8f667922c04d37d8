"""The outermost layer: a request gets its id, one log line, and an answer whatever happens inside."""

from __future__ import annotations

import logging
import os
import re
import secrets
from typing import TYPE_CHECKING, Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from multirecall.serving.exchange import KEY, Exchange
from multirecall.serving.explorer.sessions import SIGN_IN
from multirecall.serving.problems import problem_of, problem_response

if TYPE_CHECKING:
    from multirecall.serving.service import Service

LOGGED_BYTES = 10_000
"""The most of a body that a log line holds."""

_log = logging.getLogger("multirecall.serving")
_lines = logging.getLogger("multirecall.serving.access")


class Access:
    """Number, log and observe each request, and answer those that fail with an error that nobody expected."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = scope[KEY] = Exchange(_request_id(scope), scope["method"], self._is_forwarded(scope))
        stamp = (b"x-request-id", exchange.request_id.encode())

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message["headers"] = [*message.get("headers", ()), stamp]
                if exchange.version is not None:
                    message["headers"].append((b"x-version", b"%d" % exchange.version))
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as fault:
            _log.exception("request %s failed", exchange.request_id)
            if exchange.status:
                raise
            await problem_response(problem_of(fault), exchange.request_id)(scope, receive, send_with_id)
        finally:
            exchange.route = getattr(scope.get("route"), "path", exchange.route)
            if _lines.isEnabledFor(logging.INFO):
                with_body = self._service.settings.log_bodies and SIGN_IN not in scope["path"]  # it is a key
                _lines.info("%s", _line(exchange, with_body=with_body))
            for observe in self._service.observers:
                observe(exchange)

    def _is_forwarded(self, scope: Scope) -> bool:
        private, server = self._service.membership.writer, scope.get("server")
        return private is not None and server is not None and server[0] == str(private)


def _request_id(scope: Scope) -> str:
    """The id that the caller gives, where it can stand in a log, or a new one."""
    given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
    return given if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", given) else secrets.token_hex(8)


def _line(exchange: Exchange, *, with_body: bool) -> str:
    """The log line as JSON: no id of a user or an item, no history and no features unless bodies are asked for."""
    line: dict[str, Any] = {
        "request_id": exchange.request_id,
        "process": os.getpid(),
        "method": exchange.method,
        "route": exchange.route,
        "status": exchange.status,
        "ms": round(exchange.ms, 3),
        "key": exchange.key,
        "k": exchange.k,
        "paths": exchange.states,
    }
    if with_body:
        line["body"] = exchange.body[:LOGGED_BYTES].decode("utf-8", "replace")
    return orjson.dumps(line).decode()

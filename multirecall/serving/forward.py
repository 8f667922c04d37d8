"""Passing a write on to the worker that writes, over its Unix socket."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from starlette.responses import Response

from multirecall.serving.exchange import Exchange
from multirecall.serving.problems import Problem

ANSWER_S = 60.0
"""Seconds in which the worker that writes must answer."""

PASSED_ON = ("authorization", "content-type", "host")
"""The headers that it gets, beside the id of the request."""

KEPT_BACK = frozenset({"connection", "content-length", "date", "keep-alive", "transfer-encoding", "x-request-id"})
"""The headers of its answer that are of its connection alone."""

RETRY = {"Retry-After": "1"}


class _Connection(HTTPConnection):
    """A connection to a Unix socket."""

    def __init__(self, file: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_S)
        self._file = file

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._file))


def forward(writer: Path, exchange: Exchange, target: str, headers: Mapping[str, str]) -> Response:
    """The answer of the worker that hears at `writer`, as it is.

    Raises:
        Problem: 503, no worker writes now, or it ended before it answered.
    """
    connection = _Connection(writer)
    try:
        connection.connect()
    except OSError:
        connection.close()
        raise Problem(503, "no worker writes now, so that nothing has changed; try again", RETRY) from None
    passed = {name: headers[name] for name in PASSED_ON if name in headers} | {"X-Request-Id": exchange.request_id}
    try:
        connection.request(exchange.method, target, exchange.body, passed)
        answer = connection.getresponse()
        content = answer.read()
    except (OSError, HTTPException):
        raise Problem(
            503,
            "the worker that writes ended before it answered, so the change may be stored or not; "
            "look up what it changed, and send it again only if it is missing",
            RETRY,
        ) from None
    finally:
        connection.close()
    kept = {name: value for name, value in answer.getheaders() if name.lower() not in KEPT_BACK}
    return Response(content, answer.status, kept)

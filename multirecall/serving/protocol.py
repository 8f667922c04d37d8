"""HTTP/1.1 on a connection: bounds in size and time for heads, and problem details for what is no request."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from multirecall.serving.problems import Problem, problem_response
from multirecall.serving.settings import LimitSettings


class TooLarge(Exception):  # noqa: N818
    """The head of a request is larger than it may be."""


def protocol_of(limits: LimitSettings) -> type[HttpToolsProtocol]:
    """The protocol of a server with these limits."""

    class Protocol(HttpToolsProtocol):
        """One connection.

        What arrives before an application is asked gets its problem here: another connection than may be open, a head
        that is too large or comes too slowly, and what is no HTTP.
        """

        _in_head = False
        _head_bytes = 0
        _timer: asyncio.TimerHandle | None = None
        _problem: Problem | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                self._refuse(Problem(503, f"{limits.connections:,} connections are open already", {"Retry-After": "1"}))
            else:
                self._start_timer()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._in_head and not self.transport.is_closing():
                self._head_bytes += len(data)
                if self._head_bytes > limits.head_bytes:
                    self._refuse(_too_large(limits))
                elif self._timer is None:
                    self._start_timer()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._in_head, self._head_bytes = True, 0

        def on_headers_complete(self) -> None:
            self._in_head = False
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > limits.head_bytes:
                self._problem = _too_large(limits)
                raise TooLarge  # the parser stops, and `send_400_response` follows
            super().on_headers_complete()

        def send_400_response(self, msg: str) -> None:
            self._refuse(self._problem or Problem(400, "this is no request of HTTP/1.1; see RFC 9112"))

        def connection_lost(self, exc: Exception | None) -> None:
            if self._timer is not None:
                self._timer.cancel()
            super().connection_lost(exc)

        def _start_timer(self) -> None:
            self._timer = self.loop.call_later(limits.header_s, self._end)

        def _end(self) -> None:
            self._timer = None
            if not self.transport.is_closing():
                self.transport.close()

        def _refuse(self, problem: Problem) -> None:
            if self.transport.is_closing():
                return
            if self.cycle is None or not self.cycle.response_started or self.cycle.response_complete:
                self.transport.write(_answer(problem))
            self.transport.close()

    return Protocol


def _too_large(limits: LimitSettings) -> Problem:
    return Problem(431, f"the address and the headers have more than {limits.head_bytes:,} bytes; send less")


def _answer(problem: Problem) -> bytes:
    response = problem_response(problem, secrets.token_hex(8))
    headers = [*response.raw_headers, (b"connection", b"close")]
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    return STATUS_LINE[problem.status] + lines + b"\r\n" + bytes(response.body)

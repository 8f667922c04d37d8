"""A small recall service on this machine, for tests: real HTTP, on a free port."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["Call"], None]


class Call(BaseHTTPRequestHandler):
    """One request to a `Service`; connections stay open."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement
    server: Service
    question: Any

    def do_POST(self) -> None:
        self.question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.questions.append(self.question)
        self.server.headers.append(dict(self.headers))
        self.server.ports.append(self.client_address[1])
        self.server.answer(self)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""

    def send(self, body: bytes, media: str = "application/json", status: int = 200, **headers: str) -> None:
        """Answer with `body`; a header `Content_Length` is `Content-Length`."""
        self.send_response(status)
        for name, value in {"Content_Type": media, "Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self) -> None:
        """Close the connection."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def send_items(self, items: list[Any], scores: list[Any]) -> None:
        """Answer as a recall service does."""
        self.send(json.dumps({"items": items, "scores": scores}).encode())


class Service(ThreadingHTTPServer):
    """Answers with `answer`, and keeps what it was asked.

    Attributes:
        answer: what is called for each request.
        questions: their bodies.
        headers: their headers.
        ports: the client's port of each, which tells connections apart.
    """

    daemon_threads = True

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), Call)
        self.answer = answer
        self.questions: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.ports: list[int] = []

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}/recall"

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is what tests are about."""


@contextmanager
def serving(answer: Answer) -> Iterator[Service]:
    """A service that runs until the block ends."""
    with Service(answer) as service:
        threading.Thread(target=service.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield service
        finally:
            service.shutdown()

"""What is known of one request while it is answered; the log line and the figures are made of it."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, cast

KEY = "multirecall"
"""Where a scope holds its exchange."""


@dataclass(slots=True)
class Exchange:
    """One request and its answer.

    Attributes:
        request_id: the caller's `X-Request-Id`, or one of our own.
        method: of HTTP.
        forwarded: whether another worker has passed it on, which counts it.
        start: when the request came, by `perf_counter`.
        body: the whole body.
        route: the template of the route, such as `/v1/items/{item_id}`, which holds no id; "" where none matched.
        status: of the answer; 0 before it begins.
        version: the last change that the answer surely knows, where it is computed from the engine's data.
        key: the name of the API key, or None.
        k: what was asked for, or None.
        states: the state of each path, where paths were asked.
        found: a `Candidates`, a `CandidateBatch` or an `Explanation`, where the engine answered with one.
    """

    request_id: str
    method: str
    forwarded: bool = False
    start: float = field(default_factory=perf_counter)
    body: bytes = b""
    route: str = ""
    status: int = 0
    version: int | None = None
    key: str | None = None
    k: int | None = None
    states: dict[str, str] | None = None
    found: Any = None

    @property
    def ms(self) -> float:
        """Milliseconds since the request came."""
        return (perf_counter() - self.start) * 1e3


def exchange_of(scope: MutableMapping[str, Any]) -> Exchange:
    """The exchange of an ASGI scope."""
    return cast(Exchange, scope[KEY])

"""One POST to a remote service: over a pool of connections, within one time limit, with a bound on what comes back."""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Iterable
from time import monotonic
from typing import Any

import httpcore

from multirecall.deployment import Endpoint
from multirecall.errors import ServiceError

IDLE_S = 30.0
"""Seconds after which a connection that nobody uses is closed."""

QUOTED = 200
"""The most characters of an answer that an error repeats."""

WRITE_BYTES = 65_536
"""Bytes of a request that are sent between two looks at the clock."""


class Service:
    """The connections to a service. Any number of threads may use it.

    Redirects are not followed, calls are not repeated, proxies of the environment are not used, and certificates are
    verified. A forked child has connections of its own.
    """

    def __init__(self, connections: int, max_bytes: int) -> None:
        """Nothing is connected to before the first call.

        Args:
            connections: the most that are open at once; further calls wait for one.
            max_bytes: the most bytes of the body of an answer.
        """
        self._connections, self._max_bytes = connections, max_bytes
        self._pools: dict[int, httpcore.ConnectionPool] = {}
        self._limit = _Limit()

    def post(self, endpoint: Endpoint, body: bytes, accept: str, until: float) -> bytes:
        """Send JSON; the body of the answer, which has status 200 and media type `accept`.

        Args:
            endpoint: where to.
            body: JSON.
            accept: media type.
            until: the `time.monotonic()` at which the call ends, however much has come by then.

        Raises:
            TimeoutError: the time is up.
            ConnectionError: the service cannot be reached, or breaks off.
            ServiceError: it answers with another status or media type, compressed, or with too many bytes.
        """
        self._limit.until = until
        headers: dict[bytes | str, bytes | str] = {
            "Content-Type": "application/json",
            "Accept": accept,
            "Accept-Encoding": "identity",
        }
        if endpoint.token is not None:
            headers["Authorization"] = f"Bearer {endpoint.token}"
        timeout = {"pool": max(until - monotonic(), 1e-3)}
        try:
            with self._pool().stream(
                "POST", endpoint.url, headers=headers, content=body, extensions={"timeout": timeout}
            ) as response:
                return self._read(endpoint, response, accept)
        except httpcore.TimeoutException:
            raise TimeoutError(f"endpoint {endpoint.name!r}: the time was up before its answer was complete") from None
        except (httpcore.NetworkError, httpcore.ProtocolError) as fault:
            raise ConnectionError(f"endpoint {endpoint.name!r}: {_without(endpoint.token, str(fault))}") from None

    def close(self) -> None:
        """Close the connections of this process."""
        pool = self._pools.pop(os.getpid(), None)
        if pool is not None:
            pool.close()

    def __del__(self) -> None:
        self.close()

    def _pool(self) -> httpcore.ConnectionPool:
        """The pool of this process: a child must not write into the connections of its parent."""
        pool = self._pools.get(os.getpid())
        if pool is None:
            new = httpcore.ConnectionPool(
                ssl_context=httpcore.default_ssl_context(),
                max_connections=self._connections,
                keepalive_expiry=IDLE_S,
                network_backend=_LimitedBackend(self._limit),
            )
            pool = self._pools.setdefault(os.getpid(), new)
        return pool

    def _read(self, endpoint: Endpoint, response: httpcore.Response, accept: str) -> bytes:
        headers = {name.lower().decode("ascii"): value.decode("latin-1") for name, value in response.headers}
        place = f"endpoint {endpoint.name!r}"
        if 300 <= response.status < 400:
            raise ServiceError(f"{place}: status {response.status}: redirects are not followed; set its final URL")
        if response.status != 200:
            said = _without(endpoint.token, _first_text(response))
            raise ServiceError(f"{place}: status {response.status}, 200 is expected; it says: {said}")
        media = headers.get("content-type", "").partition(";")[0].strip().lower()
        if media != accept:
            raise ServiceError(f"{place}: answers with media type {media[:QUOTED]!r}; let it send {accept}")
        if headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise ServiceError(f"{place}: answers compressed, although asked not to; let it send plain bytes")
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._max_bytes:
            raise ServiceError(self._too_much(place))
        body = bytearray()
        for chunk in response.iter_stream():
            body += chunk
            if len(body) > self._max_bytes:
                raise ServiceError(self._too_much(place))
        return bytes(body)

    def _too_much(self, place: str) -> str:
        return f"{place}: answers with more than {self._max_bytes:,} bytes; send fewer items, or raise max_bytes"


def _first_text(response: httpcore.Response) -> str:
    """The beginning of a body, as one line of printable text."""
    first = next(iter(response.iter_stream()), b"")[: 4 * QUOTED].decode("utf-8", "replace")
    return " ".join("".join(one if one.isprintable() else " " for one in first).split())[:QUOTED] or "nothing"


def _without(token: str | None, text: str) -> str:
    """The text without the token, which a service may repeat."""
    return text if token is None else text.replace(token, "…")


class _Limit(threading.local):
    """The time at which the call of this thread ends."""

    until = 0.0

    def left_s(self, fault: type[Exception]) -> float:
        """The seconds that are left, more than 0; raises `fault` where there are none."""
        left = self.until - monotonic()
        if left <= 0:
            raise fault("the time is up")
        return left


class _LimitedBackend(httpcore.NetworkBackend):
    """Opens connections whose every step ends with the call, since a time limit for each step would not bound them."""

    def __init__(self, limit: _Limit) -> None:
        self._limit, self._plain = limit, httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        left = self._limit.left_s(httpcore.ConnectTimeout)
        return _LimitedStream(
            self._plain.connect_tcp(host, port, left, local_address, socket_options),
            self._limit,
        )


class _LimitedStream(httpcore.NetworkStream):
    """A connection under the limit of the thread that uses it."""

    def __init__(self, plain: httpcore.NetworkStream, limit: _Limit) -> None:
        self._plain, self._limit = plain, limit

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._plain.read(max_bytes, self._limit.left_s(httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), WRITE_BYTES):
            part = buffer[start : start + WRITE_BYTES]
            self._plain.write(part, self._limit.left_s(httpcore.WriteTimeout))

    def close(self) -> None:
        self._plain.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = self._limit.left_s(httpcore.ConnectTimeout)
        return _LimitedStream(self._plain.start_tls(ssl_context, server_hostname, left), self._limit)

    def get_extra_info(self, info: str) -> Any:
        return self._plain.get_extra_info(info)

"""A lean HTTP client for measuring: prepared requests over open connections, and the time of each answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from time import perf_counter
from typing import NamedTuple


class Load(NamedTuple):
    """What clients have seen: seconds of each answer, how many were served, and the seconds of all together."""

    seconds: list[float]
    served: int
    wall_s: float


def request(path: str, body: bytes) -> bytes:
    """A POST with JSON, as bytes."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def one_by_one(port: int, requests: Sequence[bytes]) -> Load:
    """Send each request once the one before is answered, over one connection."""
    seconds, served, begin = [], 0, perf_counter()
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for content in requests:
            start = perf_counter()
            connection.sendall(content)
            got = b""
            while (end := got.find(b"\r\n\r\n")) < 0:
                got += connection.recv(1 << 16)
            missing = _length(got[:end]) - (len(got) - end - 4)
            while missing > 0:
                missing -= len(connection.recv(min(missing, 1 << 16)))
            seconds.append(perf_counter() - start)
            served += got.startswith(b"HTTP/1.1 200")
    return Load(seconds, served, perf_counter() - begin)


def side_by_side(port: int, requests: Sequence[bytes], connections: int) -> Load:
    """Share the requests out over several connections, each of which sends one at a time."""
    return asyncio.run(_side_by_side(port, requests, connections))


async def _side_by_side(port: int, requests: Sequence[bytes], connections: int) -> Load:
    seconds: list[float] = []
    served = 0

    async def client(own: Sequence[bytes]) -> None:
        nonlocal served
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for content in own:
            start = perf_counter()
            writer.write(content)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(_length(head))
            seconds.append(perf_counter() - start)
            served += head.startswith(b"HTTP/1.1 200")
        writer.close()

    begin = perf_counter()
    await asyncio.gather(*(client(requests[number::connections]) for number in range(connections)))
    return Load(seconds, served, perf_counter() - begin)


class Rated(NamedTuple):
    """What clients have seen at a given rate: seconds of each answer by its status, and of all together."""

    seconds: dict[int, list[float]]
    wall_s: float
    late_s: float
    """How far behind its moment a request was sent, at the median: above 0 where the clients are too slow."""


def at_rate(port: int, requests: Sequence[bytes], rate: float, connections: int) -> Rated:
    """Send `rate` requests a second, whether answers come or not, over at most so many connections."""
    return asyncio.run(_at_rate(port, requests, rate, connections))


async def _at_rate(port: int, requests: Sequence[bytes], rate: float, connections: int) -> Rated:
    seconds: dict[int, list[float]] = {}
    late: list[float] = []
    waiting = iter(enumerate(requests))
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(connections)]
    begin = perf_counter()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number, content in waiting:
            due = begin + number / rate
            await asyncio.sleep(due - perf_counter())
            start = perf_counter()
            late.append(start - due)
            writer.write(content)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(_length(head))
            seconds.setdefault(int(head[9:12]), []).append(perf_counter() - start)
        writer.close()

    await asyncio.gather(*(client(*one) for one in opened))
    wall_s = perf_counter() - begin
    return Rated(seconds, wall_s, sorted(late)[len(late) // 2])


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":")[1])
    raise ValueError(f"no length in {head!r}")

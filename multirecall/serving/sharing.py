"""Taking connections from a socket that several processes share, one at a time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

PAUSE_S = 0.1
"""Seconds until the next try where the process has no descriptor left."""


class SharedSocket:
    """Takes one connection in each turn of the event loop.

    A server of an event loop takes all that wait, so that the process that wakes first gets every connection of a burst
    and the others get none. It has the two methods of a server that uvicorn calls.
    """

    def __init__(self, listening: socket.socket, protocol: Callable[[], asyncio.Protocol]) -> None:
        """Begin, within a running event loop; `protocol` makes the protocol of a connection."""
        self._listening, self._protocol = listening, protocol
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[object]] = set()
        self._closed = False
        listening.setblocking(False)
        self._begin()

    def close(self) -> None:
        """Take no more connections."""
        self._closed = True
        self._loop.remove_reader(self._listening)

    async def wait_closed(self) -> None:
        """Wait for connections that were being taken."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._listening, self._take)

    def _take(self) -> None:
        try:
            connection, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another process was faster, or the client has hung up
        except OSError:
            self._loop.remove_reader(self._listening)
            self._loop.call_later(PAUSE_S, self._begin)
            return
        connection.setblocking(False)
        task: asyncio.Task[object] = self._loop.create_task(
            self._loop.connect_accepted_socket(self._protocol, connection)
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

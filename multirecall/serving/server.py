"""Running the application with uvicorn, on sockets of its own or on one that it shares with other processes."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing

import uvicorn
from starlette.types import ASGIApp

from multirecall.errors import ConfigError
from multirecall.serving.protocol import protocol_of
from multirecall.serving.settings import ServeSettings
from multirecall.serving.sharing import SharedSocket

END_S = 2.0
"""Seconds beyond `limits.shutdown_s` after which the process ends whatever still runs."""


def bind(settings: ServeSettings) -> socket.socket:
    """A socket that listens already, so that its address can be told; raises `ConfigError` where it is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host.strip("[]"), settings.port), family=family, backlog=2048)
    except OSError as fault:
        raise ConfigError(
            f"{settings.host}:{settings.port}: cannot be listened on ({fault.strerror}); choose another host or port"
        ) from None


def run(
    app: ASGIApp,
    settings: ServeSettings,
    sockets: list[socket.socket],
    started: Callable[[], None] = lambda: None,
    shared: socket.socket | None = None,
) -> None:
    """Serve until the process is told to stop; then running requests have `limits.shutdown_s` seconds.

    A call of the engine may outlast them, and the end of a process waits for its threads. So the process is ended
    `END_S` later whatever runs; what was acknowledged is on the disk.

    Args:
        app: the application.
        settings: of the deployment.
        sockets: that listen already; they are closed in the end.
        started: called once requests are taken.
        shared: another socket, on which other processes listen as well.
    """
    limits = settings.limits
    protocol = protocol_of(limits)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if shared is not None:
                self.servers.append(SharedSocket(shared, self._connection))  # type: ignore[arg-type]
            started()

        def _connection(self) -> asyncio.Protocol:
            return protocol(config, self.server_state, self.lifespan.state)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            end = threading.Timer(limits.shutdown_s + END_S, os._exit, (1,))
            end.daemon = True
            end.start()
            await super().shutdown(sockets)

    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=protocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=limits.idle_s,
        timeout_graceful_shutdown=limits.shutdown_s,
    )
    with ExitStack() as stack:
        for one in (*sockets, *([] if shared is None else [shared])):
            stack.enter_context(closing(one))
        Server(config).run(sockets=sockets)

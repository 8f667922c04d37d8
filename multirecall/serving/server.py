"""Running the application with uvicorn on one socket."""

from __future__ import annotations

import socket
from contextlib import closing

import uvicorn
from starlette.types import ASGIApp

from multirecall.errors import ConfigError
from multirecall.serving.protocol import protocol_of
from multirecall.serving.settings import ServeSettings


def bind(settings: ServeSettings) -> socket.socket:
    """A socket that listens already, so that its address can be told; raises `ConfigError` where it is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host.strip("[]"), settings.port), family=family, backlog=2048)
    except OSError as fault:
        raise ConfigError(
            f"{settings.host}:{settings.port}: cannot be listened on ({fault.strerror}); choose another host or port"
        ) from None


def run(app: ASGIApp, settings: ServeSettings, listening: socket.socket) -> None:
    """Serve until the process is told to stop; then running requests have `limits.shutdown_s` seconds."""
    limits = settings.limits
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=protocol_of(limits),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=limits.idle_s,
        timeout_graceful_shutdown=limits.shutdown_s,
    )
    with closing(listening):
        uvicorn.Server(config).run(sockets=[listening])

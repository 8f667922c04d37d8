"""One worker of a service: a process that loads the bundle and serves on a socket that it shares with others."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module
from multiprocessing.connection import Connection

from multirecall.engine import Engine
from multirecall.errors import MultirecallError
from multirecall.serving.crew import Crew, Membership
from multirecall.serving.settings import ServeSettings

Load = Callable[[bool], Engine]
"""Loads the bundle, and follows it where the argument is true."""


def work(load: Load, settings: ServeSettings, crew: Crew, listening: socket.socket, said: Connection) -> None:
    """Serve until the process is told to stop, or its parent ends.

    Args:
        load: gives the engine.
        settings: of the deployment.
        crew: of the deployment.
        listening: where requests come.
        said: gets one message: that this worker serves, or why it cannot.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches all processes; the parent tells this one
    _end_with_parent(crew)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(crew.metrics)  # read when the application is imported
    with ExitStack() as stack:
        try:
            turn = crew.turn_to_write() if settings.writable else None
            engine = stack.enter_context(load(turn is None))
            if turn is not None:
                engine.hold()
            app = import_module("multirecall.serving.app").build_app(
                engine, settings, Membership(crew.secret, crew.writer, settings.writable and turn is None)
            )
        except MultirecallError as fault:
            tell(said, fault=str(fault))
            sys.exit(1)
        private = [] if turn is None else [crew.listen()]
        import_module("multirecall.serving.server").run(
            app, settings, private, lambda: tell(said, writes=turn is not None), listening
        )


def tell(said: Connection, *, writes: bool = False, fault: str | None = None) -> None:
    """Tell the parent that this worker serves, or its fault."""
    said.send_bytes(json.dumps({"writes": writes, "fault": fault}).encode())
    said.close()


def _end_with_parent(crew: Crew) -> None:
    """Stop this process when its parent ends, so that none is left that holds the port or the bundle."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        shutil.rmtree(crew.folder, ignore_errors=True)  # the parent can no longer
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="multirecall-parent", daemon=True).start()

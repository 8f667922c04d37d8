"""What the workers of a deployment share: a private folder, a secret, and the turn to write."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

from filelock import FileLock, Timeout

from multirecall.errors import ConfigError

LONGEST_ADDRESS = 100
"""Bytes of the path of a Unix socket; systems take 103 or more."""


@dataclass(frozen=True, slots=True)
class Membership:
    """What a process of a service has from its crew; the default is that of a process without one.

    Attributes:
        secret: random bytes that all workers know.
        writer: where the worker that writes hears the others, None without a crew.
        forwards: whether this worker passes writes on to the one that writes.
    """

    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    writer: Path | None = None
    forwards: bool = False


@dataclass(frozen=True, slots=True)
class Crew:
    """The workers of one deployment.

    Attributes:
        folder: which only their user can enter.
        secret: random bytes that sign sessions.
    """

    folder: Path
    secret: bytes = field(repr=False)

    @property
    def writer(self) -> Path:
        """Where the worker that writes hears the others."""
        return self.folder / "writer"

    @property
    def metrics(self) -> Path:
        """The folder of the figures of all workers."""
        return self.folder / "metrics"

    def turn_to_write(self) -> FileLock | None:
        """The lock of the worker that writes, which it holds until it ends; None: another worker has it."""
        lock = FileLock(
            self.folder / "turn", blocking=False, thread_local=False, fallback_to_soft=False, preserve_lock_file=True
        )
        try:
            lock.acquire()
        except Timeout:
            return None
        return lock

    def listen(self) -> socket.socket:
        """Hear the other workers, in place of a worker that has ended. Only for who has the turn to write."""
        self.writer.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(str(self.writer))
        listening.listen(128)
        return listening


@contextmanager
def assemble_crew() -> Iterator[Crew]:
    """A new crew, whose folder is removed in the end; raises `ConfigError` where it has no place for a socket."""
    folder = Path(mkdtemp(prefix="multirecall-"))  # of mode 700
    try:
        crew = Crew(folder, secrets.token_bytes(32))
        if len(os.fsencode(crew.writer)) > LONGEST_ADDRESS:
            raise ConfigError(f"{crew.writer}: is too long for a socket; set TMPDIR to a shorter path")
        crew.metrics.mkdir()
        yield crew
    finally:
        shutil.rmtree(folder, ignore_errors=True)

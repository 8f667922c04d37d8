"""Replicas of shards in threads of this process, which can be killed, held up and started again."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from multirecall.scaleout.layout import Layout
from multirecall.scaleout.shard import Shard


class LocalReplica:
    """A replica of a shard in this process.

    Attributes:
        shard: the shard.
        calls: the methods that were called, in order.
        gate: while it is not set, calls wait before they begin.
    """

    def __init__(self, folder: Path, number: int, threads: int = 4) -> None:
        self._folder, self._number = folder, number
        self.gate = threading.Event()
        self.gate.set()
        self.calls: list[str] = []
        self._pool = ThreadPoolExecutor(threads)
        self.dead = False
        self.shard = Shard(str(folder), number)

    def call(self, method: str, message: bytes) -> Future[bytes]:
        """As `Replica.call`; a dead one raises in the future."""
        return self._pool.submit(self._call, method, message)

    def kill(self) -> None:
        """Lose the process, and with it all that it knew."""
        self.dead = True

    def restart(self) -> None:
        """Start the process again: it knows what its bundle holds."""
        self.shard = Shard(str(self._folder), self._number)
        self.dead = False

    def close(self) -> None:
        """As `Replica.close`."""
        self.gate.set()
        self._pool.shutdown(wait=True)

    def _call(self, method: str, message: bytes) -> bytes:
        self.calls.append(method)
        self.gate.wait(30)
        if self.dead:
            raise ConnectionError("the process is gone")
        return self.shard.call(method, message)


def local_replicas(folder: Path, n_replicas: int = 1) -> list[list[LocalReplica]]:
    """The replicas of each shard of a sharded bundle."""
    n_shards = len(Layout.read(folder).shards)
    return [[LocalReplica(folder, shard) for _ in range(n_replicas)] for shard in range(n_shards)]

"""The lock that lets one engine at a time write to a bundle."""

from __future__ import annotations

import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from multirecall.errors import BundleError, BundleHeld

LOCK = "LOCK"


class WriterLock:
    """Held from construction until `release`, the end of a `with` block, or garbage collection.

    An advisory `flock` on the file `LOCK` of the bundle, into which the holder writes who it is. The file stays when
    the lock is released, because removing it would let two writers hold one lock each. A forked child does not hold
    its parent's lock.
    """

    def __init__(self, folder: Path) -> None:
        """Take the lock of the bundle in `folder`, which exists.

        Raises:
            BundleError: another engine, here or in another process, holds it; or the folder cannot be written.
        """
        self.folder = folder
        file = folder / LOCK
        self._lock = FileLock(
            file,
            blocking=False,
            thread_local=False,  # the thread that closes an engine need not be the one that saved it
            fallback_to_soft=False,  # a file system without flock is an error, not a lock that outlives its holder
            preserve_lock_file=True,
            on_acquired=_sign,
        )
        try:
            folder.stat()  # filelock would make it
            self._lock.acquire()
        except Timeout:
            raise BundleHeld(f"{folder}: is being written by {_holder(file)}; close that one first") from None
        except OSError as fault:
            raise BundleError(
                f"{file}: cannot be locked ({fault.strerror}); check the disk and the permissions"
            ) from None

    @property
    def held(self) -> bool:
        """Whether this process holds the lock."""
        return self._lock.is_locked

    def release(self) -> None:
        """Release the lock. A second call does nothing."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _sign(descriptor: int) -> None:
    holder = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def _holder(file: Path) -> str:
    try:
        signed = json.loads(file.read_bytes()[:1000])
        pid, host, since = signed["pid"], signed["host"], signed["since"]
    except (OSError, ValueError, TypeError, KeyError):
        return "another engine"
    here = pid == os.getpid() and host == socket.gethostname()
    return f"another engine of this process (since {since})" if here else f"process {pid} on {host} (since {since})"

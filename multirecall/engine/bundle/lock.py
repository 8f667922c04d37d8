"""The lock that lets one engine at a time write to a bundle."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Self
from weakref import WeakSet

from multirecall.errors import BundleError

LOCK = "LOCK"


class WriterLock:
    """Held from construction until `release`, the end of a `with` block, or garbage collection.

    An advisory `flock` on the file `LOCK` of the bundle, into which the holder writes who it is. The file stays when the
    lock is released, because removing it would let two writers hold one lock each. A forked child does not hold its
    parent's lock.
    """

    def __init__(self, folder: Path) -> None:
        """Take the lock of the bundle in `folder`, which exists.

        Raises:
            BundleError: another engine, here or in another process, holds it; or the folder cannot be written.
        """
        self.folder = folder
        self._descriptor: int | None = None
        file = folder / LOCK
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _sign(descriptor)
            except BaseException as fault:
                holder = _holder(descriptor) if isinstance(fault, BlockingIOError) else ""
                os.close(descriptor)
                if holder:
                    raise BundleError(f"{folder}: is being written by {holder}; close that one first") from None
                raise
        except OSError as fault:
            raise BundleError(
                f"{file}: cannot be locked ({fault.strerror}); check the disk and the permissions"
            ) from None
        self._descriptor = descriptor
        _held.add(self)

    @property
    def held(self) -> bool:
        """Whether this process holds the lock."""
        return self._descriptor is not None

    def release(self) -> None:
        """Release the lock. A second call does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __del__(self) -> None:
        self.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


_held: WeakSet[WriterLock] = WeakSet()


def _forget() -> None:
    """Close a forked child's copies of its parent's locks, which would outlive the parent. The parent still holds its own."""
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_forget)


def _sign(descriptor: int) -> None:
    holder = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def _holder(descriptor: int) -> str:
    try:
        signed = json.loads(os.pread(descriptor, 1000, 0))
        pid, host, since = signed["pid"], signed["host"], signed["since"]
    except (OSError, ValueError, TypeError, KeyError):
        return "another engine"
    here = pid == os.getpid() and host == socket.gethostname()
    return f"another engine of this process (since {since})" if here else f"process {pid} on {host} (since {since})"

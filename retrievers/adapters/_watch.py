"""A look at a file about once a second, while requests come, so that it is read again when it has changed."""

from __future__ import annotations

import glob
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

PERIOD_S = 1.0
"""Seconds from one look at the file to the next."""

Signature = tuple[tuple[str, int, int, int], ...]
"""The name, the inode, the time of the last change in nanoseconds, and the bytes of each file; () where none is."""

_log = logging.getLogger("multirecall.retrievers")


def signature_of(file: str) -> Signature:
    """What tells one state of a file, or of all files that match a pattern, from the next."""
    found = []
    for name in [file] if Path(file).exists() else sorted(glob.glob(file, recursive=True)):
        try:
            told = os.stat(name)
        except OSError:
            continue
        found.append((name, told.st_ino, told.st_mtime_ns, told.st_size))
    return tuple(found)


class Watch:
    """Reads a file again when it has changed. Requests call `poll`, which takes no time; the work is done on a thread.

    A file that cannot be read leaves everything as it was: it is warned of once, and tried again when it has changed.

    Args:
        file: its path, or a pattern.
        read: reads it and serves what it holds.
        seen: the signature of what is served now; None if that came from elsewhere, so that the first look reads.

    Attributes:
        idle: set while no look is under way.
        trouble: why the last reading failed, or None.
    """

    def __init__(self, file: str, read: Callable[[], None], seen: Signature | None) -> None:
        self._file, self._read, self._seen = file, read, seen
        self._due = time.monotonic() + PERIOD_S if seen is not None else 0.0
        self._closed = False
        self.trouble: str | None = None
        self._start()

    def _start(self) -> None:
        """Begin with free locks; a forked process has those of its parent, whose threads it lacks."""
        self._process = os.getpid()
        self._turn, self._looking = threading.Lock(), threading.Lock()
        self.idle = threading.Event()
        self.idle.set()

    def poll(self) -> None:
        """Let a thread look at the file if the last look is `PERIOD_S` ago and no other is under way."""
        if self._closed or time.monotonic() < self._due:
            return
        if self._process != os.getpid():
            self._start()
        if self._turn.acquire(blocking=False):
            self._due = time.monotonic() + PERIOD_S
            self.idle.clear()
            try:
                threading.Thread(target=self._look_aside, name=f"watch {self._file}", daemon=True).start()
            except RuntimeError:  # no thread can begin now, such as at the end of the process
                self.idle.set()
                self._turn.release()

    def _look_aside(self) -> None:
        try:
            self.look()
        finally:
            self.idle.set()
            self._turn.release()

    def look(self) -> bool:
        """Read the file now if it differs from what was read last; True if something new is served."""
        with self._looking:
            signature = signature_of(self._file)
            if self._closed or signature == self._seen:
                return False
            self._seen = signature
            try:
                self._read()
            except Exception as fault:  # noqa: BLE001 - whatever is wrong with the file, the path goes on
                self.trouble = f"serves what it had: {fault}"
                _log.warning("%s: could not be read again, so the path serves what it had: %s", self._file, fault)
                return False
            self.trouble = None
            _log.info("%s: has changed and was read again", self._file)
            return True

    def close(self) -> None:
        """Look no more; a look that is under way still ends by itself."""
        self._closed = True

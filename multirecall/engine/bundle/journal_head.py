"""The head file: the number of the newest change, outside the database, so that a lost end is noticed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from multirecall.errors import BundleError
from multirecall.storage import sync_one

HEAD = "journal.head"
REMEDY = "restore the bundle from a copy, or keep what can be read: multirecall salvage BUNDLE"
ATTEMPTS = 5
"""The number of reads before a line that does not match its digest counts as damaged; a writer may be writing it."""


class JournalHead:
    """The number of the newest change, in a file of one line that is overwritten in place.

    If SQLite's write-ahead log is damaged or missing, SQLite treats the rest of it as never committed. The head is
    written after each commit, without waiting for the disk, so it is never ahead of the journal. A journal that ends
    before the head has lost changes.

    Args:
        folder: the bundle.
        owner: its id.
    """

    def __init__(self, folder: Path, owner: str) -> None:
        self.file = folder / HEAD
        self.owner = owner

    def read(self) -> int | None:
        """The number, or None if there is no such file.

        Raises:
            BundleError: the file is damaged, or belongs to another bundle.
        """
        for _ in range(ATTEMPTS):
            try:
                words = self.file.read_text(encoding="utf-8", errors="replace").split()
            except FileNotFoundError:
                return None
            except OSError as fault:
                raise BundleError(f"{self.file}: cannot be read ({fault.strerror}); check the permissions") from None
            if len(words) == 3 and words[1].isdecimal() and _line(words[0], int(words[1])).split() == words:
                if words[0] != self.owner:
                    raise BundleError(f"{self.file}: belongs to another bundle; {REMEDY}")
                return int(words[1])
        raise BundleError(f"{self.file}: is damaged; {REMEDY}")

    def create(self, last: int) -> None:
        """Create the file, durably and atomically; raises `OSError`."""
        fresh = self.file.with_name(f".{HEAD}")
        fresh.write_text(_line(self.owner, last), encoding="utf-8")
        sync_one(fresh)
        os.replace(fresh, self.file)
        sync_one(self.file.parent)

    def write(self, last: int) -> None:
        """Overwrite the number; raises `OSError`."""
        descriptor = os.open(self.file, os.O_WRONLY)
        try:
            os.pwrite(descriptor, _line(self.owner, last).encode(), 0)
        finally:
            os.close(descriptor)


def _line(owner: str, last: int) -> str:
    text = f"{owner} {last:020}"
    return f"{text} {hashlib.sha256(text.encode()).hexdigest()}\n"

"""Salvage: what can be kept of a damaged journal."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from multirecall.engine.bundle import bundle
from multirecall.engine.bundle.journal import FILE, Journal, JournalReader, connect, make_journal, sha256_of
from multirecall.engine.bundle.journal_head import HEAD, JournalHead
from multirecall.errors import BundleError

_log = logging.getLogger("multirecall.engine")


class Salvaged(NamedTuple):
    """The result of a salvage: what became of the live changes that were journaled after the current version.

    Attributes:
        version: name of the current version.
        whole: whether the journal was intact; then nothing was done.
        kept: the number of intact live changes that follow the version without a gap.
        lost: the number of acknowledged live changes after those; None if that cannot be told any more.
    """

    version: str
    whole: bool
    kept: int
    lost: int | None


def salvage_bundle(folder: Path) -> Salvaged:
    """Repair the journal of a bundle if it is damaged. The damaged files stay in the folder as `damaged-…`.

    Raises:
        BundleError: not a bundle, its current version is damaged, it has a writer, or it cannot be written.
    """
    name = bundle.current_name(folder)
    with bundle.claim(folder):
        version = bundle.headline(folder, name, current=True)
        reader = JournalReader(folder, version.bundle)
        try:
            return Salvaged(name, True, sum(1 for _ in reader.since(version.journal_seq)), 0)
        except BundleError as fault:
            _log.warning("%s", fault)
        try:
            noted: int | None = JournalHead(folder, version.bundle).read()
        except BundleError:
            noted = None
        last = salvage(folder, version.bundle, version.journal_seq)
        return Salvaged(name, False, last - version.journal_seq, None if noted is None else max(0, noted - last))


def salvage(folder: Path, owner: str, contained: int) -> int:
    """Set the files of a damaged journal aside, and start a new journal with the intact changes, up to the first gap.

    The caller holds the bundle's lock.

    Args:
        folder: the bundle.
        owner: its id, `Version.bundle`.
        contained: `Version.journal_seq` of the version that will be served; changes after it are looked for.

    Returns:
        The number of the last change that the new journal, or that version, contains.

    Raises:
        BundleError: the folder cannot be written.
    """
    kept = _readable(folder / FILE, owner, contained)
    try:
        number = 1 + sum(path.name.endswith(FILE) for path in folder.glob("damaged-*"))
        for name in (FILE, f"{FILE}-wal", f"{FILE}-shm", HEAD):
            if (folder / name).exists():
                (folder / name).rename(folder / f"damaged-{number}-{name}")
    except OSError as fault:
        raise BundleError(f"{folder}: cannot be written ({fault}); check the disk and the permissions") from None
    make_journal(folder, owner, contained)
    with Journal(folder, owner, contained) as journal:
        last = journal.append(kept)
    _log.warning(
        "%s: %d changes after %d were kept; the old files are damaged-%d-*", folder, len(kept), contained, number
    )
    return last


def _readable(file: Path, owner: str, after: int) -> list[bytes]:
    """The payloads of the changes after `after`, up to the first that is missing or damaged."""
    found: list[bytes] = []
    try:
        with closing(connect(file, "mode=ro")) as db:
            rows = db.execute("SELECT seq, payload, sha256 FROM changes WHERE seq > ? ORDER BY seq", (after,))
            for seq, payload, sha256 in rows:
                expected = after + 1 + len(found)
                if seq != expected or not isinstance(payload, bytes) or sha256 != sha256_of(owner, seq, payload):
                    break
                found.append(payload)
    except (sqlite3.Error, OSError, MemoryError) as fault:
        _log.warning("%s: %s", file, fault)
    return found

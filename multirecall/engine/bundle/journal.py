"""The changes that a live engine has acknowledged: numbered, durable, in SQLite beside the versions of a bundle."""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Self

from multirecall.engine.bundle.journal_head import REMEDY, JournalHead
from multirecall.errors import BundleError

FILE = "journal.sqlite"
FORMAT = 1
SCHEMA = (
    "CREATE TABLE changes (seq INTEGER PRIMARY KEY, payload BLOB NOT NULL, sha256 BLOB NOT NULL) STRICT",
    "CREATE TABLE identity (owner TEXT NOT NULL, pruned INTEGER NOT NULL) STRICT",
)
PER_READ = 256
"""The number of changes that one read fetches. Nothing is locked between two reads."""

PAGES_IN_LOG = 4_000
"""The number of 4 KiB pages after which the write-ahead log is copied into the database."""

ENVIRONMENT = ("FULL", "IOERR", "READONLY", "CANTOPEN", "PERM", "BUSY", "LOCKED", "NOLFS", "TOOBIG")
"""The SQLite errors (without the prefix `SQLITE_`) that do not mean that the journal is damaged."""

_log = logging.getLogger("multirecall.engine")


class Pruned(BundleError):  # noqa: N818
    """The journal no longer has the changes that a reader asks for, because the bundle's versions contain them."""


class JournalReader:
    """Reads a journal. Another process may write to it meanwhile, and it need not exist yet.

    Args:
        folder: the bundle.
        owner: its id, `Version.bundle`.
    """

    def __init__(self, folder: Path, owner: str) -> None:
        self.file = folder / FILE
        self.owner = owner
        self._head = JournalHead(folder, owner)

    @property
    def noted(self) -> int:
        """The number of the newest change that a writer noted in the head file, 0 before the first. It reads one line.

        A writer that was killed right after a commit did not note that change; the next writer does.

        Raises:
            BundleError: the line is damaged or of another bundle.
        """
        return self._head.read() or 0

    @property
    def last(self) -> int:
        """Number of the newest change, 0 before the first; raises `BundleError`."""
        with _translate_errors(self.file):
            db = self._open()
            if db is None:
                return 0
            with closing(db):
                return self._bounds(db, self._head.read())[1]

    def since(self, seq: int) -> Generator[tuple[int, bytes], None, None]:
        """The changes after number `seq` with their numbers, in order; each is compared with its SHA-256.

        Raises:
            Pruned: some of them are gone.
            BundleError: the journal is missing, damaged, of another bundle, or ends before `seq`.
        """
        with _translate_errors(self.file):
            db = self._open()
            if db is None:
                if seq > 0:
                    raise BundleError(f"{self.file}: is missing, and with it changes after {seq}; {REMEDY}")
                return
            try:
                yield from self._changes(db, seq)
            finally:
                db.close()

    def _open(self) -> sqlite3.Connection | None:
        """A connection that only reads, or None before the first change."""
        if not self.file.exists():
            if self.noted:
                raise BundleError(f"{self.file}: is missing, with {self.noted} changes; {REMEDY}")
            return None
        try:
            return connect(self.file, "mode=ro")
        except sqlite3.OperationalError:
            if os.access(self.file.parent, os.W_OK) or self.file.with_name(f"{FILE}-wal").exists():
                raise
            return connect(self.file, "immutable=1")  # the folder is read-only

    def _changes(self, db: sqlite3.Connection, seq: int) -> Generator[tuple[int, bytes], None, None]:
        while True:
            noted = self._head.read()  # read before the snapshot, which can then only be newer
            db.execute("BEGIN")
            try:
                pruned, last = self._bounds(db, noted)
                if seq < pruned:
                    raise Pruned(f"{self.file}: changes after {seq} are asked for, those up to {pruned} are gone")
                if seq > last:
                    raise BundleError(f"{self.file}: ends at change {last}, {seq} was acknowledged; {REMEDY}")
                query = "SELECT seq, payload, sha256 FROM changes WHERE seq > ? ORDER BY seq LIMIT ?"
                rows = db.execute(query, (seq, PER_READ)).fetchall()
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")
            for number, payload, sha256 in rows:
                if (
                    number != seq + 1
                    or not isinstance(payload, bytes)
                    or sha256 != sha256_of(self.owner, number, payload)
                ):
                    raise BundleError(f"{self.file}: change {seq + 1} is missing or damaged; {REMEDY}")
                yield number, payload
                seq = number
            if len(rows) < PER_READ:
                if seq < last:
                    raise BundleError(f"{self.file}: change {seq + 1} is missing or damaged; {REMEDY}")
                return

    def _bounds(self, db: sqlite3.Connection, noted: int | None) -> tuple[int, int]:
        """The numbers of the last pruned and of the newest change, of a journal that proved to be this bundle's."""
        tables = [sql for (sql,) in db.execute("SELECT sql FROM sqlite_schema ORDER BY name")]
        if not tables and noted is None:
            return 0, 0  # the writer is about to make them
        if db.execute("PRAGMA user_version").fetchone() != (FORMAT,) or tables != list(SCHEMA):
            raise BundleError(f"{self.file}: is no journal that this version of multirecall can read; {REMEDY}")
        [(owner, pruned)] = db.execute("SELECT owner, pruned FROM identity").fetchall()
        if owner != self.owner:
            raise BundleError(f"{self.file}: belongs to another bundle; {REMEDY}")
        first, last = db.execute("SELECT (SELECT min(seq) FROM changes), (SELECT max(seq) FROM changes)").fetchone()
        last = pruned if last is None else last
        if noted is None and last and self._head.read() is None:
            raise BundleError(f"{self._head.file}: is missing; {REMEDY}")
        if last < (noted or 0):
            raise BundleError(
                f"{self.file}: ends at change {last}, {noted} was acknowledged: "
                f"it or {FILE}-wal is damaged or lost; {REMEDY}"
            )
        if first is not None and first != pruned + 1:
            raise BundleError(f"{self.file}: changes {pruned + 1} to {first - 1} are missing; {REMEDY}")
        return pruned, last


class Journal(JournalReader):
    """Writes a journal. Only the holder of the bundle's `WriterLock` may do so, from one thread at a time.

    Args:
        folder: the bundle.
        owner: its id, `Version.bundle`.
        contained: `Version.journal_seq` of the version that is served; the journal must begin and end around it.
    """

    def __init__(self, folder: Path, owner: str, contained: int) -> None:
        """Open the journal, or make it.

        Raises:
            Pruned: it begins after `contained`.
            BundleError: it is missing although it was there, damaged, of another bundle, ends before `contained`,
                or cannot be written.
        """
        super().__init__(folder, owner)
        self._pid = os.getpid()
        self._db: sqlite3.Connection | None = None
        self._last: int | None = None
        with _translate_errors(self.file):
            with closing(JournalReader(folder, owner).since(contained)) as read:
                next(read, None)  # read-only first, so that a damaged journal stays as it is
            if self._head.read() is None:
                make_journal(folder, owner, 0)
            db = connect(self.file, "mode=rw")
            try:
                db.execute("PRAGMA synchronous = FULL")
                db.execute("PRAGMA secure_delete = ON")
                db.execute(f"PRAGMA wal_autocheckpoint = {PAGES_IN_LOG}")
                last = self._bounds(db, self._head.read())[1]
                self._head.create(last)
            except BaseException:
                db.close()
                raise
            self._db, self._last = db, last

    @property
    def last(self) -> int:
        """Number of the newest change, 0 before the first; raises `BundleError`."""
        if self._last is None:
            with _translate_errors(self.file):
                self._last = self._bounds(self._connection, self._head.read())[1]
        return self._last

    def append(self, payloads: Sequence[bytes]) -> int:
        """Add changes in one transaction and return the number of the last. On return all are on disk.

        Raises:
            BundleError: the changes could not be written; none of them is in the journal.
        """
        last = self.last
        rows = [(seq, payload, sha256_of(self.owner, seq, payload)) for seq, payload in enumerate(payloads, last + 1)]
        self._last = None  # an interrupt may come right after the commit, so the end is unknown until noted
        with _translate_errors(self.file), self._transaction() as db:
            db.executemany("INSERT INTO changes VALUES (?, ?, ?)", rows)
        self._last = last + len(rows)
        self._note(self._last)
        return self._last

    def since(self, seq: int) -> Generator[tuple[int, bytes], None, None]:
        """As in `JournalReader`."""
        with _translate_errors(self.file):
            yield from self._changes(self._connection, seq)

    def prune(self, upto: int) -> bool:
        """Delete the changes up to number `upto`, overwrite them, and free their space.

        Returns:
            Whether the disk holds nothing of them any more. It is False if a reader holds the journal for seconds.

        Raises:
            BundleError: the journal cannot be written; then all are still there.
        """
        upto = min(upto, self.last)
        with _translate_errors(self.file):
            with self._transaction() as db:
                db.execute("DELETE FROM changes WHERE seq <= ?", (upto,))
                db.execute("UPDATE identity SET pruned = max(pruned, ?)", (upto,))
            [(busy, *_)] = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            return not busy

    def close(self) -> None:
        """Close the files. A second call does nothing, and so does a call in a forked child."""
        if self._pid != os.getpid():
            return
        db, self._db = self._db, None
        if db is not None:
            with _translate_errors(self.file):
                db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            raise BundleError(f"{self.file}: is closed; load the engine again")
        if self._pid != os.getpid():
            raise BundleError(
                f"{self.file}: was opened by the process that this one was forked from; load the engine here"
            )
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")  # an interrupt came between the begin and the block
        return self._db

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit what the block does; roll back if the block or the commit fails."""
        db = self._connection
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def _note(self, last: int) -> None:
        """Write the number of the newest change into the head file. An error loses nothing: changes are on disk."""
        try:
            self._head.write(last)
        except OSError as fault:
            _log.warning(
                "%s: cannot be written (%s); a lost end of the journal may go unnoticed", self._head.file, fault
            )


def make_journal(folder: Path, owner: str, start: int) -> None:
    """Make an empty journal, durably, whose first change will have the number `start` + 1.

    Raises:
        BundleError: the folder cannot be written, or its file system has no write-ahead logs.
    """
    file = folder / FILE
    with _translate_errors(file), closing(connect(file, "mode=rwc")) as db:
        if not db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            db.execute("PRAGMA auto_vacuum = FULL")
            if db.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
                raise BundleError(f"{file}: the file system cannot hold a write-ahead log; use a local one")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("BEGIN IMMEDIATE")
            for statement in SCHEMA:
                db.execute(statement)
            db.execute("INSERT INTO identity VALUES (?, ?)", (owner, start))
            db.execute(f"PRAGMA user_version = {FORMAT}")
            db.execute("COMMIT")
        JournalHead(folder, owner).create(start)


def connect(file: Path, mode: str) -> sqlite3.Connection:
    """Open a connection without implicit transactions, and read the file once; raises `sqlite3.Error`."""
    db = sqlite3.connect(f"{file.resolve().as_uri()}?{mode}", uri=True, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("PRAGMA cell_size_check = ON")
        db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except BaseException:
        db.close()
        raise
    return db


def sha256_of(owner: str, seq: int, payload: bytes) -> bytes:
    """The SHA-256 stored beside a change: it covers the bundle's id, the number and the content of the change."""
    return hashlib.sha256(f"{owner} {seq} ".encode() + payload).digest()


@contextmanager
def _translate_errors(file: Path) -> Iterator[None]:
    """Turn what SQLite and the system raise into a `BundleError` that names the file and the remedy."""
    try:
        yield
    except (sqlite3.Error, OSError, MemoryError, ValueError, TypeError) as fault:
        name = getattr(fault, "sqlite_errorname", "").removeprefix("SQLITE_")
        if isinstance(fault, OSError) or name.startswith(ENVIRONMENT):
            remedy = "check the disk and the permissions, then try again"
        else:
            remedy = f"it is damaged: {REMEDY}"
        raise BundleError(f"{file}: {fault}; {remedy}") from None

"""The bundle of an engine: its writer lock, its version and its journal."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Self

from multirecall.config import EngineConfig
from multirecall.data import Change
from multirecall.engine.bundle import bundle, erasure
from multirecall.engine.bundle.bundle import Version
from multirecall.engine.bundle.journal import Journal, JournalReader
from multirecall.engine.bundle.lock import WriterLock
from multirecall.engine.live import apply_changes
from multirecall.engine.state import EngineState
from multirecall.errors import BundleError, BundleHeld


class Store:
    """A bundle in which an engine journals its live changes. One thread at a time.

    Args:
        folder: the bundle.
        version: the one that the engine's state began as.

    Attributes:
        fault: why the last attempt to follow the bundle failed, or None.
    """

    def __init__(self, folder: Path, version: Version) -> None:
        self.folder = folder.resolve()  # a later change of the working directory or of links must not matter
        self.version = version
        self.fault: str | None = None
        self._lock: WriterLock | None = None
        self._journal: Journal | None = None

    @classmethod
    def create(cls, state: EngineState, config: EngineConfig, folder: Path) -> tuple[Self, EngineState]:
        """Save a state into a bundle for the first time; return the store, as its writer, and the state.

        Raises:
            BundleError: the folder holds something else, cannot be written, or has another writer.
        """
        with ExitStack() as held:
            lock = held.enter_context(bundle.claim(folder))
            state = replace(state, journal_seq=bundle.journal_end(folder))
            store = cls(folder, bundle.save(state, config, folder))
            journal = held.enter_context(Journal(store.folder, store.version.bundle, state.journal_seq))
            store._lock, store._journal = lock, journal
            store._prune()
            held.pop_all()
        return store, state

    @property
    def held(self) -> bool:
        """Whether this engine is the bundle's writer."""
        return self._lock is not None and self._lock.held

    def hold(self, seq: int) -> list[Change]:
        """Become the writer of the bundle, if not yet, and return the journaled changes after number `seq`.

        Another writer journaled them before, or this engine was interrupted before it could apply them.

        Raises:
            BundleError: another writer holds the bundle, or has saved another version since it was loaded.
        """
        if self._journal is None:
            self._become_writer(seq)
        journal = self._held_journal()
        return [] if journal.last == seq else read_changes(journal, seq)

    def append(self, changes: Sequence[Change]) -> int:
        """Make changes durable; returns the number of the last one. Raises `BundleError`."""
        return self._held_journal().append([change.to_bytes() for change in changes])

    def note_version(self, version: Version) -> None:
        """Note that `version` holds the engine's state, and prune the changes that all versions hold."""
        self.version = version
        self._prune()

    def close(self) -> None:
        """Let another writer have the bundle."""
        if self._journal is not None:
            self._journal.close()
        if self._lock is not None:
            self._lock.release()
        self._journal = self._lock = None

    def _become_writer(self, seq: int) -> None:
        with ExitStack() as held:
            lock = held.enter_context(bundle.claim(self.folder))
            current = bundle.current_name(self.folder)
            if current != self.version.name:
                raise BundleHeld(
                    f"{self.folder}: its version is now {current}, this engine was loaded from {self.version.name}; "
                    "load the bundle again"
                )
            self._journal = held.enter_context(Journal(self.folder, self.version.bundle, seq))
            self._lock = lock
            held.pop_all()

    def _prune(self) -> None:
        contained = min(version.journal_seq for version in bundle.versions(self.folder))
        erased = self._held_journal().prune(contained)
        if erasure.is_due(self.folder):
            erasure.finish(self.folder, erased)

    def _held_journal(self) -> Journal:
        if self._journal is None:
            raise BundleError(f"{self.folder}: is closed; load the bundle again")
        if not self.held:
            raise BundleError(f"{self.folder}: is written by the process that this one was forked from; load it here")
        return self._journal


def replay(state: EngineState, journal: JournalReader, until: int | None = None) -> EngineState:
    """Apply the journaled changes that the state does not hold yet, up to number `until`; raises `BundleError`."""
    changes = read_changes(journal, state.journal_seq, until)
    return replace(apply_changes(state, changes), journal_seq=state.journal_seq + len(changes)) if changes else state


def read_changes(journal: JournalReader, seq: int, until: int | None = None) -> list[Change]:
    """The journaled changes after number `seq`, up to number `until` or to the end.

    Raises:
        BundleError: the journal is damaged or ends before `until`, or `until` is less than `seq`.
    """
    changes = [Change.of_bytes(payload) for number, payload in journal.since(seq) if until is None or number <= until]
    if until is not None and seq + len(changes) != until:
        raise BundleError(f"{journal.file}: has no change {until} that follows change {seq}; name one that it has")
    return changes

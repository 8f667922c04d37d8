"""What may happen to the files of a bundle and to the disk under it, and what must hold then."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import polars as pl

from multirecall.data import Change
from multirecall.engine.bundle import bundle
from multirecall.engine.bundle.journal import Journal, JournalReader
from multirecall.engine.state import EngineState
from multirecall.errors import BundleError

Rng = np.random.Generator
NOBODY = 65534
CHANGES = [
    Change(
        "add_interactions",
        pl.DataFrame(
            {
                "user_id": [f"u{number}"] * number,
                "item_id": [f"i{item}" for item in range(number)],
                "timestamp": [1_800_000_000_000_000 + number] * number,
            }
        ),
    ).to_bytes()
    for number in range(1, 41)
]
"""Live changes of `small_shop("str")`."""


@dataclass(frozen=True)
class Saved:
    """A bundle of two versions and a journal, as a writer leaves it that was killed.

    Attributes:
        folder: the bundle.
        version: its current version.
    """

    folder: Path
    version: str

    @classmethod
    def of(cls, state: EngineState, config: Any, folder: Path) -> Saved:
        """Save twice; half of the journal's changes are contained in the versions."""
        live = folder.with_name(f"{folder.name}-live")
        with bundle.claim(live):
            one = bundle.save(state, config, live)
            with Journal(live, one.bundle, 0) as journal:
                journal.append(CHANGES[:20])
            with Journal(live, one.bundle, 0) as journal:
                for change in CHANGES[20:]:
                    journal.append([change])
                two = bundle.save(replace(state, data_version=2, journal_seq=20), config, live)
                shutil.copytree(live, folder)
        shutil.rmtree(live)
        return cls(folder, two.name)

    def open(self, version: str | None = None) -> list[bytes]:
        """Load a version and the changes after it, as an engine does."""
        _, state, found = bundle.load(self.folder, version)
        state.close()
        changes = JournalReader(self.folder, found.bundle).since(found.journal_seq)
        return CHANGES[: found.journal_seq] + [change for _, change in changes]

    def files(self) -> list[Path]:
        """Every file that a load reads: all of the current version, `CURRENT`, and the journal with its log."""
        own = sorted(file for file in (self.folder / self.version).rglob("*") if file.is_file())
        journal = [file for file in sorted(self.folder.glob("journal.*")) if not file.name.endswith("-shm")]
        return [*own, self.folder / "CURRENT", *journal]


# What may happen to a file. Each takes the file, another one, and a source of places.


def flipped(file: Path, other: Path, rng: Rng) -> None:
    """One bit."""
    content = bytearray(file.read_bytes())
    content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    file.write_bytes(content)


def truncated(file: Path, other: Path, rng: Rng) -> None:
    """Some of its end is gone."""
    os.truncate(file, int(rng.integers(1, file.stat().st_size)))


def emptied(file: Path, other: Path, rng: Rng) -> None:
    """All of it is gone."""
    os.truncate(file, 0)


def grown(file: Path, other: Path, rng: Rng) -> None:
    """Something follows."""
    with file.open("ab") as stream:
        stream.write(rng.bytes(64))


def zeroed(file: Path, other: Path, rng: Rng) -> None:
    """A block of zeros, as after a loss of power."""
    content = file.read_bytes()
    start = int(rng.integers(len(content))) // 512 * 512
    file.write_bytes(content[:start] + bytes(len(content[start : start + 512])) + content[start + 512 :])


def swapped(file: Path, other: Path, rng: Rng) -> None:
    """Another's content."""
    content = file.read_bytes()
    file.write_bytes(other.read_bytes())
    other.write_bytes(content)


def missing(file: Path, other: Path, rng: Rng) -> None:
    """No such file."""
    file.unlink()


def unreadable(file: Path, other: Path, rng: Rng) -> None:
    """No permission; for root, to whom everything is permitted, a folder in its place."""
    if os.geteuid():
        file.chmod(0)
    else:
        file.unlink()
        file.mkdir()


DAMAGES: tuple[Callable[[Path, Path, Rng], None], ...] = (
    flipped,
    truncated,
    emptied,
    grown,
    zeroed,
    swapped,
    missing,
    unreadable,
)


def damage_every_file(saved: Saved, rng: Rng, every: int = 1) -> Counter[str]:
    """Damage one file after the other in every way, and prove what must hold. The faults by kind.

    Loading must raise a `BundleError` that names the file and a version that is whole, and the older version must load
    with all changes; or, where nobody reads what was damaged (a journal's unused bytes), all must be as it was.
    """
    faults: Counter[str] = Counter()
    files = saved.files()
    journal = list(saved.folder.glob("journal.*"))  # SQLite removes a log that does not fit its damaged database
    whole = {file: file.read_bytes() for file in {*files, *journal}}
    for number, file in enumerate(files):
        for damage in DAMAGES[number % every :: every]:
            other = files[(number + int(rng.integers(1, len(files)))) % len(files)]
            damage(file, other, rng)
            if file.is_file() and file.read_bytes() == whole[file]:  # zeros where zeros were, or a twin's content
                continue
            prove(saved, file, other if damage is swapped else file)
            faults[damage.__name__] += 1
            for path in {file, other, *journal}:
                restore(path, whole[path])
    if saved.open() != CHANGES:
        raise AssertionError("the restored bundle is not what it was")
    return faults


def prove(saved: Saved, file: Path, other: Path) -> None:
    """What must hold with `file` damaged."""
    journal = file.name.startswith("journal.")
    try:
        found = saved.open()
    except BundleError as fault:
        told = str(fault)
    else:
        if not journal or found != CHANGES:
            raise AssertionError(f"{file}: the damage went unnoticed")
        return
    names = {file.name, other.name, *(("journal.",) if journal or other.name.startswith("journal.") else ())}
    if not any(name in told for name in names):
        raise AssertionError(f"{file}: the error names another file: {told}")
    in_journal = journal or other.name.startswith("journal.")
    if not in_journal:
        if not re.search(r"Version 00000\d is whole: open it with", told):
            raise AssertionError(f"{file}: the error does not say what can be opened: {told}")
        if saved.open("000001") != CHANGES:
            raise AssertionError(f"{file}: the version before is not whole")


def restore(path: Path, content: bytes) -> None:
    """The file as it was."""
    if path.is_dir():
        path.rmdir()
    if not path.exists() or not os.access(path, os.R_OK) or path.read_bytes() != content:
        path.unlink(missing_ok=True)
        path.write_bytes(content)


class Disk:
    """Counts what is written to the disk, and fails at one of these moments: with half of it written."""

    def __init__(self, fails_at: int, code: int) -> None:
        self.fails_at = fails_at
        self.code = code
        self.moments = 0

    def _fails(self) -> bool:
        self.moments += 1
        return self.moments == self.fails_at

    def _error(self) -> OSError:
        return OSError(self.code, os.strerror(self.code))

    def _wrap(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self._fails():
                raise self._error()
            return work(*args, **kwargs)

        return call

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Within it, the program's writes, renames, new folders and waits for the disk are counted and may fail."""
        save, write_text = np.save, Path.write_text

        def half_saved(file: Path, array: Any, **kwargs: Any) -> None:
            if self._fails():
                file.write_bytes(b"half")
                raise self._error()
            save(file, array, **kwargs)

        def half_written(file: Path, text: str, **kwargs: Any) -> int:
            if self._fails():
                write_text(file, text[: len(text) // 2], **kwargs)
                raise self._error()
            return write_text(file, text, **kwargs)

        with (
            patch("numpy.save", half_saved),
            patch.object(Path, "write_text", half_written),
            patch.object(Path, "mkdir", self._wrap(Path.mkdir)),
            patch.object(Path, "rename", self._wrap(Path.rename)),
            patch("os.replace", self._wrap(os.replace)),
            patch("os.fsync", self._wrap(lambda descriptor: None)),  # the machine stays up: no need to wait
        ):
            yield


def fail_every_write(saved: Saved, state: EngineState, config: Any, code: int = errno.ENOSPC, step: int = 1) -> int:
    """Save again and again, each time with the next write failing, until one goes through; how many failed.

    After each failure the versions before must be there and whole, with all changes, and nothing else.
    """
    failures, moment = 0, 1
    before = sorted(path.name for path in saved.folder.iterdir())
    while True:
        disk = Disk(moment, code)
        try:
            with bundle.claim(saved.folder), disk.failing():
                bundle.save(replace(state, data_version=3, journal_seq=40), config, saved.folder)
        except BundleError as fault:
            if os.strerror(code) not in str(fault):
                raise AssertionError(f"the error does not say why: {fault}") from None
            failures += 1
        if disk.moments < moment:
            break
        current = next(one for one in bundle.versions(saved.folder) if one.current)
        if current.name == saved.version:
            left = sorted(path.name for path in saved.folder.iterdir() if path.name != ".CURRENT")
            if left != before:
                raise AssertionError(f"failure {moment} left {left} of {before}")
        elif saved.open() != CHANGES:  # CURRENT had moved, and only the wait for it failed
            raise AssertionError(f"failure {moment}: the new version is not whole")
        if failures % 10 == 0 and saved.open() != CHANGES:
            raise AssertionError(f"failure {moment}: the version before is not whole")
        moment += step
    return failures


def error_of(work: Callable[[], object]) -> str:
    """The message of the `BundleError` that `work` must raise."""
    try:
        work()
    except BundleError as fault:
        return str(fault)
    raise AssertionError("it was not refused")


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Within it nobody may write to the folder; root works as nobody."""
    paths = [folder, *folder.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        for path in paths:
            path.chmod(0o755 if path.is_dir() else 0o644)

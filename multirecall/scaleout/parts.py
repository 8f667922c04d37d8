"""The folder that a batch fills: parts of candidates as parquet, and a manifest that says of what.

A part counts when it is there under its name, which a rename gives it once it is complete and on the disk. So a kill at
any moment leaves nothing to repair, and no list that could contradict the files. The manifest lists them in the end.

Names that begin with `_` or `.` are passed over by what reads a folder as one table, such as Spark and Arrow.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl
from filelock import FileLock, Timeout

from multirecall.errors import BundleError, RequestError
from multirecall.output import require_folder
from multirecall.storage import read_json, sync_one, write_json

MANIFEST = "_manifest.json"
LOCK = "_lock"
FORMAT = 1
ROWS_OF_GROUP = 122_880
"""Rows of a row group, as DuckDB has them; fixed, so that the bytes do not depend on a library's default."""


class Parts:
    """The parts of one run. `claim` makes the folder, or finds in it what the same run left.

    Args:
        folder: where they are.
        run: what they are of, as JSON values: `state`, `users`, `request` and `chunk`.
        n_parts: how many there are in the end.
    """

    def __init__(self, folder: Path, run: Mapping[str, Any], n_parts: int) -> None:
        self.folder, self.run = folder, run
        digits = max(5, len(str(n_parts - 1)))
        self.names = [f"part-{number:0{digits}}.parquet" for number in range(n_parts)]

    @contextmanager
    def claim(self) -> Iterator[None]:
        """Hold the folder while its parts are written. Drafts that a killed worker left are removed.

        Raises:
            RequestError: the folder has parts of another run, something else, or another writer; or it cannot be
                written.
        """
        require_folder(self.folder, "write_candidates")
        lock = FileLock(
            self.folder / LOCK, blocking=False, thread_local=False, fallback_to_soft=False, preserve_lock_file=True
        )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise RequestError(f"{self.folder}: another run writes it; wait for its end, or name another") from None
        except OSError as fault:
            raise unwritable(self.folder, fault) from None
        try:
            self._remove_drafts()
            self._open()
            yield
        finally:
            self._remove_drafts()
            lock.release()

    def present(self) -> set[str]:
        """The names of the parts that are there."""
        return {name for name in os.listdir(self.folder) if name.endswith(".parquet") and not name.startswith(".")}

    def finish(self, rows: Mapping[str, int]) -> int:
        """Say in the manifest that all parts are there, with the rows of each, and return the number of all rows.

        Args:
            rows: those of parts that were written now; the other parts are asked.

        Raises:
            RequestError: a part cannot be read.
        """
        listed = {name: rows[name] if name in rows else _height(self.folder / name) for name in self.names}
        self._note(complete=True, rows=sum(listed.values()), parts=listed)
        return sum(listed.values())

    def _open(self) -> None:
        present = os.listdir(self.folder)
        if MANIFEST not in present:
            others = sorted(name for name in present if name != LOCK)
            if others:
                raise RequestError(
                    f"{self.folder}: has {others[0]!r} but no {MANIFEST}, so it is not of a batch; name another folder"
                )
            self._note(complete=False)
            return
        noted = _read_manifest(self.folder)
        differences = list(_differences({"format": FORMAT, **self.run}, noted))
        if differences:
            raise RequestError(
                f"{self.folder}: holds candidates of another run: {'; '.join(differences)}. "
                "Name another folder, or remove this one"
            )
        foreign = sorted(self.present() - {*self.names})
        if foreign:
            raise RequestError(f"{self.folder / foreign[0]}: is no part of this run; remove it, or name another folder")

    def _note(self, **more: Any) -> None:
        draft = self.folder / f".{MANIFEST}.draft"
        try:
            write_json(draft, {"format": FORMAT, **self.run, "n_parts": len(self.names), **more})
            _publish(draft, self.folder / MANIFEST)
        except OSError as fault:
            raise unwritable(self.folder, fault) from None

    def _remove_drafts(self) -> None:
        for draft in self.folder.glob(".*.draft"):
            draft.unlink(missing_ok=True)


def noted_state(folder: Path) -> dict[str, Any] | None:
    """The state that a run has begun with and not completed, as its manifest has it; None: there is no such run."""
    if not (folder / MANIFEST).is_file():
        return None
    noted = _read_manifest(folder)
    state = noted.get("state")
    return state if isinstance(state, dict) and noted.get("complete") is not True else None


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        return read_json(folder / MANIFEST)
    except BundleError:
        raise RequestError(f"{folder / MANIFEST}: is damaged; name another folder, or remove this one") from None


def digest_of(users: pl.Series) -> str:
    """SHA-256 of the ids and their order."""
    digest = hashlib.sha256()
    for block in users.to_frame().iter_slices(1 << 16):
        digest.update(json.dumps(block.to_series().to_list()).encode())
    return digest.hexdigest()


def write_part(frame: pl.DataFrame, file: Path) -> int | None:
    """Write a part, which appears under its name when it is complete and on the disk; return the number of its rows.

    The bytes follow from the frame alone. A part that has appeared meanwhile, from a worker that outlived its driver,
    stays, and None is returned.

    Raises:
        OSError: it cannot be written.
    """
    draft = file.with_name(f".{file.name}.{uuid4().hex}.draft")
    frame.write_parquet(draft, compression="snappy", row_group_size=ROWS_OF_GROUP)
    if file.exists():
        draft.unlink()
        return None
    _publish(draft, file)
    return frame.height


def _publish(draft: Path, file: Path) -> None:
    sync_one(draft)
    os.replace(draft, file)
    sync_one(file.parent)


def unwritable(place: Path, fault: OSError) -> RequestError:
    """The error for a folder or part that the system refuses to write."""
    return RequestError(f"{place}: cannot be written ({fault}); check the disk and the permissions")


def _height(part: Path) -> int:
    """The number of rows that the footer of a part notes."""
    try:
        return int(pl.scan_parquet(part, glob=False).select(pl.len()).collect().item())
    except (pl.exceptions.PolarsError, OSError) as fault:
        raise RequestError(f"{part}: cannot be read ({fault}); remove it and run again") from None


def _differences(here: Any, there: Any, place: str = "") -> Iterator[str]:
    """Where two JSON values differ, in words."""
    if isinstance(here, Mapping) and isinstance(there, Mapping):
        for key in here:
            yield from _differences(here[key], there.get(key), f"{place}.{key}".lstrip("."))
    elif here != there:
        ours, theirs = (json.dumps(one)[:80] for one in (here, there))
        yield f"{place} is {theirs} there and {ours} now"

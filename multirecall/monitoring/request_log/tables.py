"""What many requests share, kept once: the item ids behind the rows, and the configs that answered."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multirecall.monitoring.request_log.layout import CONFIGS, ITEMS, write_whole
from multirecall.online import Served
from multirecall.storage import json_digest
from multirecall.vocabulary import Vocabulary

Needed = dict[Path, Callable[[Path], None]]
"""Folders and files that a part needs; each value writes the one that it is called with."""


class TableWriter:
    """Names the tables that requests need, and knows how to write them. One thread uses it.

    Args:
        folder: of the log.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fitted: NDArray[Any] | None = None
        self._catalogue = ""
        self._late = ""
        self._tail: NDArray[Any] = np.empty(0, np.int64)
        self._seen: Vocabulary | None = None
        self._served: Served | None = None
        self._names: tuple[str, str | None, str] = ("", None, "")
        self._needed: Needed = {}

    def names(self, served: Served, needed: Needed) -> tuple[str, str | None, str]:
        """The names of what answered: as `catalogue` gives them, and as `config`; found once for all its answers."""
        if served is not self._served:
            self._needed = {}
            self._names = *self.catalogue(served.catalogue, self._needed), self.config(served, self._needed)
            self._served = served
        needed.update(self._needed)
        return self._names

    def catalogue(self, items: Vocabulary, needed: Needed) -> tuple[str, str | None]:
        """The names of the table of a catalogue and of the items that joined it later; None: none did.

        Args:
            items: the catalogue.
            needed: gets the folders of both.
        """
        if items is not self._seen:
            self._look(items)
        fitted, tail = items.fitted, self._tail[: len(items) - items.fitted.size]
        home = self._folder / ITEMS / self._catalogue
        needed[home] = lambda folder: _write_ids(folder / "ids.parquet", fitted)
        if not tail.size:
            return self._catalogue, None
        needed[home / self._late] = lambda folder: _append_ids(folder, tail)
        return self._catalogue, self._late

    def config(self, served: Served, needed: Needed) -> str:
        """The digest of what answered.

        Args:
            served: what answered.
            needed: gets the file.
        """
        values = {
            "digest": served.digest,
            "values": served.values,
            "teams": served.teams,
            "exploration": served.exploration and served.exploration.model_dump(),
            "paths": served.paths,
        }
        digest = json_digest([served.digest, values["exploration"], served.paths])
        needed[self._folder / CONFIGS / f"{digest}.json"] = lambda file: _write_config(file, values)
        return digest

    def _look(self, items: Vocabulary) -> None:
        """Take note of a catalogue that grew, or of another one."""
        tail = items.ids(slice(items.fitted.size, None))
        if items.fitted is not self._fitted:
            catalogue = _digest(items.fitted)
            if catalogue != self._catalogue:
                self._catalogue, self._tail, self._late = catalogue, tail[:0], uuid4().hex[:16]
            self._fitted = items.fitted
        shared = min(tail.size, self._tail.size)
        if not np.array_equal(tail[:shared], self._tail[:shared]):
            self._tail, self._late = tail, uuid4().hex[:16]  # another past, such as that of an engine beside this one
        elif tail.size > shared:
            self._tail = tail
        self._seen = items


def ensure(needed: Needed) -> None:
    """Write the tables that are missing, and touch the others."""
    for table, write in needed.items():
        write(table)
        os.utime(table)


def _write_ids(file: Path, ids: NDArray[Any]) -> None:
    if not file.exists():
        write_whole(file, lambda draft: pl.DataFrame({"id": ids}).write_parquet(draft))


def _append_ids(folder: Path, tail: NDArray[Any]) -> None:
    """Write the ids behind those that the folder has."""
    stops = [int(file.stem.partition("-")[2]) for file in folder.glob("*.parquet")]
    start = max(stops, default=0)
    if start < tail.size:
        _write_ids(folder / f"{start:09d}-{tail.size:09d}.parquet", tail[start:])


def _write_config(file: Path, values: Mapping[str, Any]) -> None:
    if not file.exists():
        write_whole(file, lambda draft: draft.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8"))


def _digest(ids: NDArray[Any]) -> str:
    """The same for equal ids, whatever the width of their type."""
    content = "\0".join(ids.tolist()).encode("utf-8", "surrogatepass") if ids.dtype.kind == "U" else _bytes(ids)
    return blake2b(content, digest_size=16, person=ids.dtype.kind.encode()).hexdigest()


def _bytes(ids: NDArray[Any]) -> bytes:
    return ids.astype(np.uint64 if ids.dtype.kind == "u" else np.int64).tobytes()

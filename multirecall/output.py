"""Checks, before long work begins, that its result can be written."""

from __future__ import annotations

import os
from pathlib import Path

from multirecall.errors import RequestError


def require_file(file: Path, place: str) -> None:
    """Check that `file` can be written; an error begins with `place`.

    Raises:
        RequestError: the folder of the file does not exist or cannot be written, or `file` is a folder or
            write-protected.
    """
    if not file.parent.is_dir():
        raise RequestError(f"{place}: {file.parent} is no folder; create it, or name another file")
    if file.is_dir():
        raise RequestError(f"{place}: {file} is a folder; name a file in it")
    _require_right(file if file.exists() else file.parent, file, place)
    _require_right(file.parent, file, place)


def require_folder(folder: Path, place: str) -> None:
    """Check that `folder` can be created or written into; an error begins with `place`.

    Raises:
        RequestError: `folder` is a file, or the folder, or the nearest existing one above it, cannot be written.
    """
    nearest = folder
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        raise RequestError(f"{place}: {nearest} is a file, so {folder} cannot be a folder; name another")
    _require_right(nearest, folder, place)


def _require_right(existing: Path, wanted: Path, place: str) -> None:
    if not os.access(existing, os.W_OK | (os.X_OK if existing.is_dir() else 0)):
        raise RequestError(f"{place}: {wanted} cannot be written: no right to write {existing}; name another place")

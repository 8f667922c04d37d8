"""Removing a user from the request log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl
from filelock import FileLock

from multirecall.monitoring.request_log.layout import parts_of
from multirecall.monitoring.request_log.parts import read_part, write_frame
from multirecall.monitoring.request_log.user_names import UserNames, refuse_foreign
from multirecall.vocabulary import Id

LOCK = ".forget.lock"


def forget(folder: Path, user: Id, salts: Sequence[UserNames] = ()) -> int:
    """Remove every row of a user, under their id and under its hashes.

    The service may write meanwhile. Rows that wait in its memory are not found: forget again after `part_s` seconds.

    Args:
        folder: of the log.
        user: their id.
        salts: the salts that the log was written under.

    Returns:
        The number of rows that were removed.

    Raises:
        ConfigError: rows are hashed under a salt that is not given. Nothing has been removed then.
        DataError: the folder is no request log, or a part cannot be read.
    """
    names = [UserNames(), *salts]
    known = {one.salt: one.name(user) for one in names}
    with FileLock(folder / LOCK):
        files = list(parts_of(folder))
        concerned = []
        for file in files:
            frame = read_part(file, ["user", "salt"])
            if frame is None:
                continue
            refuse_foreign(frame, names, file)
            if frame.select(_is(known).any()).item():
                concerned.append(file)
        return sum(_rewrite(file, known) for file in concerned)


def _is(known: dict[str | None, str]) -> pl.Expr:
    """Whether a row is of the user; `known` has their name under each salt."""
    matches = [pl.col("salt").eq_missing(salt) & (pl.col("user") == name) for salt, name in known.items()]
    return pl.any_horizontal(*matches).fill_null(False)


def _rewrite(file: Path, known: dict[str | None, str]) -> int:
    frame = read_part(file)
    if frame is None:
        return 0
    kept = frame.filter(~_is(known))
    if not kept.height:
        file.unlink(missing_ok=True)
    elif file.parent.is_dir():
        write_frame(file, kept)
    return frame.height - kept.height

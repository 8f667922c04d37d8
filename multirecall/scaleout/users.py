"""The users that a batch is for: their ids, each once, in the type of the engine's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from multirecall.data import Dataset
from multirecall.data.files import read
from multirecall.data.frames import is_frame, wrap
from multirecall.data.ids import read_ids_like
from multirecall.data.source import Source
from multirecall.engine.request import list_ids
from multirecall.errors import DataError, RequestError
from multirecall.validation import nearest


def read_users(users: Any, data: Dataset) -> pl.Series:
    """The ids of the users, integers or String (n,), in the order given.

    Args:
        users: a file or glob pattern with a column `user_id`, or a frame with it, or an iterable of ids. Other columns
            are ignored. The column may have the name that the dataset's `columns` gives it.
        data: the dataset whose type the ids have. A file of text, such as CSV, is read in that type.

    Raises:
        DataError: the file or the column is missing or faulty, or an id occurs twice; names file, column and row.
        IdTypeError: the ids are of the other type.
        RequestError: there are no users, or `users` is none of these.
    """
    known = data.users.ids
    if isinstance(users, str | Path):
        source = read(users, "users")
    elif is_frame(users):
        source = wrap(users, "users")
    else:
        listed = list_ids(users, "users")
        known.rows(listed)  # which refuses what is no id
        source = wrap(pl.DataFrame({"user_id": listed}), "users")
    source = _with_ids(source, data)
    if not source.frame.height:
        raise RequestError(f"{source.name}: there are no users; give at least one")
    ids = read_ids_like(source, "user_id", known, data.config.ids)
    source.refuse("user_id", ~ids.is_first_distinct(), "{value} is there twice; keep one row for each user")
    return ids


def _with_ids(source: Source, data: Dataset) -> Source:
    """The source with its id column named `user_id`; raises `DataError` where it has none."""
    theirs, columns = data.config.columns.get("user_id", "user_id"), source.frame.columns
    if theirs in columns and theirs != "user_id":
        return source.rename({"user_id": theirs})
    if "user_id" not in columns:
        raise DataError(f"{source.name}: column 'user_id' is missing; {nearest('user_id', columns)}. Rename yours")
    return source

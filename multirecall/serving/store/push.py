"""Filling a store from the files of a log and its tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import polars as pl

from multirecall.data.config import DataConfig
from multirecall.data.files import read
from multirecall.data.ids import IdColumn, Type, common_id_type
from multirecall.data.parse import prepare_log, read_log
from multirecall.errors import DataError
from multirecall.progress import Progress
from multirecall.serving.store.redis import RedisStore
from multirecall.vocabulary import Id

CHUNK = 1_000
"""Users, or rows of a table, in one round trip."""

MICROS = 1e6


def push_log(store: RedisStore, files: list[str], keep: int, progress: Progress) -> int:
    """Replace the lists of the users of a log by their newest `keep` events; the number of events that were written.

    Raises:
        DataError: a file, column or cell is faulty, or the log has no times.
        OSError: the store does not answer; the users before have their events.
    """
    source = prepare_log(read(files, "interactions"), {}, [])
    if "timestamp" not in source.frame.columns:
        raise DataError(f"{source.name}: column 'timestamp' is missing; a store merges events by time")
    types: dict[str, Type] = {
        f"{what}_id": common_id_type([IdColumn(source, f"{what}_id")], what, "auto", []) for what in ("user", "item")
    }
    log = read_log(source, DataConfig(), types, []).select("user_id", "item_id", pl.col("timestamp") / MICROS)
    has_names = "event" in source.frame.columns
    names = source.frame["event"].cast(pl.String) if has_names else pl.Series([None], dtype=pl.String)
    log = log.with_columns(event=names if has_names else pl.lit(None, pl.String))
    newest = log.sort("timestamp", maintain_order=True).group_by("user_id", maintain_order=True).tail(keep)
    users = newest.group_by("user_id", maintain_order=True).agg("item_id", "timestamp", "event")
    with progress.task("store push: users", users.height) as advance:
        for part in users.iter_slices(CHUNK):
            store.replace_events(
                {user: list(zip(items, times, events, strict=True)) for user, items, times, events in part.iter_rows()}
            )
            advance(part.height)
    return newest.height


def push_table(files: list[str], what: str, write: Callable[[Mapping[Id, Any]], None], progress: Progress) -> int:
    """Write the rows of a table of users or items, `what`, as hashes; the number of rows. Raises as `push_log`."""
    source = read(files, f"{what}s")
    source.require(f"{what}_id")
    with progress.task(f"store push: {what}s", source.frame.height) as advance:
        for part in source.frame.iter_slices(CHUNK):
            write(dict(_values(part.iter_rows(named=True), f"{what}_id")))
            advance(part.height)
    return source.frame.height


def _values(rows: Iterable[dict[str, Any]], key: str) -> Iterable[tuple[Id, dict[str, Any]]]:
    for row in rows:
        yield row.pop(key), {field: value for field, value in row.items() if value is not None}

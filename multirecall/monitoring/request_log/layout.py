"""The folder of a request log.

    day=2026-11-29/<begin>-<process>-<random>.parquet   a part: requests of that day, in UTC
    items/<catalogue>/ids.parquet                        the item ids of a fit, by row
    items/<catalogue>/<late>/<from>-<to>.parquet         ids that joined later, as one process saw them
    configs/<digest>.json                                the config that answered

A file is written under another name, and is complete as soon as it has its own. So no process waits for another, and
one that is killed leaves nothing that a reader takes for a part. A table is touched when a part that needs it is
written, so that what was not touched since a day began is of no use to that day.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from multirecall.errors import DataError
from multirecall.storage import sync_one

DAY = "day="
"""Begins the name of the folder of a day."""

ITEMS, CONFIGS = "items", "configs"
"""The folders of the tables."""


def day_folder(folder: Path, day: date) -> Path:
    """The folder of a day's parts."""
    return folder / f"{DAY}{day.isoformat()}"


def new_part(folder: Path, day: date) -> Path:
    """A file of that day that no other process writes."""
    return day_folder(folder, day) / f"{time.time_ns()}-{os.getpid()}-{uuid4().hex[:8]}.parquet"


def days_of(folder: Path) -> list[tuple[date, Path]]:
    """The days of the log with their folders, oldest first."""
    days = []
    for one in folder.glob(f"{DAY}*"):
        with suppress(ValueError):
            days.append((date.fromisoformat(one.name.removeprefix(DAY)), one))
    return sorted(days)


def parts_of(folder: Path) -> Iterator[Path]:
    """The parts of the log, oldest first.

    Raises:
        DataError: the folder is no request log.
    """
    days = days_of(folder)
    if not days:
        raise DataError(f"{folder}: holds no request log; name the folder that stands in [log] of the service")
    for _, day in days:
        yield from sorted(day.glob("*.parquet"))


def write_whole(file: Path, write: Callable[[Path], object]) -> None:
    """Let `write` write a file under another name, then give it its own."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{uuid4().hex[:8]}.draft")
    try:
        write(draft)
        sync_one(draft)
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def remove_old(folder: Path, days: int, today: date) -> int:
    """Remove the days before the last `days` and today, and the tables that only they needed.

    Returns:
        The number of days that were removed.
    """
    first = today - timedelta(days=days)
    old = [one for day, one in days_of(folder) if day < first]
    for one in old:
        shutil.rmtree(one, ignore_errors=True)  # another process may do the same
    since = datetime(first.year, first.month, first.day, tzinfo=UTC).timestamp()
    for table in (*folder.glob(f"{ITEMS}/*/*/"), *folder.glob(f"{ITEMS}/*/"), *folder.glob(f"{CONFIGS}/*.json")):
        with suppress(OSError):
            if table.stat().st_mtime < since:
                shutil.rmtree(table, ignore_errors=True) if table.is_dir() else table.unlink()
    return len(old)

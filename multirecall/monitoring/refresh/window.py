"""The newest window, and the served version as it would have served there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from multirecall.data import Change, Dataset
from multirecall.data.horizon import MICROSECONDS
from multirecall.data.interactions import SECONDS_PER_DAY
from multirecall.engine import Engine
from multirecall.engine.bundle.journal import JournalReader
from multirecall.engine.bundle.store import read_changes
from multirecall.errors import DataError


def choose_window(data: Dataset, fitted_until: int, days: float | None) -> int | None:
    """The moment at which the newest window begins, in epoch seconds; None where no event is newer than the fit.

    Args:
        data: all events.
        fitted_until: the time of the newest event that the served version holds.
        days: the length of the window; None: it holds the newer half of the events after `fitted_until`.
    """
    times = data.interactions.times
    assert times is not None
    assert data.now is not None
    if days is not None:
        return data.now - round(days * SECONDS_PER_DAY) + 1
    later = np.sort(times[(times > fitted_until) & (times <= data.now)])
    return int(later[later.size // 2]) if later.size else None


def require_times(data: Dataset) -> None:
    """Refuse a log without timestamps, which has no newest window; raises `DataError`."""
    if data.now is None:
        raise DataError(
            "refit: the bundle's log has no timestamps, so that there is no newest window to compare on; "
            "refit without --if-better and --dry-run (Python: guard=None)"
        )


def load_as_saved(engine: Engine, folder: Path, version: str) -> Engine:
    """The served version as it was saved, without the live changes since."""
    return Engine.load(folder, version=version, plugins=engine.config.given_classes, threads=engine.config.threads)


def changes_since(folder: Path, version: str, until: int) -> list[Change]:
    """The journaled changes after those that a version holds, up to number `until`."""
    own = next(one for one in Engine.versions(folder) if one.name == version)
    return read_changes(JournalReader(folder, own.bundle), own.journal_seq, until)


def before_window(changes: Sequence[Change], start: int) -> list[Change]:
    """The changes without the events at and after the moment `start`, in epoch seconds."""
    return [
        replace(one, frame=one.frame.filter(pl.col("timestamp") < start * MICROSECONDS))
        if one.kind == "add_interactions"
        else one
        for one in changes
    ]

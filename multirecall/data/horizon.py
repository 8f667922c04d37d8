"""What "now" is in a log: its newest event that is not far beyond the rest, so that one bad clock ages nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multirecall.data import remedies
from multirecall.data.config import Future
from multirecall.data.source import Source
from multirecall.errors import DataError

MOST_FAR = 1000
"""So many events at most can be far beyond the rest, and at most one in so many; one can in any log."""

GAP = 365 * 86_400
"""Seconds without any event behind which the few that follow are far beyond the rest of a large log."""

CERTAIN = 50
"""So many events make a gap half as telling as any number of events does; with fewer, it must be longer."""

LEAST = 3
"""Events without which nobody can say which is odd."""

MICROSECONDS = 1_000_000


class Times(NamedTuple):
    """As much of the times of events as `now_of` needs: their number, and the newest, int64 ascending."""

    n: int
    newest: NDArray[np.int64]

    @classmethod
    def of(cls, times: NDArray[np.int64]) -> Times:
        """Of times in epoch seconds, in any order."""
        start = max(0, times.size - MOST_FAR - 1)
        return cls(times.size, np.sort(np.partition(times, start)[start:] if start else times))


def now_of(parts: Sequence[Times]) -> int | None:
    """The newest time that is not far beyond the rest, of all events together; None of none.

    Far are those behind the first gap among the newest events that is longer than `GAP · (1 + CERTAIN / rest)`, where
    `rest` counts the events that cannot be far. It depends on the times alone, not on their order, nor on the clock.
    """
    n = sum(part.n for part in parts)
    if not n:
        return None
    if n < LEAST:
        return int(max(part.newest[-1] for part in parts if part.n))
    newest = np.sort(np.concatenate([part.newest for part in parts]))
    most_far = min(max(1, n // MOST_FAR), MOST_FAR)
    newest = newest[newest.size - 1 - most_far :]
    gaps = np.diff(newest) > GAP * (1 + CERTAIN / (n - most_far))
    return int(newest[gaps.argmax() if gaps.any() else -1])


def apply_future_rule(
    events: pl.DataFrame, source: Source, future: Future, log: Sequence[Times], notes: list[str]
) -> pl.DataFrame:
    """Events as `future` has those that are far beyond the rest of them and of `log`; says so in `notes`.

    Raises:
        DataError: there are some, and `future` refuses them.
    """
    if "timestamp" not in events.columns or events.is_empty():
        return events
    moments = events["timestamp"].to_numpy()
    of_events = Times.of(moments)
    now = now_of([*log, of_events._replace(newest=of_events.newest // MICROSECONDS)])
    if now is None or moments.max() < (now + 1) * MICROSECONDS:
        return events
    seconds = moments // MICROSECONDS
    far = seconds > now
    row = int(far.argmax())
    found = (
        f"{source.place('timestamp', row)}: {_format_time(seconds[row])} lies far beyond the rest of the log, "
        f"which ends at {_format_time(now)}"
    )
    if future == "refuse":
        raise DataError(f"{found}; mend the cell or drop the row, or say {remedies.future('keep', 'clamp')}")
    others = f"; so do {far.sum() - 1:,} other events" if far.sum() > 1 else ""
    if future == "clamp":
        notes.append(f"{found}{others}; taken as of then, since future='clamp'")
        return events.with_columns(timestamp=pl.Series(np.where(far, now * MICROSECONDS, events["timestamp"])))
    notes.append(
        f"{found}{others}; kept, and nothing ages by it: mend it, say {remedies.future('clamp', 'refuse')}, "
        "or take it back with remove_interactions"
    )
    return events


def _format_time(seconds: int) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M:%S")

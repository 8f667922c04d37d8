"""The time "now" of a log: its newest event that is not far beyond the rest, so that one wrong clock ages no event."""

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
"""At most this many events can be far beyond the rest, and at most one event in this many; one event can in any log.
A larger number would find a larger group of wrong clocks, and would take more of a real recent period for faults."""

GAP = 365 * 86_400
"""Seconds. In a large log, the events after a gap longer than this are far beyond the rest. A shorter gap would take a
shop that reopens after a season for a fault."""

CERTAIN = 50
"""Number of events with which the required gap is twice `GAP`; with more events it falls towards `GAP`. In a small log,
long gaps are ordinary."""

LEAST = 3
"""Number of events below which no event counts as far beyond the rest."""

MICROSECONDS = 1_000_000


class Times(NamedTuple):
    """What `now_of` needs of the times of events: their number, and the newest `MOST_FAR` + 1, int64, ascending."""

    n: int
    newest: NDArray[np.int64]

    @classmethod
    def of(cls, times: NDArray[np.int64]) -> Times:
        """Summarise times in epoch seconds, int64 (n,), in any order."""
        start = max(0, times.size - MOST_FAR - 1)
        return cls(times.size, np.sort(np.partition(times, start)[start:] if start else times))


def now_of(parts: Sequence[Times]) -> int | None:
    """The newest time of all events that is not far beyond the rest, in the unit of `parts`; None without events.

    Events are far beyond the rest if they come after the first gap among the newest events that is longer than
    `GAP · (1 + CERTAIN / rest)`, where `rest` counts the events that cannot be far. The result depends on the times
    alone, not on the order of the events or on the clock of this machine.
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
    """Apply the rule `future` to events far beyond the rest of `events` and `log`; a note in `notes` names them.

    Raises:
        DataError: there is such an event, and `future` is `refuse`.
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
        raise DataError(f"{found}; correct the cell or drop the row, or pass {remedies.future('keep', 'clamp')}")
    others = f"; so do {far.sum() - 1:,} other events" if far.sum() > 1 else ""
    if future == "clamp":
        notes.append(f"{found}{others}; moved to that time, because of future='clamp'")
        return events.with_columns(timestamp=pl.Series(np.where(far, now * MICROSECONDS, events["timestamp"])))
    notes.append(
        f"{found}{others}; kept, and other events do not age by it: correct it, pass "
        f"{remedies.future('clamp', 'refuse')}, or remove it with remove_interactions"
    )
    return events


def _format_time(seconds: int) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M:%S")

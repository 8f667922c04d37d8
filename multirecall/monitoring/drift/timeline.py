"""What a bundle was fitted on and what came after it, as one log over common rows, cut into windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Dataset, Table
from multirecall.data.features import Feature
from multirecall.data.interactions import SECONDS_PER_DAY
from multirecall.errors import DataError

LONGEST_DAYS = 28
"""Days of a window where none is asked for and the new events last longer: whole weeks, so that weekdays are alike."""

MOST_WINDOWS = 12
"""Pairs of past windows that limits are learnt from, the newest ones."""

NEVER = np.iinfo(np.int64).max


class Window(NamedTuple):
    """The time after `start` up to and with `end`, in epoch seconds."""

    start: int
    end: int


@dataclass(frozen=True, eq=False)
class Timeline:
    """The events of a bundle and those after them.

    Rows are those of the bundle; what the bundle lacks has rows behind them.

    Attributes:
        users: user rows, int32 (n,), ascending.
        items: item rows, int32 (n,).
        times: epoch seconds, int64 (n,), ascending within a user.
        fit: epoch seconds of the newest event that the bundle knows.
        end: epoch seconds of the newest event.
        item_tables: the items as of the fit, and as they are now.
        user_tables: the same of users.
        n_known_items: the number of items that the bundle has.
        n_left_out: the number of new events that are not newer than the fit.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    times: NDArray[np.int64]
    fit: int
    end: int
    item_tables: tuple[Table, Table]
    user_tables: tuple[Table, Table]
    n_known_items: int
    n_left_out: int

    @classmethod
    def of(cls, known: Dataset, events: Dataset) -> Timeline:
        """The timeline of a bundle's data and of new events, read by `read_events`.

        Raises:
            DataError: one of the two logs has no times, no event is newer than the fit, or a feature has another kind.
        """
        old, new = known.interactions, events.interactions
        if old.times is None or known.now is None:
            raise DataError("drift: the log of the bundle has no times; fit it on a log with a column 'timestamp'")
        if new.times is None or events.now is None:
            raise DataError(
                "drift: the new events have no times; add a column 'timestamp', or name yours when the bundle is "
                "fitted (command line: --columns timestamp=yours)"
            )
        newer = new.times > known.now
        if not newer.any():
            raise DataError(
                f"drift: none of {len(new):,} events is newer than the fit, whose log ends at {_moment(known.now)}; "
                "pass events of the time after it (command line: --events)"
            )
        item_tables = _two_tables(known.items, events.items)
        user_tables = _two_tables(known.users, events.users)
        item_rows = item_tables[1].ids.rows(events.items.ids.ids())
        user_rows = user_tables[1].ids.rows(events.users.ids.ids())
        users = np.concatenate([old.users, user_rows[new.users[newer]]])
        items = np.concatenate([old.items, item_rows[new.items[newer]]])
        times = np.concatenate([old.times, new.times[newer]])
        order = np.lexsort((times, users))
        return cls(
            users[order],
            items[order],
            times[order],
            known.now,
            max(events.now, known.now + 1),
            item_tables,
            user_tables,
            known.n_items,
            int((~newer).sum()),
        )

    def inside(self, window: Window) -> NDArray[np.int64]:
        """The positions of the events of a window, int64 (n,), ascending."""
        return np.flatnonzero((self.times > window.start) & (self.times <= window.end))

    def firsts(self, rows: NDArray[np.int32], n: int) -> NDArray[np.int64]:
        """The time of the first event of each of `n` rows, int64 (n,), `NEVER` without one; `rows`: users or items."""
        first = np.full(n, NEVER)
        np.minimum.at(first, rows, self.times)
        return first

    def history(self, user: int, until: int) -> NDArray[np.int32]:
        """The item rows of a user's events up to and with the time `until`, int32 (n,), oldest first."""
        start, stop = np.searchsorted(self.users, [user, user + 1])
        return self.items[start : start + np.searchsorted(self.times[start:stop], until, side="right")]

    def length(self, window_days: float | None) -> int:
        """The seconds of a window: those asked for, or as long as the new events last, at least a day, at most 28."""
        if window_days is not None:
            return round(window_days * SECONDS_PER_DAY)
        days = -(-(self.end - self.fit) // SECONDS_PER_DAY)
        return int(min(max(days, 1), LONGEST_DAYS)) * SECONDS_PER_DAY

    def newest(self, length: int) -> Window:
        """The last `length` seconds of the new events, or all of them where they last shorter."""
        return Window(max(self.fit, self.end - length), self.end)

    def past(self, length: int) -> list[Window]:
        """The windows before the fit, oldest first; the last one ends with it.

        At most 13 are taken, and none in the first `length` seconds of the log, in which everything is new.

        Raises:
            DataError: the log before the fit is too short for one.
        """
        begin = int(self.times.min())
        n = min(MOST_WINDOWS + 1, (self.fit - begin) // length - 1)
        if n < 1:
            raise DataError(
                f"drift: the log of the bundle lasts {(self.fit - begin) / SECONDS_PER_DAY:.1f} days, too short for "
                f"windows of {length / SECONDS_PER_DAY:g} days; pass a shorter window (command line: --window 7)"
            )
        return [Window(self.fit - (back + 1) * length, self.fit - back * length) for back in reversed(range(n))]


def read_events(
    known: Dataset, events: Sequence[str], items: Sequence[str] | None = None, users: Sequence[str] | None = None
) -> Dataset:
    """Read files of new events, and item and user tables as they are now; ids have the type that they have in `known`.

    Raises as `Dataset.load`.
    """
    given = {"items": items, "users": users}
    kinds = {one.field: one.kind for one in known.kinds if given[one.table] and one.field in known.config.kinds}
    update: dict[str, object] = {"kinds": kinds}
    if known.users.ids.holds_text == known.items.ids.holds_text:
        update["ids"] = "text" if known.items.ids.holds_text else "int"
    config = known.config.model_copy(update=update)
    return Dataset.load(list(events), list(items or []) or None, list(users or []) or None, config=config)


def _two_tables(known: Table, events: Table) -> tuple[Table, Table]:
    """The table of the bundle with the ids of the events, and the same with the features that came with the events."""
    before = known.with_ids(events.ids.ids())
    listed = np.flatnonzero(events.listed)
    features: dict[str, Feature] = {}
    for field in known.stored.keys() & events.stored.keys():
        here, there = events.features[field].kind, known.stored[field].kind
        if here != there:
            raise DataError(
                f"drift: column {field!r} of the new table is {here}, but {there} in the bundle; write it as in the "
                "table of the fit, or leave the column out"
            )
        features[field] = events.features[field].take(listed)
    if not listed.size or not features:
        return before, before
    return before, before.with_features(before.ids.rows(events.ids.ids(listed)), features)


def _moment(seconds: int) -> str:
    return str(np.datetime64(seconds, "s")).replace("T", " ")

"""The dataset: an interaction log with its item and user tables, as arrays."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.data.build import Parts, build
from multirecall.data.config import Column, DataConfig, Future, IdType, Kind
from multirecall.data.files import read
from multirecall.data.frames import wrap
from multirecall.data.interactions import Interactions
from multirecall.data.kinds import ColumnKind
from multirecall.data.log import EventLog, History
from multirecall.data.table import Table
from multirecall.display import entries, html_table
from multirecall.errors import ConfigError
from multirecall.storage import read_component, write_component
from multirecall.validation import validate

_log = logging.getLogger("multirecall.data")

Files = str | Path | Sequence[str | Path]


@dataclass(frozen=True, repr=False)
class Dataset:
    """An interaction log with its item and user tables.

    A dataset is immutable: a live change gives another dataset, which shares the unchanged arrays. New users and items
    get new rows at the end. Only `compact` and `filter_events` renumber rows.

    Attributes:
        log: the events of the load and of later live changes.
        items: every item of the log and of the item table.
        users: every user of the log and of the user table.
        config: the settings that the data were read with.
        notes: what the reader should know about the data. Each note is also logged once by `multirecall.data`.
        removed: bool (n_items,), marks items that may not be retrieved; None where no item is removed.
        kinds: the kind that each column of the item and user tables was read as, and why.
    """

    log: EventLog
    items: Table
    users: Table
    config: DataConfig
    notes: tuple[str, ...] = ()
    removed: NDArray[np.bool_] | None = None
    kinds: tuple[ColumnKind, ...] = ()

    @classmethod
    def load(
        cls,
        interactions: Files,
        items: Files | None = None,
        users: Files | None = None,
        *,
        columns: Mapping[Column, str] | None = None,
        kinds: Mapping[str, Kind] | None = None,
        ids: IdType | None = None,
        event_weights: Mapping[str, float] | None = None,
        half_life_days: float | None = None,
        future: Future | None = None,
        config: DataConfig | None = None,
    ) -> Dataset:
        """Read parquet, CSV or TSV files (paths or glob patterns); `.csv.gz` and `.tsv.gz` are unpacked.

        Text files are UTF-8; their separator is found in the first line. Several files of one table are concatenated
        by column name.

        Args:
            interactions: files of the log: `user_id, item_id` and optionally `timestamp, position, weight, event`.
            items: files of the item table: `item_id` and feature columns.
            users: files of the user table: `user_id` and feature columns.
            columns: the column of the files for each column name of this library, e.g. `{"user_id": "customer"}`.
            kinds: the kind of a feature column by its name, where the inferred kind is wrong (see `Dataset.kinds`);
                `ignore` leaves the column out.
            ids: the type of ids, `text` or `int`; by default inferred from all tables (see `DataConfig.ids`).
            event_weights: factor on the weight of an event by its name in the column `event`.
            half_life_days: half-life of event weights in days.
            future: what to do with events far beyond the rest: `keep` (the default), `clamp` or `refuse`.
            config: all six options above at once, e.g. `EngineConfig.data`.

        Raises:
            DataError: a file, column or cell is faulty; the message names file, column, row and remedy.
            ConfigError: an option is of the wrong type, or is given together with `config`.
        """
        settings = _settings(config, columns, kinds, ids, event_weights, half_life_days, future)
        parts = build(
            read(interactions, "interactions"),
            None if items is None else read(items, "items"),
            None if users is None else read(users, "users"),
            settings,
        )
        return _from_parts(parts, settings)

    @classmethod
    def from_frames(
        cls,
        interactions: Any,
        items: Any = None,
        users: Any = None,
        *,
        columns: Mapping[Column, str] | None = None,
        kinds: Mapping[str, Kind] | None = None,
        ids: IdType | None = None,
        event_weights: Mapping[str, float] | None = None,
        half_life_days: float | None = None,
        future: Future | None = None,
        config: DataConfig | None = None,
    ) -> Dataset:
        """Read polars, pandas or pyarrow frames; arguments and errors are those of `load`."""
        settings = _settings(config, columns, kinds, ids, event_weights, half_life_days, future)
        parts = build(
            wrap(interactions, "interactions"),
            None if items is None else wrap(items, "items"),
            None if users is None else wrap(users, "users"),
            settings,
        )
        return _from_parts(parts, settings)

    def __repr__(self) -> str:
        parts = [self.sizes, self._span(), f"{entries(len(self.notes), 'note')} in .notes" if self.notes else ""]
        return f"<Dataset: {'; '.join(part for part in parts if part)}>"

    def _repr_html_(self) -> str:
        rows = [[one.table, one.field, one.kind, one.reason] for one in self.kinds]
        notes = "".join(f"<p>note: {escape(note)}</p>" for note in self.notes)
        kinds = html_table(["table", "column", "kind", "why"], rows, len(rows)) if rows else ""
        return f"<p>{'; '.join(part for part in (self.sizes, self._span()) if part)}</p>{notes}{kinds}"

    @property
    def sizes(self) -> str:
        """The numbers of interactions, users and items, in words."""
        return f"{self.n_events:,} interactions, {self.n_users:,} users, {self.n_items:,} items"

    @property
    def n_items(self) -> int:
        """The number of items in the log or the item table, removed items included."""
        return len(self.items)

    @property
    def n_users(self) -> int:
        """The number of user rows: users of the log or the user table, and rows of removed users."""
        return len(self.users)

    @property
    def n_events(self) -> int:
        """The number of events, those of live changes included."""
        return len(self.log)

    @cached_property
    def n_live(self) -> int:
        """The number of items that are not removed."""
        return self.n_items if self.removed is None else self.n_items - int(self.removed.sum())

    @property
    def now(self) -> int | None:
        """Epoch seconds of the newest event that is not far beyond the rest, or None without timestamps."""
        return self.log.now

    @cached_property
    def interactions(self) -> Interactions:
        """All events as one sorted log, weights decayed to `now`; after live changes it is computed on first use."""
        log = self.undecayed
        return log if self.log.half_life_days is None else replace(log, weights=self.log.decay(log.weights, log.times))

    @cached_property
    def undecayed(self) -> Interactions:
        """All events as one sorted log, weights without decay; computed on first use."""
        return self.log.whole(self.n_users, self.n_items)

    def history(self, user: int) -> History:
        """The events of user row `user`, oldest first, in the order of a load of all events; none for row -1."""
        return self.log.history(user)

    def _span(self) -> str:
        times = [run.times for run in (self.log.base, *self.log.later) if run.times is not None and run.times.size]
        if not times:
            return "no times"
        first, last = min(int(run.min()) for run in times), max(int(run.max()) for run in times)
        return f"{_day(first)} to {_day(last)}"

    def compact(self) -> Dataset:
        """Compact the dataset to what a load of all its data would give.

        Rows and categories are sorted by id, and the log is one run. Rows without an event and without an entry in a
        table are dropped, and so are the rows of removed users. Removed items keep a row, because the model of other
        items learns from their events.
        """
        log = self.undecayed
        users = _in_order(self.users, self.users.listed | _occurs(log.users, self.n_users))
        kept = self.items.listed | _occurs(log.items, self.n_items)
        items = _in_order(self.items, kept if self.removed is None else kept | self.removed)
        log = _renumber(log, users, items)
        if log.micros is not None and not log.micros.any():
            log = replace(log, micros=None)
        return replace(
            self,
            log=replace(self.log, base=log.at(np.argsort(log.users, kind="stable")), later=()),
            items=self.items.compact(items),
            users=self.users.compact(users),
            removed=None if self.removed is None or not self.removed.any() else self.removed[items],
        )

    def filter_events(self, events: NDArray[np.bool_]) -> Dataset:
        """Keep only the events of `interactions` that `events`, bool (n,), marks.

        Users and items without an event and without an entry in a table are dropped. The rows that stay are
        renumbered in the same order.
        """
        kept = self.undecayed.at(events)
        user_rows = np.flatnonzero(_occurs(kept.users, self.n_users) | self.users.listed)
        item_rows = np.flatnonzero(_occurs(kept.items, self.n_items) | self.items.listed)
        return replace(
            self,
            log=EventLog(_renumber(kept, user_rows, item_rows), (), self.config.half_life_days),
            items=self.items.take(item_rows),
            users=self.users.take(user_rows),
            removed=None if self.removed is None else self.removed[item_rows],
        )

    def save(self, folder: Path) -> None:
        """Write the dataset into `folder`; row numbers are kept."""
        log = self.undecayed
        columns: dict[str, NDArray[Any] | None] = {
            "users": log.users,
            "items": log.items,
            "weights": log.weights,
            "times": log.times,
        }
        columns |= {"micros": log.micros, "positions": log.positions, "removed": self.removed}
        arrays = {name: column for name, column in columns.items() if column is not None}
        meta = {
            "config": self.config.model_dump(),
            "notes": self.notes,
            "ordered": log.ordered,
            "kinds": [astuple(kind) for kind in self.kinds],
        }
        write_component(folder / "interactions", arrays, meta)
        self.items.save(folder / "items")
        self.users.save(folder / "users")

    @classmethod
    def open(cls, folder: Path) -> Dataset:
        """Open a dataset that `save` wrote; its arrays are memory-mapped."""
        arrays, meta = read_component(folder / "interactions")
        items, users = Table.load(folder / "items"), Table.load(folder / "users")
        log = Interactions(
            arrays["users"],
            arrays["items"],
            arrays.get("times"),
            arrays["weights"],
            len(users),
            len(items),
            meta["ordered"],
            arrays.get("micros"),
            arrays.get("positions"),
        )
        config = DataConfig.model_validate(meta["config"])
        runs = EventLog(log, (), config.half_life_days)
        kinds = tuple(ColumnKind(*kind) for kind in meta["kinds"])
        return cls(runs, items, users, config, tuple(meta["notes"]), arrays.get("removed"), kinds)


def _settings(config: DataConfig | None, *options: Any) -> DataConfig:
    if not isinstance(config, DataConfig | None):
        raise ConfigError(f"Dataset: config is a {type(config).__name__}; pass a DataConfig, e.g. engine.config.data")
    names = ("columns", "kinds", "ids", "event_weights", "half_life_days", "future")
    given = {name: option for name, option in zip(names, options, strict=True) if option is not None}
    if config is None:
        return validate(DataConfig, given, "Dataset")
    if given:
        raise ConfigError(f"Dataset: {', '.join(given)} and config are both given; put the options into config")
    return config


def _day(seconds: int) -> str:
    return str(np.datetime64(seconds, "s").astype("datetime64[D]"))


def _occurs(rows: NDArray[np.int32], n: int) -> NDArray[np.bool_]:
    return np.bincount(rows, minlength=n) > 0


def _in_order(table: Table, kept: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The rows marked in `kept` that still have an id, sorted by id."""
    rows = np.setdiff1d(np.flatnonzero(kept), table.ids.gone)
    return rows[np.argsort(table.ids.ids(rows))]


def _renumber(log: Interactions, users: NDArray[np.integer], items: NDArray[np.integer]) -> Interactions:
    """Renumber the rows of a log: old row `users[i]` becomes user row `i`, and the same for items.

    `users` and `items` must hold every row that occurs in the log.
    """
    return replace(
        log,
        users=_inverse(users, log.n_users)[log.users],
        items=_inverse(items, log.n_items)[log.items],
        n_users=users.size,
        n_items=items.size,
    )


def _inverse(rows: NDArray[np.integer], n: int) -> NDArray[np.int32]:
    """The position of each of `n` rows in `rows`, int32 (n,); -1 where the row is not in it."""
    places = np.full(n, -1, np.int32)
    places[rows] = np.arange(rows.size, dtype=np.int32)
    return places


def _from_parts(parts: Parts, config: DataConfig) -> Dataset:
    for note in parts.notes:
        _log.warning(note)
    log = EventLog(parts.interactions, (), config.half_life_days)
    return Dataset(log, parts.items, parts.users, config, tuple(parts.notes), kinds=parts.kinds)

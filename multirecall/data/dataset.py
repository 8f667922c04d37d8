"""A dataset: the log and its tables, read, checked and turned into arrays."""

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

    Immutable: a live change gives another dataset, which shares what has not changed. Rows are appended and
    never renumbered, but by `compact`.

    Attributes:
        log: the events, those of a load and those that came later.
        items: every item of the log and of the item table.
        users: every user of the log and of the user table.
        config: how it was read.
        notes: what the reader should know about the data, each said once in the log of `multirecall.data`.
        removed: bool (n_items,), the items that are not to be retrieved; None where none is.
        kinds: which kind each column of the item and user tables was read as, and why.
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

        Text files are UTF-8; their separator is told from the first line. Parts are joined by column name.

        Args:
            interactions: `user_id, item_id` and optionally `timestamp, position, weight, event`.
            items: `item_id` and feature columns.
            users: `user_id` and feature columns.
            columns: the caller's column for each of ours, e.g. `{"user_id": "customer"}`.
            kinds: feature kinds by field, where the inferred one is wrong (see `Dataset.kinds`); `ignore` leaves a
                column out.
            ids: `text` or `int`; by default decided over all tables together (see `DataConfig.ids`).
            event_weights: factor on an event's weight by its name.
            half_life_days: days after which an event weighs half.
            future: what becomes of events far beyond the rest: `keep` (the default), `clamp` or `refuse`.
            config: all five of the above at once, e.g. `EngineConfig.data`.

        Raises:
            DataError: names file, column, row and remedy.
            ConfigError: an option is of the wrong type, or given beside `config`.
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
        """The same from polars, pandas or pyarrow frames."""
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
        """How large it is, in words."""
        return f"{self.n_events:,} interactions, {self.n_users:,} users, {self.n_items:,} items"

    @property
    def n_items(self) -> int:
        """Items of the catalogue: of the log and of the item table."""
        return len(self.items)

    @property
    def n_users(self) -> int:
        """Users of the log and of the user table."""
        return len(self.users)

    @property
    def n_events(self) -> int:
        """Events of the log, later ones included."""
        return len(self.log)

    @cached_property
    def n_live(self) -> int:
        """Items that are not removed."""
        return self.n_items if self.removed is None else self.n_items - int(self.removed.sum())

    @property
    def now(self) -> int | None:
        """Epoch seconds of the newest event that is not far beyond the rest, or None without timestamps."""
        return self.log.now

    @cached_property
    def interactions(self) -> Interactions:
        """All events as one log, weights as of `now`; after live changes it is made when it is first asked for."""
        log = self.undecayed
        return log if self.log.half_life_days is None else replace(log, weights=self.log.decay(log.weights, log.times))

    @cached_property
    def undecayed(self) -> Interactions:
        """The same with weights as they were given."""
        return self.log.whole(self.n_users, self.n_items)

    def history(self, user: int) -> History:
        """The events of user row `user`, oldest first, as a load of all events would have them; -1: none."""
        return self.log.history(user)

    def _span(self) -> str:
        times = [run.times for run in (self.log.base, *self.log.later) if run.times is not None and run.times.size]
        if not times:
            return "no times"
        first, last = min(int(run.min()) for run in times), max(int(run.max()) for run in times)
        return f"{_day(first)} to {_day(last)}"

    def compact(self) -> Dataset:
        """What a load of all the data would give: rows in the order of ids, categories in theirs, one log.

        Users who were removed are gone, and so is who stands neither in the log nor in a table. Removed items keep a
        row, since their events may tell of others.
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
        """The dataset as if only the marked events of `interactions`, bool (n,), had happened.

        Users and items that then stand neither in the log nor in the caller's tables are gone, and rows are
        numbered anew, in the same order.
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
        """Write the dataset into `folder`; rows stay as they are."""
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
        """Read what `save` wrote, by memory mapping."""
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
    """The rows that are kept and still somebody's, in the order of their ids."""
    rows = np.setdiff1d(np.flatnonzero(kept), table.ids.gone)
    return rows[np.argsort(table.ids.ids(rows))]


def _renumber(log: Interactions, users: NDArray[np.integer], items: NDArray[np.integer]) -> Interactions:
    """The log whose row `i` is what was row `users[i]` or `items[i]`; all that occur must be among them."""
    return replace(
        log,
        users=_inverse(users, log.n_users)[log.users],
        items=_inverse(items, log.n_items)[log.items],
        n_users=users.size,
        n_items=items.size,
    )


def _inverse(rows: NDArray[np.integer], n: int) -> NDArray[np.int32]:
    """Where each of `n` rows stands in `rows`, -1 for nowhere."""
    places = np.full(n, -1, np.int32)
    places[rows] = np.arange(rows.size, dtype=np.int32)
    return places


def _from_parts(parts: Parts, config: DataConfig) -> Dataset:
    for note in parts.notes:
        _log.warning(note)
    log = EventLog(parts.interactions, (), config.half_life_days)
    return Dataset(log, parts.items, parts.users, config, tuple(parts.notes), kinds=parts.kinds)

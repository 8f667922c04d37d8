"""A dataset: the log and its tables, read, checked and turned into arrays."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multirecall.data.config import Column, DataConfig, Kind
from multirecall.data.inference import feature
from multirecall.data.interactions import Interactions
from multirecall.data.log import ids, read_log
from multirecall.data.source import Source, read, wrap
from multirecall.data.table import Table
from multirecall.errors import ConfigError, DataError
from multirecall.storage import read_component, write_component
from multirecall.validation import nearest, validated
from multirecall.vocabulary import Vocabulary

MICROSECONDS = 1_000_000
_log = logging.getLogger("multirecall.data")

Files = str | Path | Sequence[str | Path]


@dataclass(frozen=True, slots=True)
class Dataset:
    """An interaction log with its item and user tables.

    Attributes:
        interactions: the events.
        items: every item of the log and of the item table.
        users: every user of the log and of the user table.
        config: how it was read.
        notes: what the reader should know about the data, each said once in the log of `multirecall.data`.
    """

    interactions: Interactions
    items: Table
    users: Table
    config: DataConfig
    notes: tuple[str, ...] = ()

    @classmethod
    def load(
        cls,
        interactions: Files,
        items: Files | None = None,
        users: Files | None = None,
        *,
        columns: Mapping[Column, str] | None = None,
        kinds: Mapping[str, Kind] | None = None,
        event_weights: Mapping[str, float] | None = None,
        half_life_days: float | None = None,
        config: DataConfig | None = None,
    ) -> Dataset:
        """Read parquet or CSV files (paths or glob patterns).

        Args:
            interactions: `user_id, item_id` and optionally `timestamp, position, weight, event`.
            items: `item_id` and feature columns.
            users: `user_id` and feature columns.
            columns: the caller's column for each of ours, e.g. `{"user_id": "customer"}`.
            kinds: feature kinds by field, where the inferred one is wrong.
            event_weights: factor on an event's weight by its name.
            half_life_days: days after which an event weighs half.
            config: all four of the above at once, e.g. `EngineConfig.data`.

        Raises:
            DataError: names file, column, row and remedy.
            ConfigError: an option is of the wrong type, or given beside `config`.
        """
        settings = _settings(config, columns, kinds, event_weights, half_life_days)
        return _build(
            read(interactions, "interactions"),
            None if items is None else read(items, "items"),
            None if users is None else read(users, "users"),
            settings,
        )

    @classmethod
    def from_frames(
        cls,
        interactions: Any,
        items: Any = None,
        users: Any = None,
        *,
        columns: Mapping[Column, str] | None = None,
        kinds: Mapping[str, Kind] | None = None,
        event_weights: Mapping[str, float] | None = None,
        half_life_days: float | None = None,
        config: DataConfig | None = None,
    ) -> Dataset:
        """The same from polars, pandas or pyarrow frames."""
        settings = _settings(config, columns, kinds, event_weights, half_life_days)
        return _build(
            wrap(interactions, "interactions"),
            None if items is None else wrap(items, "items"),
            None if users is None else wrap(users, "users"),
            settings,
        )

    @property
    def n_items(self) -> int:
        """Items of the catalogue: of the log and of the item table."""
        return len(self.items)

    @property
    def n_users(self) -> int:
        """Users of the log and of the user table."""
        return len(self.users)

    def restricted(self, events: NDArray[np.bool_]) -> Dataset:
        """The dataset as if only the marked events, bool (n,), had happened.

        Users and items that then stand neither in the log nor in the caller's tables are gone, and rows are
        numbered anew, in the same order.
        """
        log = self.interactions
        users, items = log.users[events], log.items[events]
        user_rows = np.flatnonzero(_occurs(users, self.n_users) | self.users.listed)
        item_rows = np.flatnonzero(_occurs(items, self.n_items) | self.items.listed)
        kept = Interactions(
            np.searchsorted(user_rows, users).astype(np.int32),
            np.searchsorted(item_rows, items).astype(np.int32),
            None if log.times is None else log.times[events],
            log.weights[events],
            user_rows.size,
            item_rows.size,
            log.ordered,
        )
        return replace(self, interactions=kept, items=self.items.take(item_rows), users=self.users.take(user_rows))

    def save(self, folder: Path) -> None:
        """Write the dataset into `folder`."""
        log = self.interactions
        arrays: dict[str, NDArray[Any]] = {"users": log.users, "items": log.items, "weights": log.weights}
        if log.times is not None:
            arrays["times"] = log.times
        meta = {"config": self.config.model_dump(), "notes": self.notes, "ordered": log.ordered}
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
        )
        return cls(log, items, users, DataConfig.model_validate(meta["config"]), tuple(meta["notes"]))


def _settings(config: DataConfig | None, *options: Any) -> DataConfig:
    if not isinstance(config, DataConfig | None):
        raise ConfigError(f"Dataset: config is a {type(config).__name__}; pass a DataConfig, e.g. engine.config.data")
    names = ("columns", "kinds", "event_weights", "half_life_days")
    given = {name: option for name, option in zip(names, options, strict=True) if option is not None}
    if config is None:
        return validated(DataConfig, given, "Dataset")
    if given:
        raise ConfigError(f"Dataset: {', '.join(given)} and config are both given; put the options into config")
    return config


def _build(log_source: Source, item_source: Source | None, user_source: Source | None, config: DataConfig) -> Dataset:
    notes: list[str] = []
    log = read_log(log_source, config, notes)
    items = _table(item_source, "item", log["item_id"], log_source, config, notes)
    users = _table(user_source, "user", log["user_id"], log_source, config, notes)
    unknown = config.kinds.keys() - items.features.keys() - users.features.keys()
    if unknown:
        known = [*items.features, *users.features]
        raise DataError(f"kinds: no table has a column {min(unknown)!r}; {nearest(min(unknown), known)}")
    for note in notes:
        _log.warning(note)
    return Dataset(_interactions(log, users, items, config), items, users, config, tuple(notes))


def _table(
    source: Source | None,
    what: Literal["item", "user"],
    log_ids: pl.Series,
    log_source: Source,
    config: DataConfig,
    notes: list[str],
) -> Table:
    """The table of all ids of the log and of `source`, with the features of `source`."""
    column: Column = "item_id" if what == "item" else "user_id"
    if source is None:
        vocabulary = _vocabulary(log_ids.unique(), what)
        return Table(vocabulary, {}, np.zeros(len(vocabulary), np.bool_))
    theirs = config.columns.get(column, column)
    if theirs != column and theirs in source.frame.columns:
        source = source.renamed({column: theirs})
    source.require(column)
    table_ids = ids(source, column)
    if (table_ids.dtype == pl.String) != (log_ids.dtype == pl.String):
        raise DataError(
            f"{source.name}: column {column!r} is {table_ids.dtype}, but in {log_source.name} it is {log_ids.dtype}; "
            "cast one of them, so that both are integers or both text"
        )
    repeated = ~table_ids.is_first_distinct()
    source.refuse(column, repeated, "{value} stands in the table twice; keep one row for each " + what)
    distinct = log_ids.unique()
    vocabulary = _vocabulary(_joined(distinct, table_ids).unique(), what)
    rows = np.full(len(vocabulary), -1, np.int64)
    rows[vocabulary.rows(table_ids.to_numpy())] = np.arange(table_ids.len())
    missing = int((rows < 0).sum())
    if missing:
        notes.append(f"{source.name}: {missing:,} of the log's {distinct.len():,} {what}s are not in the {what} table")
    fields = [name for name in source.frame.columns if name != column]
    features = {name: feature(source, name, config.kinds.get(name)).take(rows) for name in fields}
    return Table(vocabulary, features, rows >= 0)


def _vocabulary(distinct: pl.Series, what: str) -> Vocabulary:
    return Vocabulary.of(distinct.to_numpy(), what)


def _joined(first: pl.Series, second: pl.Series) -> pl.Series:
    """Two id columns as one; integers of different types meet in 64 bits, never in a float."""
    if first.dtype != second.dtype:
        signed = first.dtype.is_signed_integer() or second.dtype.is_signed_integer()
        common = pl.Int64 if signed else pl.UInt64
        first, second = first.cast(common, strict=False), second.cast(common, strict=False)
        if first.null_count() or second.null_count():
            raise DataError(f"ids of {first.name!r} in the log and its table do not fit one integer type; use text")
    return pl.concat([first, second])


def _interactions(log: pl.DataFrame, users: Table, items: Table, config: DataConfig) -> Interactions:
    order = [name for name in ("timestamp", "position") if name in log.columns]
    columns = log.with_columns(
        user_id=_rows(log["user_id"], users.ids),
        item_id=_rows(log["item_id"], items.ids),
    )
    for key in (*reversed(order), "user_id"):  # stable sorts by one key each: three times as fast as one by all
        columns = columns.sort(key, maintain_order=True)
    weights = columns["weight"].to_numpy() if "weight" in columns.columns else np.ones(columns.height)
    times = columns["timestamp"].to_numpy() // MICROSECONDS if "timestamp" in columns.columns else None
    interactions = Interactions(
        columns["user_id"].to_numpy(),
        columns["item_id"].to_numpy(),
        times,
        weights.astype(np.float32),
        len(users),
        len(items),
        ordered=bool(order),
    )
    if config.half_life_days is None:
        return interactions
    if times is None:
        raise DataError("half_life_days needs a column 'timestamp' in the log; add one, or leave the decay out")
    return replace(interactions, weights=(weights * interactions.decay(config.half_life_days)).astype(np.float32))


def _rows(values: pl.Series, vocabulary: Vocabulary) -> pl.Series:
    """The rows of a column of ids that the vocabulary holds, Int32."""
    known = pl.Series(vocabulary.ids())
    if values.dtype == pl.String:
        return values.cast(pl.Enum(known)).to_physical().cast(pl.Int32)
    rows = pl.Series(np.arange(len(vocabulary), dtype=np.int32))
    return values.cast(known.dtype).replace_strict(known, rows, return_dtype=pl.Int32)


def _occurs(rows: NDArray[np.int32], n: int) -> NDArray[np.bool_]:
    return np.bincount(rows, minlength=n) > 0

"""Building the arrays of a dataset from the sources of its log and tables."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multirecall.data import remedies
from multirecall.data.config import Column, DataConfig
from multirecall.data.horizon import MICROSECONDS, apply_future_rule
from multirecall.data.ids import IdColumn, Type, common_id_type, read_ids
from multirecall.data.inference import feature
from multirecall.data.interactions import Interactions
from multirecall.data.kinds import ColumnKind, column_kinds
from multirecall.data.parse import prepare_log, read_log
from multirecall.data.source import Source
from multirecall.data.table import Table
from multirecall.errors import DataError
from multirecall.validation import nearest
from multirecall.vocabulary import Vocabulary


class Parts(NamedTuple):
    """The parts of a dataset: log, tables, column kinds, and notes for the caller."""

    interactions: Interactions
    items: Table
    users: Table
    kinds: tuple[ColumnKind, ...]
    notes: list[str]


def build(log_source: Source, item_source: Source | None, user_source: Source | None, config: DataConfig) -> Parts:
    """Check a log and its tables, and build their arrays.

    Raises:
        DataError: a cell, column or table is faulty; the message names file, column, row and remedy.
    """
    notes = [note for source in (log_source, item_source, user_source) if source for note in source.notes]
    log_source = prepare_log(log_source, config.columns, notes)
    item_source, user_source = _with_ids(item_source, "item_id", config), _with_ids(user_source, "user_id", config)
    types: dict[str, Type] = {}
    for what, source in (("user", user_source), ("item", item_source)):
        columns = [IdColumn(one, f"{what}_id") for one in (log_source, source) if one]
        types[f"{what}_id"] = common_id_type(columns, what, config.ids, notes)
    log = apply_future_rule(read_log(log_source, config, types, notes), log_source, config.future, (), notes)
    kinds: list[ColumnKind] = []
    items = _table(item_source, "item", log["item_id"], config, kinds, notes)
    users = _table(user_source, "user", log["user_id"], config, kinds, notes)
    unknown = config.kinds.keys() - {kind.field for kind in kinds}
    if unknown:
        known = [kind.field for kind in kinds]
        raise DataError(f"kinds: no table has a column {min(unknown)!r}; {nearest(min(unknown), known)}")
    return Parts(_interactions(log, users, items, config), items, users, tuple(kinds), notes)


def seconds_and_micros(moments: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Split epoch microseconds into whole seconds, int64 (n,), and the microseconds of the second, int32 (n,)."""
    seconds = moments // MICROSECONDS
    return seconds, (moments - seconds * MICROSECONDS).astype(np.int32)


def _with_ids(source: Source | None, column: Column, config: DataConfig) -> Source | None:
    """The table with its id column renamed to `column`; None where there is no table."""
    if source is None:
        return None
    theirs = config.columns.get(column, column)
    if theirs != column and theirs in source.frame.columns:
        source = source.rename({column: theirs})
    source.require(column)
    return source


def _table(
    source: Source | None,
    what: Literal["item", "user"],
    log_ids: pl.Series,
    config: DataConfig,
    kinds: list[ColumnKind],
    notes: list[str],
) -> Table:
    """The table of all ids of the log and of `source`, with the features of `source`; adds to `kinds` and `notes`."""
    column = f"{what}_id"
    distinct = log_ids.unique()
    if source is None:
        vocabulary = _vocabulary(distinct, what)
        return Table(vocabulary, {}, np.zeros(len(vocabulary), np.bool_))
    table_ids = read_ids(source, column, "text" if log_ids.dtype == pl.String else "int")
    repeated = ~table_ids.is_first_distinct()
    source.refuse(column, repeated, "{value} is in the table twice; keep one row for each " + what)
    vocabulary = _vocabulary(_concat_ids(distinct, table_ids).unique(), what)
    rows = np.full(len(vocabulary), -1, np.int64)
    rows[vocabulary.rows(table_ids.to_numpy())] = np.arange(table_ids.len())
    missing = int((rows < 0).sum())
    if missing:
        notes.append(f"{source.name}: {missing:,} of the log's {distinct.len():,} {what}s are not in the {what} table")
    found = column_kinds(source, f"{what}s", column, config.kinds, notes)
    features = {one.field: feature(source, one.field, one.kind).take(rows) for one in found if one.kind != "ignore"}
    kinds += found
    return Table(vocabulary, features, rows >= 0)


def _vocabulary(distinct: pl.Series, what: str) -> Vocabulary:
    return Vocabulary.of(distinct.to_numpy(), what)


def _concat_ids(first: pl.Series, second: pl.Series) -> pl.Series:
    """Concatenate two id columns; integer types that differ become one 64-bit type, never a float."""
    if first.dtype != second.dtype:
        signed = first.dtype.is_signed_integer() or second.dtype.is_signed_integer()
        common = pl.Int64 if signed else pl.UInt64
        first, second = first.cast(common, strict=False), second.cast(common, strict=False)
        if first.null_count() or second.null_count():
            raise DataError(
                f"ids of {first.name!r} in the log and its table do not fit one integer type; "
                f"pass {remedies.ids(['text'])}"
            )
    return pl.concat([first, second])


def _interactions(log: pl.DataFrame, users: Table, items: Table, config: DataConfig) -> Interactions:
    order = [name for name in ("timestamp", "position") if name in log.columns]
    columns = log.with_columns(
        user_id=_rows(log["user_id"], users.ids),
        item_id=_rows(log["item_id"], items.ids),
    )
    for key in (*reversed(order), "user_id"):  # one stable sort per key is three times as fast as one sort by all keys
        columns = columns.sort(key, maintain_order=True)
    weights = columns["weight"].to_numpy() if "weight" in columns.columns else np.ones(columns.height)
    times, micros = None, None
    if "timestamp" in columns.columns:
        times, micros = seconds_and_micros(columns["timestamp"].to_numpy())
    interactions = Interactions(
        columns["user_id"].to_numpy(),
        columns["item_id"].to_numpy(),
        times,
        weights.astype(np.float32),
        len(users),
        len(items),
        ordered=bool(order),
        micros=micros if micros is not None and micros.any() else None,
        positions=columns["position"].to_numpy() if "position" in columns.columns else None,
    )
    if config.half_life_days is not None and times is None:
        raise DataError("half_life_days needs a column 'timestamp' in the log; add one, or do not pass half_life_days")
    return interactions


def _rows(values: pl.Series, vocabulary: Vocabulary) -> pl.Series:
    """The rows of a column of ids, Int32; the vocabulary must hold every id."""
    known = pl.Series(vocabulary.ids())
    if values.dtype == pl.String:
        return values.cast(pl.Enum(known)).to_physical().cast(pl.Int32)
    rows = pl.Series(np.arange(len(vocabulary), dtype=np.int32))
    return values.cast(known.dtype).replace_strict(known, rows, return_dtype=pl.Int32)

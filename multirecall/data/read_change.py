"""Reading a live change from a caller's frame or list: all checks are made here, so that applying it cannot fail."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import polars as pl

from multirecall.data.changes import Change, ChangeKind
from multirecall.data.features import Categorical, Feature, Numeric, Tags
from multirecall.data.frames import is_frame, wrap, wrap_rows
from multirecall.data.horizon import apply_future_rule
from multirecall.data.ids import read_ids_like
from multirecall.data.inference import feature
from multirecall.data.kinds import is_index
from multirecall.data.parse import Reader, read_events, read_matches
from multirecall.data.read_few import read_few_events
from multirecall.data.source import Source
from multirecall.errors import DataError, UnknownItems
from multirecall.validation import nearest
from multirecall.vocabulary import Vocabulary

if TYPE_CHECKING:
    from multirecall.data.dataset import Dataset

NAMED = 5
"""Number of unknown ids that an error lists, which keeps the message on one line."""


def read_change(data: Dataset, kind: ChangeKind, frame: Any) -> Change:
    """Read and check a change of this kind to `data`.

    Args:
        data: the dataset.
        kind: the kind of change.
        frame: a frame, the `Source` that `files.read` makes of files, rows as mappings, or a list of ids.

    Raises:
        DataError: the change is faulty; the message names the kind of change, column, row and remedy.
        IdTypeError: ids are of the wrong type.
    """
    if kind not in get_args(ChangeKind):
        raise DataError(f"change {kind!r}: {nearest(str(kind), get_args(ChangeKind))}")
    if kind == "remove_items" and not is_frame(frame):
        return Change(kind, _ids_from_list(kind, data.items.ids, frame, of_known=True))
    if kind == "remove_users" and not is_frame(frame):
        return Change(kind, _ids_from_list(kind, data.users.ids, frame, of_known=False))
    few = read_few_events(data, frame) if kind == "add_interactions" else None
    if few is not None:
        return _in_time(data, few, Source(few, ((kind, few.height),)), [])
    own = data.config.columns
    id_columns = {"user_id", "item_id", own.get("user_id", "user_id"), own.get("item_id", "item_id")}
    if isinstance(frame, Source):
        source = frame
    else:
        source = wrap_rows(frame, kind, id_columns) if isinstance(frame, list | tuple) else wrap(frame, kind)
    if source.frame.is_empty():
        return Change(kind, pl.DataFrame(schema={"user_id": pl.Int64, "item_id": pl.Int64}))
    if kind == "add_interactions":
        return _events(data, source)
    if kind == "remove_interactions":
        return Change(kind, _matches(data, source))
    if kind == "remove_users":
        return Change(kind, _users(data, source))
    return Change(kind, _items(data, source, kind))


def _events(data: Dataset, source: Source) -> Change:
    notes: list[str] = []
    frame = read_events(source, data.config, data.log.base, _id_readers(data), notes)
    return _in_time(data, frame, source, notes)


def _in_time(data: Dataset, frame: pl.DataFrame, source: Source, notes: list[str]) -> Change:
    frame = apply_future_rule(frame, source, data.config.future, data.log.newest, notes)
    return Change("add_interactions", frame, tuple(notes))


def _id_readers(data: Dataset) -> dict[str, Reader]:
    return {
        column: partial(read_ids_like, known=table.ids, wanted=data.config.ids)
        for column, table in (("user_id", data.users), ("item_id", data.items))
    }


def _matches(data: Dataset, source: Source) -> pl.DataFrame:
    return read_matches(source, data.config, data.log.base, _id_readers(data))


def _users(data: Dataset, source: Source) -> pl.DataFrame:
    theirs = data.config.columns.get("user_id", "user_id")
    if theirs in source.frame.columns:
        source = source.rename({"user_id": theirs})
    source.require("user_id")
    user_ids = read_ids_like(source, "user_id", data.users.ids, data.config.ids)
    return user_ids.unique(maintain_order=True).to_frame()


def _items(data: Dataset, source: Source, kind: ChangeKind) -> pl.DataFrame:
    theirs = data.config.columns.get("item_id", "item_id")
    if theirs in source.frame.columns:
        source = source.rename({"item_id": theirs})
    source.require("item_id")
    item_ids = read_ids_like(source, "item_id", data.items.ids, data.config.ids)
    if kind == "remove_items":
        _check_known(kind, item_ids.to_numpy(), data.items.ids)
        return item_ids.unique(maintain_order=True).to_frame()
    repeated = ~item_ids.is_first_distinct()
    source.refuse("item_id", repeated, "{value} is in the frame twice; keep one row for each item")
    if kind == "update_items":
        _check_known(kind, item_ids.to_numpy(), data.items.ids)
    fields = data.items.stored
    ignored = {one.field for one in data.kinds if one.table == "items" and one.kind == "ignore"}
    given = [
        field
        for field in source.frame.columns
        if field in fields or not (field == "item_id" or field in ignored or is_index(source, field))
    ]
    for field in given:
        if field not in fields:
            raise DataError(f"{source.name}: the item table has no field {field!r}; {nearest(field, fields)}")
    columns = [_feature_column(source, field, fields[field]) for field in given]
    return pl.DataFrame([item_ids, *columns])


def _ids_from_list(kind: ChangeKind, known: Vocabulary, given: Any, *, of_known: bool) -> pl.DataFrame:
    """The distinct ids of a list, in the type of `known`; unknown ids are refused if `of_known`, else kept."""
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise DataError(f"{kind}: got {given!r}; pass a list of ids")
    listed = list(given.tolist() if isinstance(given, np.ndarray) else given)
    try:
        known.rows(listed)
        distinct = Vocabulary.of(listed, known.what).ids()
    except DataError as fault:
        raise type(fault)(f"{kind}: {fault}") from None
    if of_known:
        _check_known(kind, np.array(listed, dtype=object), known)
    return pl.DataFrame({f"{known.what}_id": pl.Series(distinct)})


def _check_known(kind: ChangeKind, item_ids: Any, known: Vocabulary) -> None:
    unknown = np.flatnonzero(known.rows(item_ids) < 0)
    if unknown.size:
        named = ", ".join(map(repr, item_ids[unknown[:NAMED]].tolist()))
        others = f" and {unknown.size - NAMED:,} more" if unknown.size > NAMED else ""
        remedy = "add_items adds new ones" if kind == "update_items" else "leave them out"
        raise UnknownItems(f"{kind}: the catalogue has no item {named}{others}; {remedy}")


def _feature_column(source: Source, field: str, like: Feature) -> pl.Series:
    """Read a feature column of the kind of the table's column `like`; the result has the column type of a change."""
    if source.frame[field].dtype == pl.Null:
        source = replace(source, frame=source.frame.with_columns(pl.col(field).cast(FORMS[like.kind])))
    read = feature(source, field, like.kind)
    if isinstance(read, Numeric) and isinstance(like, Numeric):
        with np.errstate(over="ignore"):
            beyond = np.isinf(read.values.astype(like.precision))
        source.refuse(field, pl.Series(beyond), "{value} is too large for this field, which holds " + like.precision)
    values = [read.value(row) for row in range(len(read))]
    form = FORMS[like.kind]
    if not isinstance(read, Categorical | Tags) or not isinstance(like, Categorical | Tags):
        return pl.Series(field, values, dtype=form)
    theirs, ours = read.categories, like.categories
    if ours.holds_text:
        return pl.Series(field, values).cast(form)
    if theirs.holds_text and len(theirs):
        for row, value in enumerate(values):
            texts = value if isinstance(value, list) else [value]
            if value is not None and not (source.untyped and all(WHOLE.fullmatch(text) for text in texts)):
                raise DataError(
                    f"{source.place(field, row)}: {value!r} is text, but the categories of this column are integers; "
                    "cast the column to integers"
                )
        values = [_as_whole(value) for value in values]
    whole = pl.UInt64() if theirs.dtype == np.uint64 else pl.Int64()
    return pl.Series(field, values, dtype=pl.List(whole) if like.kind == "list" else whole)


def _as_whole(value: str | list[str] | None) -> int | list[int] | None:
    if isinstance(value, list):
        return [int(text) for text in value]
    return None if value is None else int(value)


WHOLE = re.compile(r"-?\d{1,18}")
"""An integer as a file of text has it."""

FORMS: dict[str, pl.DataType] = {
    "categorical": pl.String(),
    "list": pl.List(pl.String()),
    "number": pl.Float64(),
    "datetime": pl.Float64(),
    "text": pl.String(),
}
"""The column type of each kind of feature in a change; integer categories stay integers."""

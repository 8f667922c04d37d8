"""Reading a few plain events without polars, whose threads cost more than such a check: one click, one purchase."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from multirecall.data.parse import LARGEST_WEIGHT
from multirecall.data.times import LARGEST_EPOCH_SECONDS, MICROS
from multirecall.vocabulary import Vocabulary, is_storable

if TYPE_CHECKING:
    from multirecall.data.dataset import Dataset

FEW = 100
"""The largest number of rows that are read here."""

COMPACT_DATES = range(19_000_101, 21_001_232)
"""Numbers that read as a date of the years 1900 to 2100, which `times` looks at closely."""

COLUMNS = {"user_id", "item_id", "timestamp", "weight", "event"}


def read_few_events(data: Dataset, rows: Any) -> pl.DataFrame | None:
    """The events of a short list of mappings, as `parse.read_events` gives them; None where a cell needs its checks.

    Ids must be of the log's own type, times whole epoch seconds, weights numbers and events plain text, and every row
    must have the same columns, all of them known.
    """
    if type(rows) not in (list, tuple) or not 0 < len(rows) <= FEW or not all(type(row) is dict for row in rows):
        return None
    names, log = rows[0].keys(), data.log.base
    if not names <= COLUMNS or any(row.keys() != names for row in rows) or data.config.columns:
        return None
    if ("timestamp" in names) != (log.times is not None) or log.positions is not None:
        return None
    if not {"user_id", "item_id"} <= names or (data.config.event_weights and "event" not in names):
        return None
    columns: dict[str, pl.Series] = {}
    for name, known in (("user_id", data.users.ids), ("item_id", data.items.ids)):
        ids = [row[name] for row in rows]
        if not _are_plain_ids(ids, known, data.config.ids):
            return None
        columns[name] = pl.Series(name, ids, pl.String if known.holds_text else pl.Int64)
    if "timestamp" in names:
        seconds = [row["timestamp"] for row in rows]
        if not all(type(one) is int and abs(one) <= LARGEST_EPOCH_SECONDS for one in seconds):
            return None
        if any(one in COMPACT_DATES for one in seconds):
            return None
        columns["timestamp"] = pl.Series("timestamp", [one * MICROS for one in seconds], pl.Int64)
    weights = _weights(data, rows) if names & {"weight", "event"} else []
    if weights is None:
        return None
    if weights:
        columns["weight"] = pl.Series("weight", weights, pl.Float64)
    return pl.DataFrame(columns)


def _are_plain_ids(ids: Sequence[Any], known: Vocabulary, wanted: str) -> bool:
    if not len(known) or wanted not in ("auto", "text" if known.holds_text else "int"):
        return False
    if known.holds_text:
        return all(type(one) is str and one.isascii() and is_storable(one) for one in ids)
    return known.dtype.kind == "i" and all(type(one) is int and abs(one) < 2**63 for one in ids)


def _weights(data: Dataset, rows: Sequence[dict[str, Any]]) -> list[float] | None:
    """The weight of each event, none where all are 1; None where a cell is not plain."""
    given, factors = "weight" in rows[0], data.config.event_weights
    weights = [row["weight"] for row in rows] if given else [1.0] * len(rows)
    if not all(type(one) in (int, float) and 0 <= one <= LARGEST_WEIGHT for one in weights):
        return None
    if len({type(one) for one in weights}) > 1:
        return None
    if not factors:
        return [float(one) for one in weights] if given else []
    events = [row["event"] for row in rows]
    if not all(type(one) is str and one.isascii() for one in events):
        return None
    return [float(factors.get(event, 1.0)) * weight for event, weight in zip(events, weights, strict=True)]

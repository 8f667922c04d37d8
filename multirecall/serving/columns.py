"""Candidates as JSON columns: arrays go to orjson as they are, and no candidate becomes an object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from multirecall.data import Dataset, Numeric
from multirecall.engine.where import known_field
from multirecall.result import CandidateBatch, Candidates

OPTIONS = orjson.OPT_SERIALIZE_NUMPY


def to_json(value: Any) -> bytes:
    """JSON of values, numeric arrays and dataclasses among them."""
    return orjson.dumps(value, option=OPTIONS)


def candidate_columns(found: Candidates | CandidateBatch, data: Dataset, fields: Sequence[str]) -> dict[str, Any]:
    """An answer with a list for each column, in which position i is of candidate i."""
    return {
        "items": ids_column(found.ids),
        "scores": np.ascontiguousarray(found.scores),
        "ranks": rank_columns(found.ranks, found.paths),
        "fields": field_columns(found.ids, data, fields),
        "n_backfilled": found.n_backfilled,
        "shortfall": found.shortfall,
        "known": found.known,
        "unknown_items": found.unknown_items,
        "store": found.store,
        **({"variants": found.variants} if isinstance(found, CandidateBatch) else {"variant": found.variant}),
        "status": found.status,
    }


def batch_columns(found: CandidateBatch, data: Dataset, fields: Sequence[str]) -> dict[str, Any]:
    """The same for several users: user u has the positions `offsets[u]` to `offsets[u + 1]` of each column."""
    return {"users": found.user_ids, "offsets": found.offsets, **candidate_columns(found, data, fields)}


def ids_column(ids: NDArray[Any]) -> Any:
    """Ids (n,) in a form that orjson writes: it knows arrays of numbers, and lists of text."""
    return ids.tolist() if ids.dtype.kind == "U" else np.ascontiguousarray(ids)


def rank_columns(ranks: NDArray[np.int32], paths: Sequence[str]) -> dict[str, NDArray[np.int32]]:
    """The ranks (n, n_paths) as a column for each path."""
    return dict(zip(paths, np.ascontiguousarray(ranks.T), strict=True))


def field_columns(ids: NDArray[Any], data: Dataset, fields: Sequence[str]) -> dict[str, Any]:
    """Item features for each of `ids`, (n,), by field; null where an item has none.

    Raises:
        RequestError: the item table has no such field.
    """
    if not fields:
        return {}
    rows = data.items.ids.rows(ids)
    return {field: _values(data, field, rows) for field in fields}


def _values(data: Dataset, field: str, rows: NDArray[np.int32]) -> Any:
    known_field(field, data.items, "fields", "item")
    feature = data.items.stored[field]
    taken = feature.take(np.where(rows < len(feature), rows, -1))
    if isinstance(taken, Numeric):
        return taken.values.astype(taken.precision)  # orjson writes the fewest digits that are that number
    return [taken.value(place) for place in range(len(taken))]

"""Candidates as JSON columns: arrays go to orjson as they are, and no candidate becomes an object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from multirecall.result import CandidateBatch, Candidates
from multirecall.serving.fields import Fields

OPTIONS = orjson.OPT_SERIALIZE_NUMPY


def to_json(value: Any) -> bytes:
    """JSON of values, numeric arrays and dataclasses among them."""
    return orjson.dumps(value, option=OPTIONS)


def candidate_columns(found: Candidates | CandidateBatch, fields: Fields) -> dict[str, Any]:
    """An answer with a list for each column, in which position i is of candidate i."""
    return {
        "items": ids_column(found.ids),
        "scores": np.ascontiguousarray(found.scores),
        "ranks": rank_columns(found.ranks, found.paths),
        "fields": fields.columns,
        "fields_store": fields.state,
        "n_backfilled": found.n_backfilled,
        "shortfall": found.shortfall,
        "known": found.known,
        "unknown_items": found.unknown_items,
        "store": found.store,
        **({"variants": found.variants} if isinstance(found, CandidateBatch) else {"variant": found.variant}),
        "level": found.level,
        "draw": found.draw,
        "status": found.status,
    }


def batch_columns(found: CandidateBatch, fields: Fields) -> dict[str, Any]:
    """The same for several users: user u has the positions `offsets[u]` to `offsets[u + 1]` of each column."""
    return {"users": found.user_ids, "offsets": found.offsets, **candidate_columns(found, fields)}


def ids_column(ids: NDArray[Any]) -> Any:
    """Ids (n,) in a form that orjson writes: it knows arrays of numbers, and lists of text."""
    return ids.tolist() if ids.dtype.kind == "U" else np.ascontiguousarray(ids)


def rank_columns(ranks: NDArray[np.int32], paths: Sequence[str]) -> dict[str, NDArray[np.int32]]:
    """The ranks (n, n_paths) as a column for each path."""
    return dict(zip(paths, np.ascontiguousarray(ranks.T), strict=True))

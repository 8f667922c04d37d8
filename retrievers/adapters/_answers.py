"""What a service answers, in JSON or Arrow, read with nothing taken on trust."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any, NoReturn

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multirecall.errors import DataError, ServiceError
from multirecall.lists import RankedList
from multirecall.vocabulary import MAX_ID_CHARACTERS, Vocabulary

from ._arrow import refuse_odd_messages

Answer = tuple[list[Any], NDArray[np.float32]]
"""Ids, and a finite score for each."""

LONGEST_ID = 4 * MAX_ID_CHARACTERS
"""Bytes of an id in Arrow, whose rows may all point to the same long text."""

ID, SCORE = "item_id", "score"
"""Columns of an answer in Arrow."""


def read_json(body: bytes, k: int) -> Answer:
    """The items and scores of `{"items": [...], "scores": [...]}`.

    Raises:
        ServiceError: it is no such JSON, has more than `k` items, or a score is no finite number.
    """
    try:
        answer = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as fault:
        raise ServiceError(f"answers with what is no JSON: {str(fault)[:100]}") from None
    if not isinstance(answer, dict):
        raise ServiceError("answers with JSON that is no object; send the keys items and scores")
    items, scores = answer.get("items"), answer.get("scores")
    if not isinstance(items, list) or not isinstance(scores, list) or len(items) != len(scores):
        raise ServiceError("answers without two lists of one length; send the keys items and scores")
    _refuse_surplus(len(items), k)
    if not all(type(score) in (int, float) for score in scores):
        raise ServiceError("answers with a score that is no number")
    try:
        return items, _finite(np.array(scores, np.float64))
    except OverflowError:
        raise ServiceError(NOT_FINITE) from None


def read_arrow(body: bytes, k: int) -> Answer:
    """The items and scores of an Arrow IPC stream with the columns `item_id` and `score`.

    Raises:
        ServiceError: as `read_json`; or the stream is compressed, or has dictionaries.
    """
    refuse_odd_messages(body, k)
    try:
        frame = pl.read_ipc_stream(BytesIO(body), columns=[ID, SCORE])
    except (pl.exceptions.PolarsError, OSError, ValueError) as fault:
        raise ServiceError(f"answers with what is no Arrow stream of item_id and score: {str(fault)[:100]}") from None
    ids, scores = frame[ID], frame[SCORE]
    if not (ids.dtype == pl.String or ids.dtype.is_integer()) or not scores.dtype.is_numeric():
        raise ServiceError(
            f"answers with {ID} of type {ids.dtype} and {SCORE} of type {scores.dtype}; send text or integers, and "
            "numbers"
        )
    if ids.null_count() or scores.null_count():
        raise ServiceError("answers with a null; send an id and a score in each row")
    if ids.dtype == pl.String and ids.len() and int(ids.str.len_bytes().max()) > LONGEST_ID:  # type: ignore[arg-type]
        raise ServiceError(f"answers with an id of more than {LONGEST_ID} bytes")
    return ids.to_list(), _finite(scores.cast(pl.Float64).to_numpy())


def rank(answer: Answer, catalogue: Vocabulary) -> tuple[RankedList, int]:
    """The list under the ordering rule, and how many ids the catalogue lacks, which are passed over.

    An item that occurs several times has its best score.

    Raises:
        ServiceError: an id is not of the catalogue's type.
    """
    ids, scores = answer
    wanted = str if catalogue.holds_text else int
    for one in ids:
        if type(one) is not wanted:
            kind = type(one).__name__
            raise ServiceError(f"answers with item {str(one)[:100]!r} of type {kind}; send {wanted.__name__}")
    try:
        rows = catalogue.rows(ids)
    except DataError as fault:  # raised as it is, it would blame the caller of the engine
        raise ServiceError(f"answers with an unusable id: {str(fault)[:100]}") from None
    known = rows >= 0
    rows, scores = rows[known], scores[known]
    order = np.lexsort((rows, -scores))
    rows, scores = rows[order], scores[order]
    first = np.sort(np.unique(rows, return_index=True)[1])
    return RankedList(rows[first], scores[first]), len(ids) - int(known.sum())


NOT_FINITE = "answers with a score that is not finite in float32"


def _finite(scores: NDArray[np.float64]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        found: NDArray[np.float32] = scores.astype(np.float32) + np.float32(0.0)  # -0.0 becomes 0.0
    if not np.isfinite(found).all():
        raise ServiceError(NOT_FINITE)
    return found


def _refuse_surplus(n: int, k: int) -> None:
    if n > k:
        raise ServiceError(f"answers with {n:,} items to a request for {k:,}; send at most k")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")

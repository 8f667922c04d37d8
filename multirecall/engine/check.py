"""The check that what a path returned is a valid ranked list."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.kernels import kernel
from multirecall.lists import RankedBatch, RankedList
from multirecall.topk import precedes

INT32, INT64, FLOAT32 = np.dtype(np.int32), np.dtype(np.int64), np.dtype(np.float32)

FAULTS = (
    None,
    "an item row is out of range",
    "a score is not finite",
    "it is not sorted by score descending, then row ascending",
    "an item stands in it twice",
)


def fault_of(ranked: Any, window: int, n_items: int) -> str | None:
    """Return what is wrong with a path's answer to a request for `window` items, or None."""
    if not isinstance(ranked, RankedList):
        return f"it is a {type(ranked).__name__}, not a RankedList"
    items, scores = ranked.items, ranked.scores
    if not _is_vector(items, INT32):
        return "its items are not a one-dimensional int32 array"
    if not _is_vector(scores, FLOAT32):
        return "its scores are not a one-dimensional float32 array"
    if items.size != scores.size:
        return f"it has {items.size} items and {scores.size} scores"
    if items.size > window:
        return f"it has {items.size} items, {window} were asked for"
    return FAULTS[_fault_code(_contiguous(items), _contiguous(scores), n_items, _marks(n_items))]


def fault_of_batch(batch: Any, n_users: int, window: int, n_items: int) -> str | None:
    """Return what is wrong with a path's answer for several users, or None."""
    if not isinstance(batch, RankedBatch):
        return f"it is a {type(batch).__name__}, not a RankedBatch"
    offsets, items, scores = batch.offsets, batch.items, batch.scores
    if not _is_vector(offsets, INT64) or offsets.size != n_users + 1:
        return f"its offsets are not a one-dimensional int64 array of {n_users + 1}"
    if not _is_vector(items, INT32) or not _is_vector(scores, FLOAT32):
        return "its items and scores are not one-dimensional int32 and float32 arrays"
    if offsets[0] != 0 or (np.diff(offsets) < 0).any() or not offsets[-1] == items.size == scores.size:
        return f"its offsets do not divide {items.size} items and {scores.size} scores"
    longest = int(np.diff(offsets).max(initial=0))
    if longest > window:
        return f"it has {longest} items for a user, {window} were asked for"
    return FAULTS[_batch_fault_code(offsets, _contiguous(items), _contiguous(scores), n_items, _marks(n_items))]


def _is_vector(array: Any, dtype: np.dtype[Any]) -> bool:
    return isinstance(array, np.ndarray) and array.dtype == dtype and array.ndim == 1


def _contiguous(array: NDArray[Any]) -> NDArray[Any]:
    return array if array.flags.c_contiguous else array.copy()


def _marks(n_items: int) -> NDArray[np.uint64]:
    """A bit for each item, unset, 64 to a word; the calling thread keeps them, and every check leaves them unset."""
    marks: NDArray[np.uint64] | None = getattr(_scratch, "marks", None)
    if marks is None or marks.size <= n_items >> 6:
        marks = _scratch.marks = np.zeros((n_items >> 6) + 1, np.uint64)
    return marks


_scratch = threading.local()


@kernel
def _fault_code(items: NDArray[np.int32], scores: NDArray[np.float32], n_items: int, marks: NDArray[np.uint64]) -> int:
    """A place in `FAULTS`."""
    return 0 if _is_valid(items, scores, n_items, marks) else int(_first_fault(items, scores, n_items))


@kernel
def _batch_fault_code(
    offsets: NDArray[np.int64],
    items: NDArray[np.int32],
    scores: NDArray[np.float32],
    n_items: int,
    marks: NDArray[np.uint64],
) -> int:
    """A place in `FAULTS`, for the first list that has one."""
    for user in range(offsets.size - 1):
        part = slice(offsets[user], offsets[user + 1])
        code = _fault_code(items[part], scores[part], n_items, marks)
        if code:
            return int(code)
    return 0


@kernel
def _is_valid(items: NDArray[np.int32], scores: NDArray[np.float32], n_items: int, marks: NDArray[np.uint64]) -> bool:
    """Whether a list has no fault; loops without a way out, which the compiler vectorises."""
    faults = np.uint32(0)
    for item in items:
        faults |= np.uint32(item < 0) | np.uint32(item >= n_items)
    for score in scores:
        faults |= np.uint32(not abs(score) < np.inf)
    for position in range(1, items.size):
        above, score = scores[position - 1], scores[position]
        faults |= np.uint32(score > above) | np.uint32((score == above) & (items[position] <= items[position - 1]))
    if faults:
        return False
    twice = np.uint64(0)
    for item in items:
        mark = np.uint64(1) << np.uint64(item & 63)
        twice |= marks[item >> 6] & mark
        marks[item >> 6] |= mark
    for item in items:
        marks[item >> 6] = 0
    return bool(twice == 0)


@kernel
def _first_fault(items: NDArray[np.int32], scores: NDArray[np.float32], n_items: int) -> int:
    """The first fault by position, as a place in `FAULTS`."""
    seen = np.zeros(n_items, np.bool_)
    for position in range(items.size):
        item = items[position]
        if item < 0 or item >= n_items:
            return 1
        if not np.isfinite(scores[position]):
            return 2
        if position and precedes(scores[position], item, scores[position - 1], items[position - 1]):
            return 3
        if seen[item]:
            return 4
        seen[item] = True
    return 0

"""External ids and their rows."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.errors import DataError, IdTypeError

Id = int | str
"""An external user or item id."""

MAX_ID_CHARACTERS = 256
"""The longest text id. Ids are stored at a fixed width, so that one long id makes every other as long in memory."""

NEVER = "?" * (MAX_ID_CHARACTERS + 1)
"""A text that no vocabulary can hold. A look-up puts it in place of text that is not storable."""


class Vocabulary:
    """A bijection between external ids and int32 rows 0 … n-1.

    Immutable. The ids of a fit are sorted, so that rows do not depend on input order. Later ids are appended behind
    them, and no id is ever renumbered. Ids keep the dtype of the caller's column: an integer type, or text.

    Attributes:
        dtype: an integer type or fixed-width text that holds every id; it widens where a later id needs it.
        holds_text: whether ids are str rather than int.
        what: the name of the ids in errors, such as "item".
        gone: rows whose ids are unknown again, int32, ascending.
    """

    __slots__ = ("_base", "_tail", "_tail_rows", "_tail_sorted", "dtype", "gone", "holds_text", "what")

    def __init__(self, ids: NDArray[Any], what: str = "id", gone: NDArray[np.int32] | None = None) -> None:
        """Take `ids` (n,), of an integer or text dtype, in the order of their rows.

        The longest ascending prefix counts as the ids of the fit, and the rest as ids that were added later. Ids are
        unique, except that an id whose row is in `gone` may occur once more.
        """
        falls = np.flatnonzero(ids[1:] <= ids[:-1])
        n_sorted = int(falls[0]) + 1 if falls.size else ids.size
        self.what = what
        self.dtype: np.dtype[Any] = ids.dtype
        self.holds_text = ids.dtype.kind == "U"
        self._base, self._tail = ids[:n_sorted], ids[n_sorted:]
        self.gone = np.empty(0, np.int32) if gone is None else gone
        self._sort_tail()

    @classmethod
    def of(cls, ids: Iterable[Id] | NDArray[Any], what: str = "id") -> Vocabulary:
        """Build a vocabulary from ids in any order, which may repeat.

        Raises:
            IdTypeError: the ids are neither all int nor all str.
            DataError: a text id is longer than 256 characters or holds a NUL character.
        """
        return cls(np.unique(_as_ids(ids, what)), what)

    def with_ids(self, ids: Iterable[Id] | NDArray[Any]) -> Vocabulary:
        """A vocabulary that also holds the new ones among `ids`, appended in the order given.

        The sorted ids of the fit are shared, so that the cost depends only on the number of ids added since the fit.

        Raises:
            IdTypeError: an id is of the wrong type, or no integer type holds all ids.
            DataError: as in `of`.
        """
        values = self._check(ids)
        fresh, first = np.unique(values[self.rows(values) < 0], return_index=True)
        if not fresh.size:
            return self
        dtype = self._wide_enough(fresh)
        fresh, order = fresh.astype(dtype), np.argsort(first)
        rows = np.empty(fresh.size, np.int32)
        rows[order] = np.arange(len(self), len(self) + fresh.size)
        tail_sorted = self._tail_sorted.astype(dtype, copy=False)
        places = tail_sorted.searchsorted(fresh)
        longer = copy(self)
        if not len(self):
            longer._base, longer.holds_text = fresh[:0], dtype.kind == "U"
        longer._tail = np.concatenate([self._tail.astype(dtype, copy=False), fresh[order]])
        longer._tail_sorted = np.insert(tail_sorted, places, fresh)
        longer._tail_rows = np.insert(self._tail_rows, places, rows)
        longer.dtype = dtype
        return longer

    def without(self, rows: NDArray[np.integer]) -> Vocabulary:
        """A vocabulary with as many rows, in which the ids of `rows` are unknown; added again, an id gets a new row."""
        fewer = copy(self)
        fewer.gone = np.union1d(self.gone, rows).astype(np.int32)
        fewer._sort_tail()
        return fewer

    def __len__(self) -> int:
        return self._base.size + self._tail.size

    @property
    def fitted(self) -> NDArray[Any]:
        """The ids of the fit, ascending: one array for all vocabularies that grew from it."""
        return self._base

    def rows(self, ids: Iterable[Id] | NDArray[Any]) -> NDArray[np.int32]:
        """The rows of `ids`, int32 (n,), -1 for an unknown id, such as text that is too long to be an id.

        Raises:
            IdTypeError: an id is of the wrong type; "7" is not 7.
        """
        values = self._check(ids, lenient=True)
        rows = _places(self._base, values)
        rows[np.isin(rows, self.gone)] = -1
        if self._tail_sorted.size:
            left = np.flatnonzero(rows < 0)
            places = _places(self._tail_sorted, values[left])
            rows[left] = np.where(places < 0, -1, self._tail_rows[places])
        return rows

    def row(self, id_: Id) -> int:
        """The row of one id, -1 when unknown; raises the errors of `rows`."""
        if not len(self) or not _is_plain(id_, self.holds_text):
            return int(self.rows((id_,))[0])
        place = _place(self._base, id_)
        if self.gone.size and (self.gone == place).any():
            place = -1
        if place >= 0 or not self._tail_sorted.size:
            return place
        place = _place(self._tail_sorted, id_)
        return place if place < 0 else self._tail_rows.item(place)

    def ids(self, rows: NDArray[np.integer] | slice = slice(None)) -> NDArray[Any]:
        """The external ids of `rows` (all rows by default), in their dtype."""
        if not self._tail.size:
            return self._base[rows] if isinstance(rows, slice) else self._base.take(rows)
        asked = np.arange(*rows.indices(len(self))) if isinstance(rows, slice) else np.asarray(rows)
        late = asked >= self._base.size
        ids = np.empty(asked.shape, self.dtype)
        ids[~late] = self._base[asked[~late]]
        ids[late] = self._tail[asked[late] - self._base.size]
        return ids

    def id(self, row: int) -> Id:
        """The external id of one row."""
        value: Id = (self._base[row] if row < self._base.size else self._tail[row - self._base.size]).item()
        return value

    def parse(self, text: str) -> Id:
        """Convert text to an id, for callers that only have text, such as a command line.

        Raises:
            IdTypeError: ids are int and `text` is not a whole number.
        """
        if self.holds_text:
            return text
        try:
            return int(text)
        except ValueError:
            raise IdTypeError(f"{self.what} ids are int, got {text!r}: pass a whole number") from None

    def _sort_tail(self) -> None:
        """Sort the ids that were added after the fit and are not gone, in place."""
        n = self._base.size
        left = np.setdiff1d(np.arange(self._tail.size), self.gone - n)
        order = left[np.argsort(self._tail[left])]
        self._tail_sorted, self._tail_rows = self._tail[order], (order + n).astype(np.int32)

    def _check(self, ids: Iterable[Id] | NDArray[Any], *, lenient: bool = False) -> NDArray[Any]:
        values = _as_ids(ids, self.what, lenient)
        if values.size and len(self) and (values.dtype.kind == "U") != self.holds_text:
            raise IdTypeError(self.mismatch(values[0].item()))
        return values

    def mismatch(self, id_: Any) -> str:
        """The error message for an id of the other type, with what to pass instead."""
        has, wants = ("int", "str") if self.holds_text else ("str", "int")
        is_whole = isinstance(id_, str) and id_.isascii() and id_.isdecimal()
        here = f", here {str(id_)!r}" if self.holds_text else f", here {int(id_)}" if is_whole else ""
        return f"{self.what} ids are {wants}, got {id_!r} ({has}): pass {wants} ids{here}"

    def _wide_enough(self, fresh: NDArray[Any]) -> np.dtype[Any]:
        """The dtype for the present ids and `fresh`, which is sorted: the present dtype if it can hold all of them."""
        if not len(self):
            return fresh.dtype
        if self.holds_text:
            return np.promote_types(self.dtype, fresh.dtype)
        ends = [ids.item(end) for ids in (self._base, self._tail_sorted, fresh) if ids.size for end in (0, -1)]
        lowest, highest = min(ends), max(ends)
        for dtype in (self.dtype, np.dtype(np.int64), np.dtype(np.uint64)):
            bounds = np.iinfo(dtype)
            if bounds.min <= lowest and highest <= bounds.max:
                return dtype
        raise IdTypeError(f"{self.what} ids {lowest} and {highest} do not fit one integer type: pass such ids as str")


def _as_ids(ids: Iterable[Id] | NDArray[Any], what: str, lenient: bool = False) -> NDArray[Any]:
    """The ids as an array of an integer or text dtype, without converting one type to the other.

    Text that is not storable is refused, or replaced by `NEVER` if `lenient`.
    """
    if isinstance(ids, np.ndarray) and ids.dtype.kind in "iu":
        return ids
    values = ids.tolist() if isinstance(ids, np.ndarray) and ids.dtype.kind == "U" else list(ids)
    if not values:
        return np.empty(0, np.str_ if isinstance(ids, np.ndarray) and ids.dtype.kind in "UO" else np.int64)
    types = dict.fromkeys(map(type, values))
    if all(issubclass(one, str) for one in types):
        return _as_text(values, what, lenient)
    for one in types:
        if not issubclass(one, int | np.integer) or one is bool:
            value = next(value for value in values if type(value) is one)
            raise IdTypeError(
                f"{what} ids must be all int or all str, got {value!r} ({one.__name__}): convert them first"
            )
    array = np.asarray(values)
    if array.dtype.kind not in "iu":
        raise IdTypeError(f"{what} id {max(values, key=abs)} does not fit 64 bits: pass such ids as str")
    return array


def _as_text(values: list[str], what: str, lenient: bool) -> NDArray[np.str_]:
    if max(map(len, values)) > MAX_ID_CHARACTERS or "\0" in "".join(values):
        if not lenient:
            unfit = next(value for value in values if not is_storable(value))
            raise DataError(
                f"{what} id {unfit[:40]!r}… has {len(unfit)} characters or a NUL character: "
                f"shorten ids to {MAX_ID_CHARACTERS} characters, for instance by hashing them"
            )
        values = [value if is_storable(value) else NEVER for value in values]
    return np.array(values, dtype=np.str_)


def is_storable(text: str) -> bool:
    """Whether a vocabulary can hold `text`: at most `MAX_ID_CHARACTERS` characters, none of them NUL."""
    return len(text) <= MAX_ID_CHARACTERS and "\0" not in text


def _is_plain(id_: Id, holds_text: bool) -> bool:
    """Whether `id_` is of the vocabulary's type and can be looked up without further checks."""
    if holds_text:
        return isinstance(id_, str) and is_storable(id_)
    return type(id_) is int


def _place(known: NDArray[Any], id_: Id) -> int:
    """The position of one id in sorted ids, -1 where it is absent."""
    if not known.size:
        return -1
    if isinstance(id_, int):
        if not known.item(0) <= id_ <= known.item(-1):
            return -1
        place = int(known.searchsorted(known.dtype.type(id_)))
    else:
        if len(id_) > known.dtype.itemsize // 4:
            return -1
        place = int(known.searchsorted(id_))
    return place if place < known.size and known.item(place) == id_ else -1


def _places(known: NDArray[Any], values: NDArray[Any]) -> NDArray[np.int32]:
    """The positions of ids in sorted ids, int32 (n,), -1 where an id is absent."""
    if not known.size:
        return np.full(values.size, -1, np.int32)
    castable = _castable(values, known.dtype)
    wanted = np.where(castable, values, values.dtype.type(0)).astype(known.dtype)
    places = np.minimum(known.searchsorted(wanted), known.size - 1)
    return np.where(castable & (known[places] == wanted), places, -1).astype(np.int32)


def _castable(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[np.bool_]:
    """Whether `dtype` can hold each value unchanged: text no longer than its width, integers in its range."""
    if values.dtype == dtype or not values.size:
        return np.ones(values.size, np.bool_)
    if dtype.kind == "U":
        return np.char.str_len(values) <= dtype.itemsize // 4
    bounds = np.iinfo(dtype)
    return (values >= bounds.min) & (values <= bounds.max)

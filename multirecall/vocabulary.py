"""External ids and their rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.errors import DataError, IdTypeError

Id = int | str
"""An external user or item id."""

MAX_ID_CHARACTERS = 256
"""Ids are held at fixed width, so one overlong id would cost its length for every other."""


class Vocabulary:
    """A bijection between external ids and int32 rows 0 … n-1.

    Immutable. The ids of a fit are sorted, so that rows do not depend on input order; ids that join later
    are appended behind them. Ids keep the dtype of the caller's column: some integer type, or text.
    """

    __slots__ = ("_base", "_tail", "_tail_rows", "what")

    def __init__(self, ids: NDArray[Any], what: str = "id") -> None:
        """Take `ids` (n,), sorted and unique, of an integer or text dtype; `what` names them in errors."""
        self.what = what
        self._base = ids
        self._tail = ids[:0]
        self._tail_rows: dict[Id, int] = {}

    @classmethod
    def of(cls, ids: Iterable[Id] | NDArray[Any], what: str = "id") -> Vocabulary:
        """Build from ids in any order, repeated or not.

        Raises:
            IdTypeError: the ids are neither all int nor all str.
            DataError: a text id is longer than 256 characters or holds a NUL character.
        """
        return cls(np.unique(_as_ids(ids, what)), what)

    def extended(self, ids: Iterable[Id] | NDArray[Any]) -> Vocabulary:
        """A vocabulary that also holds those of `ids` that are new, appended in the order given."""
        values = self._checked(ids)
        fresh = list(dict.fromkeys(values[self.rows(values) < 0].tolist()))
        joined = Vocabulary(self._base, self.what)
        joined._tail = np.concatenate([self._tail, np.array(fresh, dtype=None if fresh else self.dtype)])
        joined._tail_rows = self._tail_rows | {value: len(self) + i for i, value in enumerate(fresh)}
        return joined

    def __len__(self) -> int:
        return self._base.size + self._tail.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the ids: an integer type or fixed-width text."""
        return self._base.dtype

    @property
    def holds_text(self) -> bool:
        """Whether ids are str rather than int."""
        return self.dtype.kind == "U"

    def rows(self, ids: Iterable[Id] | NDArray[Any]) -> NDArray[np.int32]:
        """The rows of `ids`, int32 (n,), -1 for an unknown one.

        Raises:
            IdTypeError: an id is of the wrong type; "7" is not 7.
        """
        values = self._checked(ids)
        if not len(self):
            return np.full(values.size, -1, np.int32)
        known = _castable(values, self.dtype)
        wanted = np.where(known, values, values.dtype.type(0)).astype(self.dtype)
        places = np.minimum(self._base.searchsorted(wanted), max(self._base.size - 1, 0))
        found = known & (self._base[places] == wanted) if self._base.size else np.zeros(values.size, np.bool_)
        rows = np.where(found, places, -1).astype(np.int32)
        if self._tail_rows:
            for position in np.flatnonzero(~found):
                rows[position] = self._tail_rows.get(values[position].item(), -1)
        return rows

    def row(self, id_: Id) -> int:
        """The row of one id, -1 when unknown."""
        return int(self.rows((id_,))[0])

    def ids(self, rows: NDArray[np.integer] | slice = slice(None)) -> NDArray[Any]:
        """The external ids of `rows` (all rows by default), in their dtype."""
        if not self._tail.size:
            return self._base[rows]
        return np.concatenate([self._base, self._tail])[rows]

    def parse(self, text: str) -> Id:
        """The id that `text` spells, for callers that only have text, such as a command line.

        Raises:
            IdTypeError: ids are int and `text` is not a whole number.
        """
        if self.holds_text:
            return text
        try:
            return int(text)
        except ValueError:
            raise IdTypeError(f"{self.what} ids are int, got {text!r}: pass a whole number") from None

    def _checked(self, ids: Iterable[Id] | NDArray[Any]) -> NDArray[Any]:
        values = _as_ids(ids, self.what)
        if values.size and len(self) and (values.dtype.kind == "U") != self.holds_text:
            has, wants = ("str", "int") if values.dtype.kind == "U" else ("int", "str")
            raise IdTypeError(f"{self.what} ids are {wants}, got {values[0].item()!r} ({has}): pass {wants} ids")
        return values


def _as_ids(ids: Iterable[Id] | NDArray[Any], what: str) -> NDArray[Any]:
    """The ids as an array of an integer or text dtype, without turning one type into the other."""
    if isinstance(ids, np.ndarray) and ids.dtype.kind in "iu":
        return ids
    values = list(ids)
    if not values:
        return np.empty(0, np.int64)
    if all(isinstance(value, str) for value in values):
        return _as_text(values, what)
    for value in values:
        if not isinstance(value, int | np.integer) or isinstance(value, bool):
            raise IdTypeError(
                f"{what} ids must be all int or all str, got {value!r} ({type(value).__name__}): convert them first"
            )
    array = np.asarray(values)
    if array.dtype.kind not in "iu":
        raise IdTypeError(f"{what} id {max(values, key=abs)} does not fit 64 bits: pass such ids as str")
    return array


def _as_text(values: list[str], what: str) -> NDArray[np.str_]:
    for value in values:
        if len(value) > MAX_ID_CHARACTERS or "\0" in value:
            raise DataError(
                f"{what} id {value[:40]!r}… has {len(value)} characters or a NUL character: "
                f"shorten ids to {MAX_ID_CHARACTERS} characters, for instance by hashing them"
            )
    return np.array(values, dtype=np.str_)


def _castable(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[np.bool_]:
    """Which values can be held in `dtype` unchanged: text no longer than its width, integers in its range."""
    if values.dtype == dtype or not values.size:
        return np.ones(values.size, np.bool_)
    if dtype.kind == "U":
        return np.char.str_len(values) <= dtype.itemsize // 4
    bounds = np.iinfo(dtype)
    return (values >= bounds.min) & (values <= bounds.max)

"""Predicates over item features."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Categorical, Feature, Numeric, Table, Tags, Text
from multirecall.data.matching import have_category, have_text
from multirecall.engine.values import Span, category_rows, json_values, list_values, plain_value, span, wrong
from multirecall.errors import RequestError
from multirecall.query import Condition, Where
from multirecall.validation import nearest

MOST_BYTES = 2**24
"""The memory for the bitmaps of predicates of one table, in bytes; a bitmap has one for each item."""

LEAST_BITMAPS = 8
"""The number of bitmaps that are kept however large they are."""


def read_where(where: Mapping[str, Any], items: Table) -> tuple[NDArray[np.bool_], Where]:
    """The items that pass every predicate, as a bitmap over item rows, and the predicates as a value.

    A scalar or list means any of, on list-valued fields any overlap; `{"min": …, "max": …}` is an inclusive
    range on numbers and datetimes. A date without a time stands for all of its day in UTC, so that as a `max` it takes
    in what happened later that day. Numbers are compared in the precision of the caller's column. Null never matches.
    The bitmap may be that of another request; nobody may write to it.

    Raises:
        RequestError: an unknown field, or a value of the wrong type.
    """
    if not isinstance(where, Mapping):
        raise RequestError(f"where: got {where!r}; pass a mapping from item field to values")
    matches, conditions = [], []
    for field, predicate in where.items():
        test, condition = _read(known_field(field, items, "where", "item"), field, predicate)
        matches.append(_passing(items, field, test))
        conditions.append(condition)
    allowed = reduce(np.logical_and, matches) if matches else np.ones(len(items), np.bool_)
    return allowed, Where(tuple(conditions))


def known_field(field: str, table: Table, place: str, what: str) -> Feature:
    """The feature column `field`.

    Raises:
        RequestError: there is none.
    """
    feature = table.features.get(field)
    if feature is None:
        raise RequestError(f"{place}: no {what} feature is named {field!r}; {nearest(str(field), table.features)}")
    return feature


class _AnyCategory(NamedTuple):
    """Has one of the categories of these codes."""

    codes: tuple[int, ...]

    def __call__(self, feature: Categorical | Tags) -> NDArray[np.bool_]:
        return have_category(feature, np.array(self.codes, np.int32))


class _AnyText(NamedTuple):
    """Is one of these texts."""

    texts: tuple[bytes, ...]

    def __call__(self, feature: Text) -> NDArray[np.bool_]:
        return have_text(feature, self.texts)


class _AnyNumber(NamedTuple):
    """Lies in one of these spans."""

    spans: tuple[Span, ...]

    def __call__(self, feature: Numeric) -> NDArray[np.bool_]:
        if len(self.spans) == 1:
            return feature.between(*self.spans[0])
        matches = feature.any_of([one.start for one in self.spans if one.start == one.end])
        for one in self.spans:
            if one.start < one.end:
                matches |= feature.between(*one)
        return matches


_Test = _AnyCategory | _AnyText | _AnyNumber
"""A predicate on one column whose values are checked: what decides its bitmap, as a value."""


def _passing(items: Table, field: str, test: _Test) -> NDArray[np.bool_]:
    """The items that pass, as a bitmap that is kept with the table; nobody may write to it.

    The table is immutable, so a bitmap never goes out of date. Threads may make the same one at the same time.
    """
    key, kept = (field, type(test), test), items.bitmaps
    bitmap = kept.get(key)
    if bitmap is None:
        most = max(LEAST_BITMAPS, MOST_BYTES // max(len(items), 1))
        for oldest in list(kept)[: max(0, len(kept) - most + 1)]:
            kept.pop(oldest, None)
        bitmap = kept[key] = test(items.features[field])  # type: ignore[arg-type]
    return bitmap


def _read(feature: Feature, field: str, predicate: Any) -> tuple[_Test, Condition]:
    if isinstance(predicate, Mapping):
        if not isinstance(feature, Numeric):
            raise wrong("where", field, feature, predicate, "a value or a list of values")
        test = _AnyNumber((_range(feature, field, predicate),))
        bounds = {bound: json_values(feature, list_values(value))[0] for bound, value in predicate.items()}
        return test, Condition(field, feature.kind, None, bounds.get("min"), bounds.get("max"))
    values = list_values(predicate)
    return _any_of(feature, field, values), Condition(field, feature.kind, json_values(feature, values))


def _any_of(feature: Feature, field: str, values: list[Any]) -> _Test:
    if isinstance(feature, Numeric):
        return _AnyNumber(tuple(sorted({span(feature, field, value, "where") for value in values})))
    if isinstance(feature, Text):
        wanted = {plain_value(feature, field, value, "where").encode(errors="surrogatepass") for value in values} - {
            b""
        }
        return _AnyText(tuple(sorted(wanted)))
    rows = np.unique(category_rows(feature, field, values, "where"))
    return _AnyCategory(tuple(rows[rows >= 0].tolist()))


def _range(feature: Numeric, field: str, bounds: Mapping[str, Any]) -> Span:
    if not bounds or bounds.keys() - {"min", "max"}:
        raise RequestError(f"where: {field!r}: a range has the keys 'min' and 'max', got {list(bounds)}")
    low = span(feature, field, bounds["min"], "where").start if "min" in bounds else -math.inf
    high = span(feature, field, bounds["max"], "where").end if "max" in bounds else math.inf
    if low > high:
        raise RequestError(f"where: {field!r}: min {bounds['min']!r} is above max {bounds['max']!r}; swap them")
    return Span(low, high)

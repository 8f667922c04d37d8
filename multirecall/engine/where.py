"""Predicates over item features."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Categorical, Feature, Numeric, Table, Text
from multirecall.engine.values import Span, category_rows, json_values, list_values, plain_value, span, wrong
from multirecall.errors import RequestError
from multirecall.query import Condition, Where
from multirecall.validation import nearest


def read_where(where: Mapping[str, Any], items: Table) -> tuple[NDArray[np.bool_], Where]:
    """The items that pass every predicate, as a bitmap over item rows, and the predicates as a value.

    A scalar or list means any of, on list-valued fields any overlap; `{"min": …, "max": …}` is an inclusive
    range on numbers and datetimes. A date without a time stands for all of its day in UTC, so that as a `max` it takes
    in what happened later that day. Numbers are compared in the precision of the caller's column. Null never matches.

    Raises:
        RequestError: an unknown field, or a value of the wrong type.
    """
    if not isinstance(where, Mapping):
        raise RequestError(f"where: got {where!r}; pass a mapping from item field to values")
    allowed = np.ones(len(items), np.bool_)
    conditions = []
    for field, predicate in where.items():
        matches, condition = _read(known_field(field, items, "where", "item"), field, predicate)
        allowed &= matches
        conditions.append(condition)
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


def _read(feature: Feature, field: str, predicate: Any) -> tuple[NDArray[np.bool_], Condition]:
    if isinstance(predicate, Mapping):
        if not isinstance(feature, Numeric):
            raise wrong("where", field, feature, predicate, "a value or a list of values")
        matches = _in_range(feature, field, predicate)
        bounds = {bound: json_values(feature, list_values(value))[0] for bound, value in predicate.items()}
        return matches, Condition(field, feature.kind, None, bounds.get("min"), bounds.get("max"))
    values = list_values(predicate)
    matches = _any_of(feature, field, values)
    return matches, Condition(field, feature.kind, json_values(feature, values))


def _any_of(feature: Feature, field: str, values: list[Any]) -> NDArray[np.bool_]:
    if isinstance(feature, Numeric):
        return _equal(feature, [span(feature, field, value, "where") for value in values])
    if isinstance(feature, Text):
        wanted = {plain_value(feature, field, value, "where") for value in values} - {""}
        return np.array([text in wanted for text in feature.strings()], np.bool_)
    rows = category_rows(feature, field, values, "where")
    chosen = np.zeros(len(feature.categories) + 1, np.bool_)
    chosen[rows[rows >= 0]] = True
    if isinstance(feature, Categorical):
        return chosen[feature.codes]
    owners = np.repeat(np.arange(feature.offsets.size - 1), np.diff(feature.offsets))
    return np.bincount(owners[chosen[feature.codes]], minlength=feature.offsets.size - 1) > 0


def _equal(feature: Numeric, spans: list[Span]) -> NDArray[np.bool_]:
    equal = feature.any_of([one.start for one in spans if one.start == one.end])
    for one in spans:
        if one.start < one.end:
            equal |= feature.between(*one)
    return equal


def _in_range(feature: Numeric, field: str, bounds: Mapping[str, Any]) -> NDArray[np.bool_]:
    if not bounds or bounds.keys() - {"min", "max"}:
        raise RequestError(f"where: {field!r}: a range has the keys 'min' and 'max', got {list(bounds)}")
    low = span(feature, field, bounds["min"], "where").start if "min" in bounds else -math.inf
    high = span(feature, field, bounds["max"], "where").end if "max" in bounds else math.inf
    if low > high:
        raise RequestError(f"where: {field!r}: min {bounds['min']!r} is above max {bounds['max']!r}; swap them")
    return feature.between(low, high)

"""Predicates over item features, and checks of feature values that a request passes in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Categorical, Feature, Numeric, Table, Tags, Text
from multirecall.errors import IdTypeError, RequestError
from multirecall.validation import nearest


def allowed_by(where: Mapping[str, Any], items: Table) -> NDArray[np.bool_]:
    """The items that pass every predicate, as a bitmap over item rows.

    A scalar or list means any of, on list-valued fields any overlap; `{"min": …, "max": …}` is an inclusive
    range on numbers and datetimes. Null never matches.

    Raises:
        RequestError: an unknown field, or a value of the wrong type.
    """
    if not isinstance(where, Mapping):
        raise RequestError(f"where: got {where!r}; pass a mapping from item field to values")
    allowed = np.ones(len(items), np.bool_)
    for field, predicate in where.items():
        allowed &= _matches(known_field(field, items, "where", "item"), field, predicate)
    return allowed


def known_field(field: str, table: Table, place: str, what: str) -> Feature:
    """The feature column `field`.

    Raises:
        RequestError: there is none.
    """
    feature = table.features.get(field)
    if feature is None:
        raise RequestError(f"{place}: no {what} feature is named {field!r}; {nearest(str(field), table.features)}")
    return feature


def plain_value(feature: Feature, field: str, value: Any, place: str) -> Any:
    """A value in the form that the kind of a feature has: a str, a float, a category or a list of categories.

    Raises:
        RequestError: the value does not suit the kind; names place, field, kind and value.
    """
    if isinstance(feature, Text):
        if not isinstance(value, str):
            raise _wrong(place, field, feature, value, "a str")
        return value
    if isinstance(feature, Numeric):
        return _number(value, field, feature, place)
    values = listed_values(value) if isinstance(feature, Tags) else [value]
    _category_rows(feature, field, values, place)
    return values if isinstance(feature, Tags) else value


def listed_values(value: Any) -> list[Any]:
    """A scalar as a list of one, a list, tuple or set as a list."""
    return list(value) if isinstance(value, list | tuple | set | frozenset) else [value]


def _matches(feature: Feature, field: str, predicate: Any) -> NDArray[np.bool_]:
    if isinstance(predicate, Mapping):
        if not isinstance(feature, Numeric):
            raise _wrong("where", field, feature, predicate, "a value or a list of values")
        return _in_range(feature, field, predicate)
    values = listed_values(predicate)
    if isinstance(feature, Numeric):
        return np.isin(feature.values, [_number(value, field, feature, "where") for value in values])
    if isinstance(feature, Text):
        wanted = {plain_value(feature, field, value, "where") for value in values} - {""}
        return np.array([text in wanted for text in feature.strings()], np.bool_)
    rows = _category_rows(feature, field, values, "where")
    chosen = np.zeros(len(feature.categories) + 1, np.bool_)
    chosen[rows[rows >= 0]] = True
    if isinstance(feature, Categorical):
        return chosen[feature.codes]
    owners = np.repeat(np.arange(feature.offsets.size - 1), np.diff(feature.offsets))
    return np.bincount(owners[chosen[feature.codes]], minlength=feature.offsets.size - 1) > 0


def _in_range(feature: Numeric, field: str, bounds: Mapping[str, Any]) -> NDArray[np.bool_]:
    if not bounds or bounds.keys() - {"min", "max"}:
        raise RequestError(f"where: {field!r}: a range has the keys 'min' and 'max', got {list(bounds)}")
    low = _number(bounds["min"], field, feature, "where") if "min" in bounds else -math.inf
    high = _number(bounds["max"], field, feature, "where") if "max" in bounds else math.inf
    if low > high:
        raise RequestError(f"where: {field!r}: min {bounds['min']!r} is above max {bounds['max']!r}; swap them")
    return (feature.values >= low) & (feature.values <= high)


def _category_rows(feature: Categorical | Tags, field: str, values: list[Any], place: str) -> NDArray[np.int32]:
    try:
        return feature.categories.rows(values)
    except IdTypeError:
        wanted = "str" if feature.categories.holds_text else "int"
        raise _wrong(place, field, feature, values, f"{wanted} values") from None


def _number(value: Any, field: str, feature: Numeric, place: str) -> float:
    if isinstance(value, int | float | np.integer | np.floating):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    if feature.kind == "datetime":
        moment = value
        if isinstance(value, str):
            try:
                moment = datetime.fromisoformat(value)
            except ValueError:
                raise _wrong(place, field, feature, value, "ISO 8601, e.g. 2026-01-31") from None
        if isinstance(moment, date) and not isinstance(moment, datetime):
            moment = datetime(moment.year, moment.month, moment.day)
        if isinstance(moment, datetime):
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    raise _wrong(place, field, feature, value, "a number" if feature.kind == "number" else "a datetime")


def _wrong(place: str, field: str, feature: Feature, value: Any, remedy: str) -> RequestError:
    return RequestError(f"{place}: field {field!r} is of kind {feature.kind}, got {value!r}; pass {remedy}")

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
        raise RequestError(f"{place}: no {what} feature is named {field!r}; {nearest(field, table.features)}")
    return feature


def check_value(feature: Feature, field: str, value: Any, place: str) -> None:
    """Refuse a value that does not suit the kind of a feature.

    Raises:
        RequestError: names place, field, kind and value.
    """
    if isinstance(feature, Text):
        if not isinstance(value, str):
            raise _wrong(place, field, feature, value, "a str")
    elif isinstance(feature, Numeric):
        _number(value, field, feature, place)
    else:
        values = value if isinstance(feature, Tags) and isinstance(value, list | tuple | set | frozenset) else [value]
        _category_rows(feature, field, list(values), place)


def _matches(feature: Feature, field: str, predicate: Any) -> NDArray[np.bool_]:
    if isinstance(predicate, Mapping):
        if not isinstance(feature, Numeric):
            raise _wrong("where", field, feature, predicate, "a value or a list of values")
        return _in_range(feature, field, predicate)
    values = list(predicate) if isinstance(predicate, list | tuple | set | frozenset) else [predicate]
    if isinstance(feature, Numeric):
        return np.isin(feature.values, [_number(value, field, feature, "where") for value in values])
    if isinstance(feature, Text):
        for value in values:
            check_value(feature, field, value, "where")
        return np.isin(np.array(feature.strings(), dtype=np.object_), [value for value in values if value])
    rows = _category_rows(feature, field, values, "where")
    chosen = np.zeros(len(feature.categories) + 1, np.bool_)
    chosen[rows[rows >= 0]] = True
    if isinstance(feature, Categorical):
        return chosen[feature.codes]
    owners = np.repeat(np.arange(feature.offsets.size - 1), np.diff(feature.offsets))
    return np.bincount(owners[chosen[feature.codes]], minlength=feature.offsets.size - 1) > 0


def _in_range(feature: Numeric, field: str, bounds: Mapping[str, Any]) -> NDArray[np.bool_]:
    if not bounds or bounds.keys() - {"min", "max"}:
        raise RequestError(f"where: {field!r}: a range has the keys 'min' and 'max', got {sorted(bounds)}")
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
    if isinstance(value, int | float | np.integer | np.floating) and not math.isnan(value):
        return float(value)
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

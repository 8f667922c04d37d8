"""From a value that a caller passes to the form in which a feature holds its values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple
from unicodedata import normalize

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multirecall.data import Categorical, Feature, Numeric, Tags, Text
from multirecall.data.times import MICROS, complaint, number_complaint, parse_times
from multirecall.errors import IdTypeError, RequestError
from multirecall.query import Value

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY_S = 86_400.0
DATE_ALONE = re.compile(r"\s*\d{4}-\d{2}-\d{2}\s*")


class Span(NamedTuple):
    """The period that a caller's moment stands for: from `start` to `end`, both included, in epoch seconds."""

    start: float
    end: float


def plain_value(feature: Feature, field: str, value: Any, place: str) -> Any:
    """A value in the form that the kind of a feature has: a str, a float, a category or a list of categories.

    Scalars of numpy and pandas, `Decimal` and whole floats count as the numbers that they are, and texts are compared
    in Unicode's composed form (NFC), in which features are held.

    Raises:
        RequestError: the value does not suit the kind; names place, field, kind and value.
    """
    if isinstance(feature, Text):
        text = _scalar(value)
        if not isinstance(text, str):
            raise wrong(place, field, feature, value, "a str")
        return normalize("NFC", text)
    if isinstance(feature, Numeric):
        return span(feature, field, value, place).start
    values = [_category(feature, one) for one in list_values(value)]
    category_rows(feature, field, values, place)
    if isinstance(feature, Tags):
        return values
    if len(values) != 1:
        raise wrong(place, field, feature, value, "one category")
    return values[0]


def json_values(feature: Feature, values: list[Any]) -> tuple[Value, ...]:
    """Return the checked values of a filter as JSON values.

    A moment becomes ISO 8601 text in UTC. A date without a time stays a date.
    """
    if isinstance(feature, Text):
        return tuple(normalize("NFC", value) for value in values)
    if isinstance(feature, Numeric):
        return tuple(map(_json_number, values))
    return tuple(_category(feature, value) for value in values)


def _json_number(value: Any) -> Value:
    if isinstance(value, datetime):
        return (EPOCH + timedelta(microseconds=_micros(value))).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    number: Value = float(value) if isinstance(value, Decimal) else value
    return number


def list_values(value: Any) -> list[Any]:
    """A scalar as a list of one; a list, tuple, set, array or column of numpy, polars, pandas or Arrow as a list."""
    if isinstance(value, np.ndarray):
        return [_scalar(one) for one in value.ravel()]
    for method in ("to_list", "to_pylist"):  # polars and pandas, Arrow
        if hasattr(value, method):
            return [_scalar(one) for one in getattr(value, method)()]
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        return [_scalar(one) for one in value]
    return [_scalar(value)]


def span(feature: Numeric, field: str, value: Any, place: str) -> Span:
    """The number, or the moments, that a value stands for: a date without a time stands for all of its day (UTC).

    Raises:
        RequestError: it is none.
    """
    plain = _scalar(value)
    if feature.kind == "datetime" and isinstance(plain, str | date) and plain == plain:  # NaT of pandas is not
        return _moments(feature, field, plain, place)
    if isinstance(plain, int | float | Decimal):
        try:
            number = float(plain)
        except OverflowError:
            number = math.inf
        fault = number_complaint(number) if feature.kind == "datetime" and math.isfinite(number) else None
        if fault is not None:
            raise RequestError(f"{place}: field {field!r}: {fault}")
        if math.isfinite(number):
            return Span(number, number)
    raise wrong(place, field, feature, value, "a number" if feature.kind == "number" else "a datetime")


def category_rows(feature: Categorical | Tags, field: str, values: list[Any], place: str) -> NDArray[np.int32]:
    """The codes of categories, int32 (n,), -1 for one that the feature does not have.

    Raises:
        RequestError: one is of another type than the feature's.
    """
    try:
        return feature.categories.rows([_category(feature, value) for value in values])
    except IdTypeError:
        wanted = "str" if feature.categories.holds_text else "int"
        raise wrong(place, field, feature, values, f"{wanted} values") from None


def wrong(place: str, field: str, feature: Feature, value: Any, remedy: str) -> RequestError:
    """The error for a value that does not suit the kind of its field."""
    return RequestError(f"{place}: field {field!r} is of kind {feature.kind}, got {value!r}; pass {remedy}")


def _moments(feature: Numeric, field: str, value: str | date, place: str) -> Span:
    if isinstance(value, str):
        micros = _micros_of_text(value)
        if micros is None:
            raise RequestError(f"{place}: field {field!r} is of kind datetime: {complaint(value)}")
        start, is_day = micros / MICROS, DATE_ALONE.fullmatch(value) is not None
    else:
        is_day = not isinstance(value, datetime)
        moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
        start = _micros(moment) / MICROS
    return Span(start, math.nextafter(start + DAY_S, -math.inf) if is_day else start)


@lru_cache(1_000)
def _micros_of_text(text: str) -> int | None:
    """As `parse_times`; kept, since a service asks for the same few times again and again."""
    micros: int | None = parse_times(pl.Series([text]))[0]
    return micros


def _micros(moment: datetime) -> int:
    """Microseconds since the epoch; without a zone it is in UTC."""
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - EPOCH) // timedelta(microseconds=1)


def _scalar(value: Any) -> Any:
    """A value without numpy and pandas."""
    if isinstance(value, np.ndarray) and not value.ndim:
        value = value[()]
    if isinstance(value, np.datetime64):
        return value.astype("datetime64[us]").item()
    if isinstance(value, np.float16 | np.float32):
        return float(str(value))  # 9.99, as the caller sees it
    return value.item() if isinstance(value, np.generic) else value


def _category(feature: Categorical | Tags, value: Any) -> Any:
    """A category in the type of the feature's; what cannot be one stays as it is."""
    if isinstance(value, str):
        return normalize("NFC", value)
    if isinstance(value, float | Decimal) and not feature.categories.holds_text and value == value // 1:
        return int(value)
    return value

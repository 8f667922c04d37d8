"""Filter values in every form that a caller has them in: each finds what a person would expect, or is refused."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from multirecall import Dataset, Engine, EngineConfig, PathConfig, User
from multirecall.engine.where import read_where
from multirecall.errors import RequestError

INDIA = timezone(timedelta(hours=5, minutes=30))
ITEMS = pl.DataFrame(
    {
        "item_id": [0, 1, 2, 3, 4],
        "short": pl.Series([19.99, 0.1, 7.5, None, 3.3], dtype=pl.Float32),
        "exact": [19.99, 0.1, 7.5, None, 3.3],
        "money": pl.Series(["19.99", "0.10", "7.50", None, "3.30"]).cast(pl.Decimal(10, 2)),
        "arrival": [
            datetime(2025, 3, 9, 0, 0),
            datetime(2025, 3, 9, 23, 59, 59, 999_999),
            datetime(2025, 3, 10),
            None,
            datetime(2025, 3, 8, 18, 30),
        ],
        "town": ["Caf\u00e9", "Cafe\u0301", "Bar", None, "Zoë"],
        "size": [10, 20, 30, 40, 50],
    }
)
DATA = Dataset.from_frames(pl.DataFrame({"user_id": [1], "item_id": [0]}), ITEMS, kinds={"size": "categorical"})


def found(where: dict[str, Any]) -> list[int]:
    allowed, described = read_where(where, DATA.items)
    again, _ = read_where(json.loads(json.dumps(described.to_dict())), DATA.items)
    assert again.tolist() == allowed.tolist(), "described as JSON, it is the same filter"
    rows: list[int] = np.flatnonzero(allowed).tolist()
    return rows


@pytest.mark.parametrize("field", ["short", "exact", "money"])
@pytest.mark.parametrize(
    "value", [19.99, Decimal("19.99"), np.float64(19.99), np.float32(19.99), np.array(19.99), np.array([19.99])]
)
def test_a_price_is_found_in_whatever_precision(field: str, value: Any) -> None:
    assert found({field: value}) == [0]
    if not isinstance(value, np.ndarray):
        assert found({field: {"max": value}}) == [0, 1, 2, 4]
        assert found({field: {"min": value}}) == [0]


@pytest.mark.parametrize(
    "values",
    [
        [0.1, 7.5],
        (0.1, 7.5),
        {0.1, 7.5},
        np.array([0.1, 7.5]),
        np.array([0.1, 7.5], np.float32),
        pl.Series([0.1, 7.5]),
        pd.Series([0.1, 7.5]),
        pa.array([0.1, 7.5]),
        [Decimal("0.1"), np.float32(7.5)],
    ],
    ids=lambda values: type(values).__name__,
)
@pytest.mark.parametrize("field", ["short", "exact"])
def test_several_values_in_any_container(field: str, values: Any) -> None:
    assert found({field: values}) == [1, 2]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"max": date(2025, 3, 9)}, [0, 1, 4]),
        ({"max": "2025-03-09"}, [0, 1, 4]),
        ({"max": "2025-03-09T00:00:00"}, [0, 4]),
        ({"max": datetime(2025, 3, 9)}, [0, 4]),
        ({"min": "2025-03-09", "max": "2025-03-09"}, [0, 1]),
        ({"min": date(2025, 3, 10)}, [2]),
        ("2025-03-09", [0, 1]),
        (date(2025, 3, 9), [0, 1]),
        ([date(2025, 3, 10), "2025-03-08 18:30"], [2, 4]),
        (datetime(2025, 3, 9, 0, 0, tzinfo=INDIA), [4]),
        ("2025-03-09T00:00:00+05:30", [4]),
        ("2025-03-09 00:00:00+0530", [4]),
        (datetime(2025, 3, 8, 18, 30, tzinfo=UTC).timestamp(), [4]),
        (np.datetime64("2025-03-10"), [2]),
        (pd.Timestamp("2025-03-10"), [2]),
        (np.array(["2025-03-10", "2025-03-09T00:00"], "datetime64[ns]"), [0, 2]),
        (pd.Series(pd.to_datetime(["2025-03-10"])), [2]),
    ],
)
def test_dates_and_moments(where: Any, expected: list[int]) -> None:
    assert found({"arrival": where}) == expected


@pytest.mark.parametrize("value", ["Café", "Cafe\u0301", np.str_("Café"), pl.Series(["Cafe\u0301"])])
def test_composed_and_decomposed_letters_meet(value: Any) -> None:
    assert found({"town": value}) == [0, 1]


@pytest.mark.parametrize("value", [20, 20.0, np.int8(20), Decimal(20), np.array([20])])
def test_whole_numbers_are_categories(value: Any) -> None:
    assert found({"size": value}) == [1]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"size": 20.5}, "field 'size' is of kind categorical, got [20.5]; pass int values"),
        ({"short": np.nan}, "field 'short' is of kind number, got nan; pass a number"),
        ({"arrival": pd.NaT}, "field 'arrival' is of kind datetime, got NaT; pass a datetime"),
        ({"arrival": 20250309}, "field 'arrival': 20250309.0 may be a date or epoch seconds; write the date as ISO"),
        ({"arrival": 1741478400000}, "is too large for epoch seconds, it looks like milliseconds or a finer"),
        (
            {"arrival": {"max": "2025-02-30"}},
            "'2025-02-30' is not a date of the calendar; write it as 2026-01-31T12:00:00",
        ),
        ({"arrival": None}, "field 'arrival' is of kind datetime, got None; pass a datetime"),
        ({"town": 3}, "field 'town' is of kind categorical, got [3]; pass str values"),
    ],
)
def test_what_makes_no_sense_is_refused(where: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError) as fault:
        read_where(where, DATA.items)
    assert message in str(fault.value)


def test_terms_and_lists_of_ids_in_any_form() -> None:
    engine = Engine(EngineConfig(paths=(PathConfig(retriever="content"),))).fit(DATA)
    asked = User(terms={"town": np.str_("Cafe\u0301"), "short": Decimal("19.99")})
    assert engine.retrieve(asked, k=2).ids.tolist() == [0, 1]
    forms: tuple[Any, ...] = (np.array([0]), pl.Series([0]), pd.Series([0]), {0}, (np.int32(0),))
    for excluded in forms:
        assert engine.retrieve(asked, k=1, exclude=excluded).ids.tolist() == [1]

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from multirecall import Dataset
from multirecall.engine.where import allowed_by
from multirecall.errors import RequestError

ITEMS = pl.DataFrame(
    {
        "item_id": [0, 1, 2, 3],
        "colour": ["red", "blue", None, "red"],
        "tags": [["a", "b"], ["b"], [], None],
        "price": [1.0, 2.5, None, 4.0],
        "stock": [True, False, True, None],
        "since": [datetime(2026, 1, 1), datetime(2026, 2, 1), datetime(2026, 3, 1), None],
        "title": ["one", "two", None, "four"],
        "size": [1, 2, 3, 4],
    }
)
DATA = Dataset.from_frames(
    pl.DataFrame({"user_id": [1], "item_id": [0]}), ITEMS, kinds={"title": "text", "size": "categorical"}
)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({}, [0, 1, 2, 3]),
        ({"colour": "red"}, [0, 3]),
        ({"colour": ["red", "blue", "green"]}, [0, 1, 3]),
        ({"colour": []}, []),
        ({"tags": "b"}, [0, 1]),
        ({"tags": ["a", "z"]}, [0]),
        ({"price": {"max": 2.5}}, [0, 1]),
        ({"price": {"min": 2.5}}, [1, 3]),
        ({"price": {"min": 1, "max": 2}}, [0]),
        ({"price": [1, 4]}, [0, 3]),
        ({"stock": True}, [0, 2]),
        ({"since": {"min": "2026-01-15"}}, [1, 2]),
        ({"since": {"max": date(2026, 2, 1)}}, [0, 1]),
        ({"since": {"min": datetime(2026, 1, 1), "max": 1767225600}}, [0]),
        ({"title": ["one", "four", ""]}, [0, 3]),
        ({"size": [2, 3]}, [1, 2]),
        ({"colour": "red", "price": {"min": 2}}, [3]),
    ],
)
def test_predicates(where: dict[str, Any], expected: list[int]) -> None:
    assert np.flatnonzero(allowed_by(where, DATA.items)).tolist() == expected


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"color": "red"}, "where: no item feature is named 'color'; did you mean 'colour'?"),
        ({"colour": 3}, "where: field 'colour' is of kind categorical, got [3]; pass str values"),
        ({"size": "2"}, "where: field 'size' is of kind categorical, got ['2']; pass int values"),
        ({"colour": {"min": 1}}, "where: field 'colour' is of kind categorical, got {'min': 1}; pass a value"),
        ({"price": "cheap"}, "where: field 'price' is of kind number, got 'cheap'; pass a number"),
        ({"price": float("nan")}, "where: field 'price' is of kind number, got nan; pass a number"),
        ({"price": {}}, "'price': a range has the keys 'min' and 'max', got []"),
        ({"price": {"mix": 1}}, "'price': a range has the keys 'min' and 'max', got ['mix']"),
        ({"price": {"min": 3, "max": 1}}, "'price': min 3 is above max 1; swap them"),
        (
            {"since": {"min": "soon"}},
            "where: field 'since' is of kind datetime: 'soon' is no time; write epoch seconds or ISO 8601",
        ),
        ({"title": 3}, "where: field 'title' is of kind text, got 3; pass a str"),
        ("price < 3", "where: got 'price < 3'; pass a mapping from item field to values"),
    ],
)
def test_faults(where: Any, message: str) -> None:
    with pytest.raises(RequestError) as fault:
        allowed_by(where, DATA.items)
    assert message in str(fault.value)

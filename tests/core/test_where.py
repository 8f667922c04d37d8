from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multirecall import Dataset
from multirecall.data.apply import apply_change
from multirecall.data.read_change import read_change
from multirecall.engine import where as where_module
from multirecall.engine.where import read_where
from multirecall.errors import RequestError
from multirecall.query import Condition, Where

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
    allowed, described = read_where(where, DATA.items)
    assert np.flatnonzero(allowed).tolist() == expected
    again, same = read_where(json.loads(json.dumps(described.to_dict())), DATA.items)
    assert again.tolist() == allowed.tolist(), "described as JSON, it is the same filter"
    assert (same, hash(same)) == (described, hash(described))


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
            "where: field 'since' is of kind datetime: 'soon' is not a time; write epoch seconds or ISO 8601",
        ),
        ({"title": 3}, "where: field 'title' is of kind text, got 3; pass a str"),
        ("price < 3", "where: got 'price < 3'; pass a mapping from item field to values"),
    ],
)
def test_faults(where: Any, message: str) -> None:
    with pytest.raises(RequestError) as fault:
        read_where(where, DATA.items)
    assert message in str(fault.value)


def test_what_a_path_elsewhere_is_told() -> None:
    where = {
        "colour": np.array(["red", "gree\u0301n"]),
        "tags": ("b",),
        "size": 2.0,
        "price": {"max": Decimal("2.5")},
        "stock": True,
        "since": [date(2026, 2, 1), datetime(2026, 3, 1, 6, tzinfo=UTC), "2026-01-01"],
        "title": iter(["one"]),
    }
    _, told = read_where(where, DATA.items)
    assert told == Where(
        (
            Condition("colour", "categorical", ("red", "gre\u00e9n")),
            Condition("tags", "list", ("b",)),
            Condition("size", "categorical", (2,)),
            Condition("price", "number", None, None, 2.5),
            Condition("stock", "number", (True,)),
            Condition("since", "datetime", ("2026-02-01", "2026-03-01T06:00:00+00:00", "2026-01-01")),
            Condition("title", "text", ("one",)),
        )
    )
    assert told.to_dict()["price"] == {"max": 2.5}
    assert Where().to_dict() == {}


KINDS_OF_WHERE = st.one_of(
    st.fixed_dictionaries({"title": st.lists(st.sampled_from(["one", "two", "twø", "", "nine", "ten"]), max_size=4)}),
    st.fixed_dictionaries({"colour": st.lists(st.sampled_from(["red", "blue", "no such"]), max_size=3)}),
    st.fixed_dictionaries({"tags": st.lists(st.sampled_from(["a", "b", "zz"]), max_size=3)}),
    st.fixed_dictionaries({"price": st.lists(st.sampled_from([1.0, 2.5, 7.0]), max_size=3)}),
    st.fixed_dictionaries({"price": st.fixed_dictionaries({"min": st.sampled_from([0.5, 2.5])})}),
)


@settings(max_examples=60)
@given(asked=st.lists(KINDS_OF_WHERE, min_size=1, max_size=6), seed=st.integers(0, 2**16))
def test_kept_bitmaps_equal_a_plain_loop_while_items_change(asked: list[dict[str, Any]], seed: int) -> None:
    """Asked twice, then once more after items have changed and others have joined."""
    rng = np.random.default_rng(seed)
    data = DATA
    for where in [*asked, *asked]:
        for _ in range(2):
            allowed, _ = read_where(where, data.items)
            assert allowed.tolist() == [meets(data.items.values(row), where) for row in range(data.n_items)]
        item = int(rng.integers(0, 7))
        change = {"item_id": item, "title": str(rng.choice(["one", "twø", "ten"])), "price": 2.5, "tags": ["b", "zz"]}
        data = apply_change(data, read_change(data, "add_items", pl.DataFrame([change]))).data


def meets(values: dict[str, Any], where: dict[str, Any]) -> bool:
    for field, wanted in where.items():
        value = values.get(field)
        if value is None:
            return False
        if isinstance(wanted, dict):
            if value < wanted["min"]:
                return False
        elif not {*wanted} & ({*value} if isinstance(value, list) else {value}):
            return False
    return True


def test_bitmaps_are_bounded_and_few_are_kept_of_a_huge_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(where_module, "MOST_BYTES", 40)
    items = replace(DATA.items)
    for number in range(50):
        read_where({"price": {"min": number}}, items)
        assert sum(bitmap.nbytes for bitmap in items.bitmaps.values()) <= 40
    assert len(items.bitmaps) == 10
    monkeypatch.setattr(where_module, "MOST_BYTES", 0)
    read_where({"price": 3}, items)
    assert len(items.bitmaps) == where_module.LEAST_BITMAPS


def test_values_that_are_equal_but_of_another_type_are_still_refused() -> None:
    assert read_where({"size": 1}, DATA.items)[0].any()
    with pytest.raises(RequestError, match="is of kind categorical"):
        read_where({"size": "1"}, DATA.items)

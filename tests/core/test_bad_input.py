"""Each fault of a log or table is refused with file, column, row and remedy, and no other error escapes."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from multirecall.data import Dataset
from multirecall.errors import ConfigError, DataError, MultirecallError

GOOD: dict[str, list[Any]] = {"user_id": [1, 2, 3], "item_id": [7, 8, 7], "timestamp": [1_700_000_000] * 3}


def log(**changed: Any) -> pl.DataFrame:
    return pl.DataFrame({**GOOD, **changed}, strict=False)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (
            log().drop("item_id"),
            "column 'item_id' is missing; known: timestamp, user_id. Map your column with columns=",
        ),
        (log().clear(), "the interaction log is empty; it needs at least one row"),
        (log(user_id=[1, None, 3]), "column 'user_id', row 1 (the first is 0): the id is null; fill it or drop"),
        (log(item_id=[7.5, 8.0, 7.0]), "column 'item_id' has type Float64; ids are integers or text"),
        (log(timestamp=[1, 2, None]), "column 'timestamp', row 2 (the first is 0): the timestamp is null"),
        (log(timestamp=[1.0, math.nan, 2.0]), "row 1 (the first is 0): the timestamp is nan; fill it or drop"),
        (log(timestamp=[1.0, 2.0, math.inf]), "row 2 (the first is 0): the timestamp is inf; fill it or drop"),
        (
            log(timestamp=["2026-01-31", "soon", "x"]),
            "row 1 (the first is 0): 'soon' is not a time; write epoch",
        ),
        (
            log(timestamp=[1, 1_700_000_000_000, 3]),
            "row 1 (the first is 0): 1700000000000 is too large for epoch",
        ),
        (
            log(timestamp=[[1], [2], [3]]),
            "column 'timestamp' has type List(Int64), which holds no numbers; use datetimes",
        ),
        (log(weight=[1.0, math.nan, 1.0]), "column 'weight', row 1 (the first is 0): the weight is nan; it must be"),
        (log(weight=[1.0, 1.0, -2.0]), "row 2 (the first is 0): the weight is -2.0; it must be a number from 0"),
        (log(weight=["1", "many", "1"]), "row 1 (the first is 0): the weight is 'many'; it must be a number from 0"),
        (log(position=[0.0, 0.5, 1.0]), "column 'position', row 1 (the first is 0): 0.5 is not a whole number; positi"),
        (
            log(position=[0.0, 1.0, 1e300]),
            "column 'position', row 2 (the first is 0): 1e+300 is not a whole number; posit",
        ),
        (log(weight=[1.0, 1e300, 1.0]), "row 1 (the first is 0): the weight is 1e+300; it must be a number from 0 to"),
        (log(weight=[[1], [2], [3]]), "column 'weight' has type List(Int64), which holds no numbers; it must be"),
        (log(timestamp=["20240131"] * 3), "row 0 (the first is 0): '20240131' may be a date or epoch seconds; write"),
        (log(timestamp=["01/02/2024"] * 3), "row 0 (the first is 0): '01/02/2024' is not a time; write epoch"),
        (log(item_id=["a", "b" * 300, "c"]), "column 'item_id', row 1 (the first is 0): the id is longer than 256"),
        (log(item_id=["a", "b\0", "c"]), "column 'item_id', row 1 (the first is 0): the id is longer than 256"),
        (log(position=[0, None, 1]), "column 'position', row 1 (the first is 0): None is not a whole number"),
    ],
)
def test_faulty_log(frame: pl.DataFrame, message: str) -> None:
    with pytest.raises(DataError) as fault:
        Dataset.from_frames(frame)
    assert message in str(fault.value)
    assert str(fault.value).startswith("interactions")


@pytest.mark.parametrize(
    ("items", "kinds", "message"),
    [
        (
            {"item_id": ["7", "8"]},
            {},
            "interactions: column 'item_id' is Int64, but in items it is text; cast one of them, or pass ids='text'",
        ),
        (
            {"item_id": [7, 8, 7]},
            {},
            "column 'item_id', row 2 (the first is 0): 7 is in the table twice; keep",
        ),
        ({"item_id": [7, None]}, {}, "column 'item_id', row 1 (the first is 0): the id is null"),
        ({"id": [7]}, {}, "column 'item_id' is missing; known: id. Map"),
        (
            {"item_id": [7], "price": ["x"]},
            {"price": "number"},
            "column 'price', row 0 (the first is 0): 'x' is no",
        ),
        ({"item_id": [7], "price": [math.inf]}, {}, "column 'price', row 0 (the first is 0): the number is inf"),
        (
            {"item_id": [7], "day": ["x"]},
            {"day": "datetime"},
            "column 'day', row 0 (the first is 0): 'x' is not a time",
        ),
        (
            {"item_id": [7, 8], "day": [1_700_000_000, 1_700_000_000_000]},
            {"day": "datetime"},
            "column 'day', row 1 (the first is 0): 1700000000000 is too large for epoch",
        ),
        (
            {"item_id": [7], "tags": [3]},
            {"tags": "list"},
            "column 'tags' has type Int64, not a list type; correct the cell, or",
        ),
        (
            {"item_id": [7, 8], "shelf": ["a", "b" * 257]},
            {"shelf": "categorical"},
            f"column 'shelf', row 1 (the first is 0), item_id 8: the category '{40 * 'b'}'… has 257 characters or a "
            "NUL character; shorten it to 256 characters, or read the field as text: kinds={'shelf': 'text'}",
        ),
        (
            {"item_id": [7, 8, 9], "tags": [["ok"], ["fine", "a\0b"], ["ok"]]},
            {},
            "column 'tags', row 1 (the first is 0), item_id 8: the category 'a\\x00b'… has 3 characters or a NUL",
        ),
        ({"item_id": [7], "raw": [b"x"]}, {}, "column 'raw' has type Binary; use text or integer categories"),
        ({"item_id": [7], "price": [1]}, {"prize": "number"}, "no table has a column 'prize'; did you mean 'price'?"),
    ],
)
def test_faulty_item_table(items: dict[str, list[Any]], kinds: Any, message: str) -> None:
    with pytest.raises(DataError) as fault:
        Dataset.from_frames(log(), pl.DataFrame(items, strict=False), kinds=kinds)
    assert message in str(fault.value)


def test_file_and_row_within_the_file_are_named(tmp_path: Path) -> None:
    log().write_parquet(tmp_path / "log-1.parquet")
    log(weight=[1.0, 1.0, 1.0]).drop("weight").with_columns(user_id=pl.Series([1, 2, None])).write_parquet(
        tmp_path / "log-2.parquet"
    )
    with pytest.raises(DataError) as fault:
        Dataset.load(tmp_path / "log-*.parquet")
    assert f"{tmp_path / 'log-2.parquet'}: column 'user_id', row 2 (the first is 0)" in str(fault.value)


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        (np.array([1, 2, 3j]), "Unsupported numpy type"),
        (pd.arrays.SparseArray([0, 0, 1]), "cannot be read"),
        ([1, "x", object()], "cannot be read"),
    ],
    ids=["complex", "sparse", "objects"],
)
def test_a_pandas_column_of_a_type_that_is_not_taken(values: Any, fault: str) -> None:
    frame = pd.DataFrame(GOOD).assign(odd=values)
    with pytest.raises(DataError, match=r"^interactions: column 'odd' cannot be read") as refused:
        Dataset.from_frames(frame)
    assert fault in str(refused.value)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file; check the path"):
        Dataset.load(tmp_path / "nothing.parquet")
    with pytest.raises(DataError, match="no file matches"):
        Dataset.load(tmp_path / "nothing-*.parquet")


def test_files_with_different_columns(tmp_path: Path) -> None:
    log().write_csv(tmp_path / "a.csv")
    log().drop("timestamp").write_csv(tmp_path / "b.csv")
    with pytest.raises(DataError, match="give all files the same columns"):
        Dataset.load(tmp_path / "*.csv")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"columns": {"timestmp": "date"}}, ConfigError, "columns.timestmp"),
        ({"columns": {"timestamp": "dat"}}, DataError, "columns maps 'timestamp' to 'dat', which is missing; known"),
        ({"kinds": {"price": "colour"}}, ConfigError, "Dataset: kinds.price: input should be 'categorical', 'list'"),
        ({"event_weights": {"buy": -1}}, ConfigError, "Dataset: event_weights.buy: input should be greater than or"),
        ({"event_weights": {"buy": 2.0}}, DataError, "event_weights are given, but there is no column 'event'"),
        ({"half_life_days": 0}, ConfigError, "Dataset: half_life_days: input should be greater than 0, got 0"),
    ],
)
def test_faulty_options(options: dict[str, Any], error: type[MultirecallError], message: str) -> None:
    with pytest.raises(error) as fault:
        Dataset.from_frames(log(), **options)
    assert message in str(fault.value)


def test_decay_needs_times() -> None:
    with pytest.raises(DataError, match="half_life_days needs a column 'timestamp'"):
        Dataset.from_frames(log().drop("timestamp"), half_life_days=30)


def test_what_is_no_frame() -> None:
    with pytest.raises(DataError, match="got dict; pass a polars, pandas or pyarrow frame"):
        Dataset.from_frames({"user_id": [1]})


def test_options_and_config_together() -> None:
    config = Dataset.from_frames(log()).config
    with pytest.raises(ConfigError, match="half_life_days and config are both given"):
        Dataset.from_frames(log(), half_life_days=3, config=config)


def test_moments_before_1970_are_fine() -> None:
    data = Dataset.from_frames(log(timestamp=[datetime(1969, 1, 1)] * 3))
    assert data.interactions.now == -365 * 86_400

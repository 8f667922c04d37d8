from __future__ import annotations

import logging
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from multirecall.data import Dataset
from multirecall.testing import small_shop

LOG = pl.DataFrame(
    {
        "user_id": [2, 1, 2, 1],
        "item_id": ["b", "a", "c", "d"],
        "timestamp": [30, 20, 10, 20],
        "position": [0, 1, 0, 0],
    }
)


def events(data: Dataset) -> list[tuple[Any, Any]]:
    log = data.interactions
    return [*zip(data.users.ids.ids(log.users).tolist(), data.items.ids.ids(log.items).tolist(), strict=True)]


def test_sorted_by_user_time_position() -> None:
    assert events(Dataset.from_frames(LOG)) == [(1, "d"), (1, "a"), (2, "c"), (2, "b")]


def test_without_time_and_position_input_order_stands() -> None:
    data = Dataset.from_frames(LOG.drop("timestamp", "position"))
    assert events(data) == [(1, "a"), (1, "d"), (2, "b"), (2, "c")]
    assert not data.interactions.ordered
    assert data.interactions.times is None
    assert data.interactions.now is None


def test_order_within_a_second_is_kept() -> None:
    times = [datetime(2026, 1, 1, 0, 0, 0, 900), datetime(2026, 1, 1, 0, 0, 0, 100)]
    log = pl.DataFrame({"user_id": [1, 1], "item_id": [5, 6], "timestamp": times})
    assert events(Dataset.from_frames(log)) == [(1, 6), (1, 5)]


SAME_MOMENT = [
    [1_767_225_600],
    [1_767_225_600.0],
    ["1767225600"],
    ["2026-01-01"],
    ["2026-01-01 00:00"],
    ["2026-01-01T00:00:00"],
    ["2026-01-01T01:00:00+01:00"],
    ["2026-01-01T00:00:00.000Z"],
    [date(2026, 1, 1)],
    [datetime(2026, 1, 1)],
    [datetime(2026, 1, 1, tzinfo=UTC)],
]


@pytest.mark.parametrize("times", SAME_MOMENT, ids=str)
def test_spellings_of_a_moment(times: list[Any]) -> None:
    data = Dataset.from_frames(pl.DataFrame({"user_id": [1], "item_id": [1], "timestamp": times}))
    assert data.interactions.times is not None
    assert data.interactions.times.tolist() == [1_767_225_600]


@pytest.mark.parametrize("convert", [pl.DataFrame.to_pandas, pl.DataFrame.to_arrow, pl.DataFrame.lazy])
def test_frames_of_others(convert: Any) -> None:
    data = Dataset.from_frames(convert(LOG))
    assert events(data) == events(Dataset.from_frames(LOG))


def test_pandas_and_arrow_are_what_they_claim() -> None:
    assert isinstance(LOG.to_pandas(), pd.DataFrame)
    assert isinstance(LOG.to_arrow(), pa.Table)


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_files_and_globs(tmp_path: Path, form: str) -> None:
    for number, part in enumerate([LOG[:1], LOG[1:3], LOG[3:]]):
        getattr(part, f"write_{form}")(tmp_path / f"log-{number}.{form}")
    expected = events(Dataset.from_frames(LOG))
    assert events(Dataset.load(tmp_path / f"log-*.{form}")) == expected
    assert events(Dataset.load([tmp_path / f"log-{number}.{form}" for number in range(3)])) == expected


def test_csv_keeps_ids_that_only_look_like_numbers(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user_id,item_id\n007,1\n8,2\n")
    data = Dataset.load(tmp_path / "log.csv")
    assert data.users.ids.ids().tolist() == ["007", "8"]
    assert data.items.ids.ids().tolist() == [1, 2]


@pytest.mark.parametrize(("given", "kept"), [(pl.Int8, "i1"), (pl.Int32, "i4"), (pl.UInt64, "u8"), (pl.String, "U1")])
def test_ids_keep_the_callers_type(given: Any, kept: str) -> None:
    data = Dataset.from_frames(pl.DataFrame({"user_id": [3, 1], "item_id": [1, 2]}).cast(given))
    assert data.users.ids.dtype == data.items.ids.dtype == np.dtype(kept)


def test_integer_widths_may_differ_between_tables() -> None:
    items = pl.DataFrame({"item_id": pl.Series([1, 2**40], dtype=pl.Int64), "kind": ["x", "y"]})
    log = pl.DataFrame({"user_id": [1], "item_id": pl.Series([1], dtype=pl.UInt8)})
    assert Dataset.from_frames(log, items).items.ids.ids().tolist() == [1, 2**40]


def test_columns_are_mapped_in_every_table() -> None:
    log = LOG.rename({"user_id": "customer", "timestamp": "day"})
    users = pl.DataFrame({"customer": [1, 2, 9], "age": [3, None, 5]})
    data = Dataset.from_frames(log, users=users, columns={"user_id": "customer", "timestamp": "day"})
    assert events(data) == events(Dataset.from_frames(LOG))
    assert data.users.values(0) == {"age": 3.0}
    assert data.users.values(1) == {}
    assert data.n_users == 3


def test_aliases() -> None:
    log = LOG.rename({"timestamp": "datetime"}).with_columns(rating=pl.Series([1, 2, 3, 4]))
    data = Dataset.from_frames(log)
    assert data.interactions.times is not None
    assert data.interactions.weights.tolist() == [4, 2, 3, 1]


def test_event_weights_multiply() -> None:
    log = LOG.with_columns(event=pl.Series(["buy", "view", None, "view"]), weight=pl.Series([2.0, 1.0, 1.0, 3.0]))
    data = Dataset.from_frames(log, event_weights={"buy": 5.0, "view": 0.5})
    assert dict(zip(events(data), data.interactions.weights.tolist(), strict=True)) == {
        (2, "b"): 10.0,
        (1, "a"): 0.5,
        (2, "c"): 1.0,
        (1, "d"): 1.5,
    }


def test_decay_halves() -> None:
    log = LOG.with_columns(pl.col("timestamp") * 86_400)
    data = Dataset.from_frames(log, half_life_days=10)
    assert data.interactions.weights.tolist() == [0.5, 0.5, 0.25, 1.0]


JANUARY = 1_767_225_600.0
FEATURES = pl.DataFrame(
    {
        "item_id": ["a", "b", "c", "z"],
        "colour": ["red", None, "blue", "red"],
        "tags": [["x", "y"], [], None, ["y"]],
        "joined": ["x|y", "", None, "y"],
        "price": [1, None, 3, 4],
        "stock": [True, False, None, True],
        "since": [date(2026, 1, 1), None, date(2026, 1, 2), None],
    }
)


def test_feature_kinds_and_values() -> None:
    data = Dataset.from_frames(LOG, FEATURES)
    assert {field: feature.kind for field, feature in data.items.features.items()} == {
        "colour": "categorical",
        "tags": "list",
        "joined": "list",
        "price": "number",
        "stock": "number",
        "since": "datetime",
    }
    a, b, c, d, z = (data.items.values(row) for row in range(5))
    assert a == {
        "colour": "red",
        "tags": ["x", "y"],
        "joined": ["x", "y"],
        "price": 1.0,
        "stock": 1.0,
        "since": 1767225600.0,
    }
    assert b == {"stock": 0.0}
    assert c == {"colour": "blue", "price": 3.0, "since": JANUARY + 86_400}
    assert d == {}
    assert z == {"colour": "red", "tags": ["y"], "joined": ["y"], "price": 4.0, "stock": 1.0}


def test_free_text_is_told_from_categories() -> None:
    titles = [f"title number {i}" for i in range(30)]
    labels = ["one of a few"] * 15 + ["another label here"] * 15
    items = pl.DataFrame({"item_id": [f"i{i}" for i in range(30)], "title": titles, "label": labels})
    features = Dataset.from_frames(LOG, items).items.features
    assert (features["title"].kind, features["label"].kind) == ("text", "categorical")
    forced = Dataset.from_frames(LOG, items, kinds={"label": "text", "title": "categorical"}).items.features
    assert (forced["title"].kind, forced["label"].kind) == ("categorical", "text")


def test_csv_cells_are_typed_by_their_content(tmp_path: Path) -> None:
    FEATURES.drop("tags").write_csv(tmp_path / "items.csv")
    LOG.write_csv(tmp_path / "log.csv")
    features = Dataset.load(tmp_path / "log.csv", tmp_path / "items.csv").items.features
    assert [features[field].kind for field in ("colour", "joined", "price", "since")] == [
        "categorical",
        "list",
        "number",
        "datetime",
    ]


def test_what_is_odd_but_allowed_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    log = LOG.with_columns(shop=pl.lit("x"), till=pl.lit(3))
    with caplog.at_level(logging.WARNING, "multirecall.data"):
        data = Dataset.from_frames(log, FEATURES)
    assert data.notes == (
        "interactions: columns not used: shop, till",
        "items: 1 of the log's 4 items are not in the item table",
        "items: kinds: colour is categorical, tags is list, joined is list, price is number, stock is number, "
        "since is datetime",
    )
    assert caplog.messages == [*data.notes]


def test_restricted_forgets_the_future() -> None:
    data = Dataset.from_frames(LOG, FEATURES)
    times = data.interactions.times
    assert times is not None
    past = data.filter_events(times < 30)
    assert events(past) == [(1, "d"), (1, "a"), (2, "c")]
    assert past.items.ids.ids().tolist() == ["a", "b", "c", "d", "z"], "b is in the item table"
    past = data.filter_events(np.array([False, True, True, True]))
    assert past.items.ids.ids().tolist() == ["a", "b", "c", "z"], "d was only in the log"
    assert past.items.values(3) == data.items.values(4)
    assert past.interactions.now == 30


@pytest.mark.parametrize("ids", ["int", "str"])
@pytest.mark.parametrize("timestamps", [True, False])
def test_saved_and_opened_is_the_same(tmp_path: Path, ids: str, timestamps: bool) -> None:
    data = small_shop(ids, timestamps)
    data.save(tmp_path)
    again = Dataset.open(tmp_path)
    assert events(again) == events(data)
    assert again.config == data.config
    assert again.notes == data.notes
    assert again.interactions.ordered == data.interactions.ordered
    for row in range(data.n_items):
        assert again.items.values(row) == data.items.values(row)
    for row in range(data.n_users):
        assert again.users.values(row) == data.users.values(row)
    assert (again.items.listed == data.items.listed).all()


def test_tags_are_a_set_of_stripped_words() -> None:
    items = pl.DataFrame({"item_id": ["a", "b", "c"], "tags": ["x| x|x ", "|", "y||x"]})
    values = [Dataset.from_frames(LOG, items).items.values(row) for row in range(3)]
    assert values == [{"tags": ["x"]}, {}, {"tags": ["y", "x"]}]


def test_columns_of_tables_are_theirs() -> None:
    """Aliases and the mapping of log columns do not touch features of the same name."""
    log = LOG.rename({"timestamp": "date"})
    items = pl.DataFrame({"item_id": ["a"], "rating": [4.5], "datetime": ["2026-01-01"], "date": [7]})
    data = Dataset.from_frames(log, items, columns={"timestamp": "date"})
    assert [*data.items.features] == ["rating", "datetime", "date"]


def test_columns_may_be_swapped() -> None:
    swapped = LOG.rename({"user_id": "item_id", "item_id": "user_id"})
    data = Dataset.from_frames(swapped, columns={"user_id": "item_id", "item_id": "user_id"})
    assert events(data) == events(Dataset.from_frames(LOG))


def test_table_without_rows() -> None:
    users = pl.DataFrame(schema={"user_id": pl.Int64, "age": pl.Int64})
    data = Dataset.from_frames(LOG, FEATURES.clear(), users)
    assert (data.n_items, data.n_users) == (4, 2)
    assert data.items.values(0) == {}


def test_file_name_with_brackets(tmp_path: Path) -> None:
    LOG.write_csv(tmp_path / "log[1].csv")
    assert len(Dataset.load(tmp_path / "log[1].csv").interactions) == 4

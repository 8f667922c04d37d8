"""Files of many forms: separators, compression, encodings, parts; each is read, or refused with a remedy."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from multirecall import Dataset, EngineConfig
from multirecall.data.read_change import read_change
from multirecall.errors import DataError

ROWS = [("7", "a", "2024-05-01 10:00:00+02"), ("8", "b", "2024-05-01T08:30:00Z"), ("7", "b", "2024-05-02")]
HEADER = ("user_id", "item_id", "timestamp")
SECONDS = [1714550400, 1714608000, 1714552200]
"""By user, then time: 08:00 and midnight of the day after, of user 7; 08:30 of user 8; all in UTC."""


def text(separator: str, *, bom: bool = False, end: str = "\n") -> bytes:
    lines = [separator.join(row) for row in (HEADER, *ROWS)]
    return (("\ufeff" if bom else "") + end.join([*lines, ""])).encode()


def check(data: Dataset) -> None:
    log = data.interactions
    assert log.times is not None
    assert data.users.ids.ids(log.users).tolist() == [7, 7, 8]
    assert data.items.ids.ids(log.items).tolist() == ["a", "b", "b"]
    assert log.times.tolist() == SECONDS


@pytest.mark.parametrize(
    ("name", "content", "note"),
    [
        ("log.csv", text(","), None),
        ("log.csv", text(";"), "columns are separated by semicolons"),
        ("log.csv", text("\t"), "columns are separated by tabs"),
        ("log.csv", text("|"), "columns are separated by bars"),
        ("log.tsv", text("\t"), None),
        ("log.tsv", text(","), "columns are separated by commas"),
        ("LOG.CSV", text(",", bom=True), None),
        ("log.csv", text(",", end="\r\n"), None),
        ("log.csv.gz", gzip.compress(text(","), mtime=0), None),
        ("log.tsv.gz", gzip.compress(text("\t", bom=True), mtime=0), None),
    ],
)
def test_read(tmp_path: Path, name: str, content: bytes, note: str | None) -> None:
    (tmp_path / name).write_bytes(content)
    data = Dataset.load(tmp_path / name)
    check(data)
    assert any(note in one for one in data.notes) if note else not any("separated" in one for one in data.notes)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.csv", "user_id,item_id\n1,Käse\n".encode("latin-1"), "byte 0xe4 in line 2 is not UTF-8, perhaps Latin-1"),
        (
            "log.csv.gz",
            gzip.compress("user_id,item_id\n1,ß\n".encode("latin-1"), mtime=0),
            "byte 0xdf in line 2 is not UTF-8",
        ),
        ("log.csv", text(",").decode().encode("utf-16"), "is UTF-16 or not text; save it as UTF-8"),
        ("log.csv.gz", text(","), "cannot be read as csv"),
        ("log.csv", text(",").replace(b"item_id", b"user_id"), "two columns are named 'user_id'; rename one"),
        ("log.csv", b"user_id,item_id,timestamp\n1,7,yesterday\n", "row 0 (the first is 0): 'yesterday' is not a time"),
        ("log.csv", b"user_id,item_id,timestamp\n1,,3\n", "column 'item_id', row 0 (the first is 0): the id is null"),
        ("log.csv", b"", "cannot be read as csv"),
        ("log.parquet", b"not parquet at all", "cannot be read as parquet"),
        ("log.json", b"{}", "unknown file type; use .csv, .csv.gz, .parquet, .pq, .tsv"),
        ("log.xlsx", b"PK", "unknown file type; use .csv, .csv.gz, .parquet, .pq, .tsv, .tsv.gz"),
    ],
)
def test_named_with_the_remedy(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as fault:
        Dataset.load(tmp_path / name)
    assert message in str(fault.value)
    assert name in str(fault.value)


def test_parts_are_joined_by_name(tmp_path: Path) -> None:
    frame = pl.DataFrame(ROWS, HEADER, orient="row").with_columns(pl.col("user_id").cast(pl.Int64))
    frame[:1].write_parquet(tmp_path / "part-0.parquet")
    frame[1:].select(reversed(HEADER)).write_parquet(tmp_path / "part-1.parquet")
    check(Dataset.load(tmp_path / "part-*.parquet"))


def test_parts_whose_ids_differ_in_type_are_said(tmp_path: Path) -> None:
    pl.DataFrame({"user_id": [1], "item_id": [5]}).write_parquet(tmp_path / "p0.parquet")
    pl.DataFrame({"user_id": [1], "item_id": ["x"]}).write_parquet(tmp_path / "p1.parquet")
    data = Dataset.load(tmp_path / "p*.parquet")
    assert data.items.ids.ids().tolist() == ["5", "x"]
    assert any("'item_id' is Int64 in" in note and "item ids are text" in note for note in data.notes)


def test_a_byte_order_mark_in_a_config(tmp_path: Path) -> None:
    (tmp_path / "engine.toml").write_bytes("\ufeffk = 9\n[data]\nids = 'text'\n".encode())
    config = EngineConfig.from_toml(tmp_path / "engine.toml")
    assert (config.k, config.data.ids) == (9, "text")


def test_a_rating_is_said_to_be_a_weight_and_errors_name_the_callers_column() -> None:
    log: dict[str, Any] = {"user_id": [1, 2], "item_id": [3, 4], "rating": [4.0, 2.5]}
    assert any("column 'rating' is read as weight" in note for note in Dataset.from_frames(pl.DataFrame(log)).notes)
    with pytest.raises(DataError, match=r"column 'rating', row 1 \(the first is 0\): the weight is -0\.5"):
        Dataset.from_frames(pl.DataFrame({**log, "rating": [4.0, -0.5]}))
    stars = pl.DataFrame({"user_id": [1], "item_id": [3], "stars": [-1.0]})
    with pytest.raises(DataError, match=r"column 'stars', row 0 \(the first is 0\): the weight is -1\.0"):
        Dataset.from_frames(stars, columns={"weight": "stars"})


def test_what_pandas_saves(tmp_path: Path) -> None:
    """The index is not a feature, arrays in cells are lists, and whole floats are ids only if the caller says so."""
    items = pd.DataFrame(
        {"item_id": [3, 4, 5], "price": [1.5, None, 2.0], "tags": [np.array(["x"]), np.array([]), np.array(["x", "y"])]}
    )
    log = pd.DataFrame({"user_id": [1, 1], "item_id": [3, 4]})
    data = Dataset.from_frames(log, items)
    assert {one.field: one.kind for one in data.kinds} == {"price": "number", "tags": "list"}
    assert [data.items.values(row).get("tags") for row in range(3)] == [["x"], None, ["x", "y"]]
    log.to_csv(tmp_path / "log.csv")
    items.drop(columns="tags").to_csv(tmp_path / "items.csv")
    data = Dataset.load(tmp_path / "log.csv", tmp_path / "items.csv")
    assert {one.field: one.kind for one in data.kinds} == {"": "ignore", "price": "number"}
    assert [*data.items.features] == ["price"]
    with pytest.raises(
        DataError, match=r"'item_id' has type Float64; ids are integers or text, cast the column, or pass"
    ):
        Dataset.from_frames(pd.DataFrame({"user_id": [1, 2], "item_id": [3.0, None]}).dropna())


@pytest.mark.parametrize(
    "frame",
    [
        pl.DataFrame({"user_id": [1], "item_id": pl.Series([2**90], dtype=pl.Int128)}),
        pd.DataFrame({"user_id": [1], "item_id": [2**90]}),
    ],
)
def test_ids_beyond_64_bits_get_our_error(frame: Any) -> None:
    with pytest.raises(DataError, match="item_id"):
        Dataset.from_frames(frame)
    shop = Dataset.from_frames(pl.DataFrame({"user_id": [1], "item_id": [2]}))
    with pytest.raises(DataError, match="64 bits"):
        read_change(shop, "add_interactions", [{"user_id": 1, "item_id": 2**90}])


def test_columns_that_are_nearly_of_a_kind_get_a_note(tmp_path: Path) -> None:
    rows = [f"{row},{row * 1.5 if row != 17 else 'ask'},{'N/A' if row == 3 else row}" for row in range(30)]
    (tmp_path / "items.csv").write_text("\n".join(["item_id,price,stock", *rows]))
    data = Dataset.load(_log(tmp_path), tmp_path / "items.csv")
    kinds = {one.field: (one.kind, one.reason) for one in data.kinds}
    assert kinds["price"][0] == "categorical"
    assert any("column 'price' is categorical: nearly all of its cells are numbers, but 'ask'" in n for n in data.notes)
    assert kinds["stock"] == ("number", "29 of 29 cells are numbers; 'N/A' stands for a missing value")
    assert "stock" not in data.items.values(3)
    (tmp_path / "items.csv").write_text('item_id;price\n1;"2,50"\n2;"3,75"\n')
    with pytest.raises(DataError, match="has a comma, which may be decimal; write a point"):
        Dataset.load(_log(tmp_path), tmp_path / "items.csv")


def _log(folder: Path) -> Path:
    pl.DataFrame({"user_id": [1], "item_id": [1]}).write_csv(folder / "log.csv")
    return folder / "log.csv"

"""Parquet that is written here, read by polars, pyarrow and DuckDB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multirecall.candidate_parquet import CandidateEncoder
from multirecall.parquet.columns import float_column, kind_of
from multirecall.parquet.kernels import bit_width, code_rows, distinct_of, pack_bits, pack_runs
from multirecall.parquet.thrift import Int, Struct, encode_struct, varint
from multirecall.parquet.writer import ParquetFile
from multirecall.result import CandidateBatch
from multirecall.vocabulary import Vocabulary


def batch_of(rng: np.random.Generator, lengths: list[int], items: Vocabulary, users: list[Any]) -> CandidateBatch:
    """Made-up candidates, two paths, the second of which proposes nothing to the last user."""
    n = sum(lengths)
    ranks = rng.integers(-1, 40, (n, 2)).astype(np.int32)
    if lengths:
        ranks[n - lengths[-1] :, 1] = -1
    zeros = np.zeros(len(lengths), np.int64)
    return CandidateBatch(
        user_ids=tuple(users),
        user_dtype=np.dtype("U9" if "u" in users else "uint64" if 2**63 in users else "int64"),
        catalogue=items,
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        items=rng.integers(0, len(items), n).astype(np.int32),
        scores=rng.choice(rng.random(max(n // 3, 1)), n) if n % 2 else rng.random(n),
        ranks=ranks,
        paths=("one", "two"),
        status={},
        n_backfilled=zeros,
        shortfall=zeros,
        known=zeros > 0,
        unknown_items=((),) * len(lengths),
    )


def write(file: Path, *batches: CandidateBatch) -> pl.DataFrame:
    encoder = CandidateEncoder(batches[0].catalogue)
    with ParquetFile(file) as out:
        for batch in batches:
            out.write(encoder.encode(batch))
    assert out.n_rows == sum(batch.items.size for batch in batches)
    return pl.concat([batch.to_polars() for batch in batches])


DTYPES = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)
ITEMS = [
    Vocabulary(np.array(["a", "grüße", "日本", "", "z" * 200, *map(str, range(300))]), "item"),
    *(Vocabulary(np.arange(100).astype(dtype), "item") for dtype in DTYPES),
]


@pytest.mark.parametrize("items", ITEMS, ids=lambda one: str(one.dtype))
@pytest.mark.parametrize("users", [["u", "visitor?", None, "é", "u"], [3, None, 2**40, -1, 3], [2**63, 1, None, 2, 1]])
def test_readers_find_the_frame(items: Vocabulary, users: list[Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    file = tmp_path / "c.parquet"
    expected = write(file, batch_of(rng, [40, 0, 7, 1, 130], items, users), batch_of(rng, [1], items, users[:1]))
    found = pl.read_parquet(file)
    assert found.schema == expected.schema
    assert found.equals(expected)
    arrow: Any = pl.from_arrow(pq.read_table(file))
    assert arrow.schema == expected.schema
    assert arrow.equals(expected)
    assert duckdb.connect().execute(f"SELECT * FROM '{file}'").fetchall() == expected.rows()


@pytest.mark.parametrize("users", [[], ["u"], [None, None]])
def test_nobody_or_nothing(users: list[Any], tmp_path: Path) -> None:
    file = tmp_path / "c.parquet"
    lengths = [2] * len(users) if None in users else [0] * len(users)
    expected = write(file, batch_of(np.random.default_rng(1), lengths, ITEMS[0], users))
    found = pl.read_parquet(file)
    assert found.columns == expected.columns
    assert found.height == expected.height
    assert found["user_id"].null_count() == expected.height


@given(st.lists(st.integers(0, 2**20 - 1), max_size=70))
def test_packed_numbers_are_read_back(numbers: list[int]) -> None:
    """By the definition: number `i` is the bits `i · width …` of the whole, the lowest first."""
    width = int(bit_width(max(numbers, default=0)))
    packed = bytes(pack_bits(np.array(numbers, np.int32), width))
    assert len(packed) == (len(numbers) + 7) // 8 * width
    whole = int.from_bytes(packed, "little")
    assert [whole >> place * width & ((1 << width) - 1) for place in range(len(numbers))] == numbers


def test_runs_by_hand() -> None:
    """A run is its length, doubled, as a varint, then its value in whole bytes; empty runs are left out."""
    found = bytes(pack_runs(np.array([3, 0, 200]), np.array([5, 9, 300]), 9))
    assert found == bytes([6, 5, 0, 0x90, 3, 44, 1])


def test_a_struct_by_hand() -> None:
    """Field headers hold the step from the field before, numbers are zigzag varints."""
    struct = Struct({1: Int(-2), 2: True, 4: b"ab", 5: [Int(1, 64), Int(300, 64)], 30: Struct({1: Int(7, 8)})})
    expected = [0x15, 3, 0x11, 0x28, 2, 97, 98, 0x19, 0x26, 2, 0xD8, 4, 0x0C, 60, 0x13, 7, 0, 0]
    assert encode_struct(struct) == bytes(expected)
    assert varint(300) == bytes([0xAC, 2])


def test_rows_and_scores_are_numbered() -> None:
    distinct, codes = code_rows(np.array([7, 2, 7, 5], np.int32), 9)
    assert (distinct.tolist(), codes.tolist()) == ([2, 5, 7], [2, 0, 2, 1])
    values, codes = distinct_of(np.array([0.5, -1.0, 0.5]), 2)
    assert (values.tolist(), codes.tolist()) == ([0.5, -1.0], [0, 1, 0])
    assert distinct_of(np.array([0.5, -1.0, 0.25]), 2)[0].size == 0


def test_many_distinct_scores_are_stored_as_they_are() -> None:
    assert float_column("score", np.arange(64.0)).dictionary is None
    assert float_column("score", np.arange(64.0) % 8).n_distinct == 8
    assert kind_of(np.dtype(np.float64)).physical == 5

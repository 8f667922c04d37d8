"""Malformed input for the loaders: valid files, and what may happen to them."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from multirecall import Dataset, Engine
from multirecall.errors import MultirecallError

Rng = np.random.Generator
Mutation = Callable[[bytes, Rng], bytes]
ROWS = 40
TABLES = ("interactions", "items", "users")


def frames() -> dict[str, pl.DataFrame]:
    """A log with every column, and tables with every kind of feature."""
    rng = np.random.default_rng(3)
    rows = np.arange(ROWS)
    log = {
        "user_id": [f"u{row % 7}" for row in rows],
        "item_id": rng.integers(0, 15, ROWS),
        "timestamp": 1_700_000_000 + rows * 60,
        "position": rows,
        "weight": np.round(rng.random(ROWS), 3),
        "event": ["view" if row % 3 else "buy" for row in rows],
    }
    items = {
        "item_id": np.arange(15),
        "group": [f"g{row % 3}" for row in range(15)],
        "price": np.round(rng.random(15) * 90, 2),
        "arrival": [f"2026-01-{row + 1:02}T12:00:00" for row in range(15)],
        "tags": ["red|blue" if row % 2 else "red" for row in range(15)],
        "title": [f"A thing number {row}, made well" for row in range(15)],
    }
    users = {"user_id": [f"u{row}" for row in range(7)], "country": ["DE", "FR", None, "IT", "DE", "", "ES"]}
    return dict(zip(TABLES, (pl.DataFrame(log), pl.DataFrame(items), pl.DataFrame(users)), strict=True))


CONFIG = """\
k = 20
seed = 3
deadline_ms = 50.0

[data]
columns = { user_id = "customer" }
event_weights = { buy = 5.0 }

[[paths]]
name = "cf"
retriever = "item_cf"
quota = 100
weight = 2.0
params = { neighbours = 50, half_life = 10.0 }

[[paths]]
retriever = "popularity"
required = true

[fusion]
strategy = "weighted_sum"
params = { normaliser = "rank" }

[fallback]
retriever = "popularity"

[[segments]]
max_history = 5
weights = { cf = 0.5 }
"""


# What may happen to the bytes of any file.


def flipped(content: bytes, rng: Rng) -> bytes:
    """Up to eight bits flipped."""
    changed = bytearray(content)
    for place in rng.integers(0, max(len(changed), 1), rng.integers(1, 9)):
        if changed:
            changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def cut(content: bytes, rng: Rng) -> bytes:
    """The end, the beginning or the middle gone."""
    start, stop = sorted(rng.integers(0, len(content) + 1, 2).tolist())
    return (content[:start], content[start:], content[:start] + content[stop:])[rng.integers(3)]


def doubled(content: bytes, rng: Rng) -> bytes:
    """A part twice."""
    start, stop = sorted(rng.integers(0, len(content) + 1, 2).tolist())
    return content[:stop] + content[start:]


def sprinkled(content: bytes, rng: Rng) -> bytes:
    """Random bytes, NULs or separators put in, or in place of others."""
    place, n = int(rng.integers(len(content) + 1)), int(rng.integers(1, 60))
    stuff = (rng.bytes(n), b"\0" * n, b'"', b"\n" * n, b"," * n, b"\r", b"\xff\xfe", "é\u2028\U0001f600".encode())
    return content[:place] + stuff[rng.integers(len(stuff))] + content[place + n * int(rng.integers(2)) :]


def foreign(content: bytes, rng: Rng) -> bytes:
    """Another encoding, a byte order mark, or no text at all."""
    text = content.decode("latin-1")
    others: tuple[Callable[[], bytes], ...] = (
        lambda: text.encode("utf-16"),
        lambda: text.replace("u1", "ü1").encode("latin-1", "replace"),
        lambda: b"\xef\xbb\xbf" + content,
        lambda: rng.bytes(300),
        lambda: b"",
        lambda: b"PK\x03\x04" + content,
        lambda: text.encode("utf-32"),
    )
    return others[rng.integers(len(others))]()


BYTES: tuple[Mutation, ...] = (flipped, cut, doubled, sprinkled, foreign)

# What may happen to the cells of a CSV file.

CELLS = (
    *("", " ", "nan", "inf", "-inf", "null", "NULL", "None", "NA", "-1", "0", "-0", "007", "1.5", "1e400", "1e-400"),
    *("9" * 19, "9" * 30, "-" + "9" * 25, str(2**63), str(2**64), "0x10", "1_000", "1,5", "1;5", "true", "TRUE", "é"),
    *("2026-01-31", "2026-13-45", "0000-00-00", "-0001-01-01", "99999-12-31T00:00:00", "2026-02-30 25:61:61"),
    *("2026-01-31T12:00:00+99:99", "2026-01-31T12:00:00Z", "1969-12-31", "262143-12-31", "+262144-01-01T00:00:00"),
    *("1700000000000", "1e11", "-1e11", "99999999999", "12:00", "a\0b", "x" * 300, "x" * 70_000, "|", "||", "a||b"),
    *("|".join("t" * (n % 5) for n in range(500)), "'", '"', '""', '"a,b"', '"a\nb"', "\u2028", "\ufeff", "🙂" * 90),
)


def new_cell(content: bytes, rng: Rng) -> bytes:
    """One to four cells, the header's among them, with something else in them."""
    lines = [line.split(",") for line in content.decode().split("\n")]
    for _ in range(rng.integers(1, 5)):
        line = lines[rng.integers(len(lines))]
        line[rng.integers(len(line))] = CELLS[rng.integers(len(CELLS))]
    return "\n".join(",".join(line) for line in lines).encode()


def new_column(content: bytes, rng: Rng) -> bytes:
    """A column with one odd value in all rows, or odd values everywhere."""
    header, *lines = [line.split(",") for line in content.decode().rstrip("\n").split("\n")]
    column = int(rng.integers(len(header)))
    one = CELLS[rng.integers(len(CELLS))]
    for line in lines:
        line[column] = one if rng.random() < 0.7 else CELLS[rng.integers(len(CELLS))]
    return "\n".join(",".join(line) for line in [header, *lines]).encode()


def new_shape(content: bytes, rng: Rng) -> bytes:
    """Ragged rows, columns twice or missing, no rows, other line ends, other separators."""
    lines = content.decode().split("\n")
    cells = [line.split(",") for line in lines]
    column = int(rng.integers(len(cells[0])))
    some = int(rng.integers(1, len(lines)))
    shapes: tuple[Callable[[], list[str]], ...] = (
        lambda: [*lines[:some], lines[some] + ",extra,more", *lines[some + 1 :]],
        lambda: [*lines[:some], lines[some].rpartition(",")[0], *lines[some + 1 :]],
        lambda: [f"{line},{line.split(',')[column % len(line.split(','))]}" for line in lines],
        lambda: [",".join(line[:column] + line[column + 1 :]) for line in cells],
        lambda: lines[:1],
        lambda: lines[1:],
        lambda: [line.replace(",", ";") for line in lines],
        lambda: [f"{line}\r" for line in lines],
        lambda: ["\r".join(lines)],
        lambda: [lines[0].upper(), *lines[1:]],
        lambda: [",".join([""] * len(cells[0])), *lines[1:]],
        lambda: ["", "", *lines],
        lambda: ["# a comment", *lines],
        lambda: [",".join(cells[0] * 300), *(",".join(line * 300) for line in cells[1:])],
        lambda: lines[:1] * 3 + lines[1:],
    )
    return "\n".join(shapes[rng.integers(len(shapes))]()).encode()


CSV: tuple[Mutation, ...] = (*BYTES, new_cell, new_column, new_shape)

# Columns that a parquet file may have in place of the right ones.

COLUMNS: tuple[tuple[Any, Any], ...] = (
    ([[1], [2, 3], [], None], pl.List(pl.Int64)),
    ([["a"], [None], [], None], pl.List(pl.String)),
    ([[["a"]], [[]], None, [[None]]], pl.List(pl.List(pl.String))),
    ([[1, 2], [3, 4], [5, 6], None], pl.Array(pl.Int64, 2)),
    ([{"a": 1}, {"a": None}, None, {"a": 2}], pl.Struct({"a": pl.Int64})),
    ([[{"a": 1}], [], None, [{"a": 2}]], pl.List(pl.Struct({"a": pl.Int64}))),
    ([b"a", b"\xff\0", b"", None], pl.Binary),
    ([Decimal("1.50"), Decimal(-(10**20)), None, Decimal(0)], pl.Decimal(38, 2)),
    ([timedelta(days=1), timedelta(-(10**5)), None, timedelta(0)], pl.Duration("us")),
    ([time(1, 2), time(23, 59), None, time(0)], pl.Time),
    ([date(1, 1, 1), date(9999, 12, 31), None, date(2026, 1, 1)], pl.Date),
    ([datetime(1, 1, 1), datetime(9999, 12, 31), None, datetime(2026, 1, 1)], pl.Datetime("ms")),
    ([2**62, -(2**62), None, 0], pl.Datetime("ms")),
    ([2**62, -(2**62), 1, 0], pl.Datetime("us", "Europe/Berlin")),
    ([2**31 - 1, -(2**31), 3, 0], pl.Date),
    ([2**63 - 1, -(2**63), 0, 1], pl.Int64),
    ([2**64 - 1, 0, 1, 2], pl.UInt64),
    ([2**100, -(2**100), 0, 1], pl.Int128),
    ([127, -128, 0, None], pl.Int8),
    ([float("nan"), float("inf"), -0.0, 1e308], pl.Float64),
    ([float("nan"), 1e38, -1e38, None], pl.Float32),
    ([True, False, None, True], pl.Boolean),
    ([None, None, None, None], pl.Null),
    (["a", "b", None, "a"], pl.Categorical),
    (["a", "b", None, "a"], pl.Enum(["a", "b"])),
    (["", "a\0b", "x" * 5_000, "\U0001f600"], pl.String),
    (["2026-01-31", "99999-01-01", "x", None], pl.String),
)


def new_types(frame: pl.DataFrame, rng: Rng) -> pl.DataFrame:
    """One or two columns of other types; now and then one missing, or no rows."""
    for _ in range(rng.integers(1, 3)):
        name = str(rng.choice(frame.columns))
        values, dtype = COLUMNS[rng.integers(len(COLUMNS))]
        column = pl.Series(name, values * (frame.height // len(values) + 1), dtype, strict=False)[: frame.height]
        if rng.random() < 0.5:
            column = column.drop_nulls().gather(np.zeros(frame.height if column.count() else 0, np.uint32))
            column = column.extend_constant(None, frame.height - column.len())
        frame = frame.with_columns(column)
    odd = rng.random()
    return frame.clear() if odd < 0.05 else frame.drop(str(rng.choice(frame.columns))) if odd < 0.1 else frame


# What may stand in a config in place of the right value.

VALUES = (
    *("0", "-1", "1e400", "nan", "-inf", "9" * 30, "0x7fffffffffffffff", "1_000", "true", '""', '"x"', "'''a\nb'''"),
    *("[]", "{}", "[[]]", "[1, 'a', {}]", "{ a = { b = 1 } }", "1979-05-27", "07:32:00", "1979-05-27T00:32:00-07:00"),
    *('"\\u0000"', '"' + "x" * 10_000 + '"', "[" * 60 + "]" * 60, "[" * 5_000 + "]" * 5_000, "{ a = " * 400 + "1"),
    *("2147483648", "-9223372036854775808", '"item_cf"', '"../../etc"', '"os:system"', "0.1e-400", '["cf", "cf"]'),
)
KEYS = (
    "k",
    "seed",
    "threads",
    "paths",
    "data",
    "fusion",
    "[fusion]",
    "[[paths]]",
    "[paths]",
    "a.b.c",
    '""',
    "'\"'",
    "[[k]]",
)


def new_value(content: bytes, rng: Rng) -> bytes:
    """One to three values replaced, or lines added, repeated, or taken away."""
    lines = content.decode().split("\n")
    for _ in range(rng.integers(1, 4)):
        place = int(rng.integers(len(lines)))
        value = VALUES[rng.integers(len(VALUES))]
        key = KEYS[rng.integers(len(KEYS))]
        what = rng.integers(5)
        if what < 2 and "=" in lines[place]:
            head, _, tail = lines[place].rpartition("=") if what else lines[place].partition("=")
            lines[place] = f"{head}= {value}{' }' if tail.rstrip().endswith('}') and what else ''}"
        elif what == 2:
            lines.insert(place, key if key.startswith("[") else f"{key} = {value}")
        elif what == 3:
            lines.insert(place, lines[rng.integers(len(lines))])
        else:
            del lines[place]
            lines = lines or [""]
    return "\n".join(lines).encode()


TOML: tuple[Mutation, ...] = (*BYTES, new_value, new_value, new_value)


def mutate(content: bytes, mutations: tuple[Mutation, ...], rng: Rng) -> bytes:
    """One mutation, or two one after the other."""
    for _ in range(1 if rng.random() < 0.7 else 2):
        try:
            content = mutations[rng.integers(len(mutations))](content, rng)
        except (UnicodeDecodeError, IndexError, ValueError):
            content = flipped(content, rng)  # the second mutation wants text, and the first left none
    return content


def inputs(kind: str, n: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """`n` malformed files of a kind with the table (or `config`) that each stands for; the same for a seed."""
    rng = np.random.default_rng([seed, sum(kind.encode())])
    tables = frames()
    for _ in range(n):
        table = str(rng.choice(TABLES))
        if kind == "toml":
            yield "config", mutate(CONFIG.encode(), TOML, rng)
        elif kind == "csv":
            yield table, mutate(tables[table].write_csv().encode(), CSV, rng)
        else:
            typed = kind == "types"
            stream = io.BytesIO()
            (new_types(tables[table], rng) if typed else tables[table]).write_parquet(stream)
            yield table, stream.getvalue() if typed else mutate(stream.getvalue(), BYTES, rng)


KINDS = {"csv": ".csv", "parquet": ".parquet", "types": ".parquet", "toml": ".toml"}


def load(kind: str, table: str, content: bytes, folder: Path) -> str:
    """Load one malformed file beside good ones: `accepted`, or the name of the error of ours that refused it.

    Whatever else is raised passes through.
    """
    file = folder / f"malformed{KINDS[kind]}"
    file.write_bytes(content)
    try:
        if kind == "toml":
            Engine.from_toml(file)
        else:
            log, items, users = (file if table == name else folder / f"{name}.parquet" for name in TABLES)
            Dataset.load(log, items, users)
    except MultirecallError as fault:
        return type(fault).__name__
    return "accepted"


def fuzz(kind: str, n: int, seed: int, folder: Path) -> Counter[str]:
    """Outcomes of `n` malformed files; one that raises something else is left in `folder` as `malformed.*`."""
    for name, frame in frames().items():
        frame.write_parquet(folder / f"{name}.parquet")
    return Counter(load(kind, table, content, folder) for table, content in inputs(kind, n, seed))

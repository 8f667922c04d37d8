"""What a `where` costs a request on a large catalogue, beside a polars filter; run it with POLARS_MAX_THREADS=1."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import thread_time
from typing import Annotated, Any

import numpy as np
import polars as pl
import typer
from _harness import write

from multirecall import Dataset
from multirecall.data import Table
from multirecall.data.config import Kind
from multirecall.datasets import generate
from multirecall.engine.where import read_where

KINDS: dict[str, Kind] = {"title": "text", "category": "categorical"}


def main(
    items: Annotated[int, typer.Option(help="Items of the catalogue.")] = 200_000,
    runs: Annotated[int, typer.Option(help="Times that each filter is asked, in turn; the median counts.")] = 51,
) -> None:
    """Compile predicates of each kind: the first time that a request has the values, and again, as bitmaps."""
    log = generate(1_000, items, 10_000)
    frame = log.items.with_columns(pl.col("title").cast(pl.String), pl.col("category").cast(pl.String))
    table = Dataset.from_frames(log.interactions, frame, log.users, kinds=KINDS).items
    titles = frame["title"].unique().sort().to_list()
    rows = []
    for name, field, values, condition in (
        ("text, one of one", "title", titles[:runs], lambda value: pl.col("title") == value),
        (
            "text, one of ten",
            "title",
            [titles[start : start + 10] for start in range(runs)],
            lambda value: pl.col("title").is_in(value),
        ),
        ("category", "category", _cycle(frame["category"], runs), lambda value: pl.col("category") == value),
        (
            "list of tags",
            "tags",
            _cycle(frame["tags"].explode(), runs),
            lambda value: pl.col("tags").list.contains(value),
        ),
        (
            "range of numbers",
            "price",
            [{"min": 5.0, "max": 20.0 + run} for run in range(runs)],
            lambda value: pl.col("price").is_between(value["min"], value["max"]),
        ),
        (
            "range of dates",
            "arrival",
            [{"max": f"2023-{1 + run % 12:02}-{1 + run % 28:02}"} for run in range(runs)],
            lambda value: pl.col("arrival") < pl.lit(value["max"]).str.to_datetime() + pl.duration(days=1),
        ),
    ):
        figures = _measure(table, frame, field, values, condition)
        rows.append({"predicate": name, "passing": figures.pop("passing"), **figures})
        typer.echo(
            f"{name:18} " + "  ".join(f"{key} {value:,.3f}" for key, value in rows[-1].items() if key.endswith("ms"))
        )
    typer.echo(write("where", {"items": items, "runs": runs, "predicates": rows}))


def _cycle(column: pl.Series, n: int) -> list[Any]:
    values = column.drop_nulls().unique().sort().to_list()
    return [values[run % len(values)] for run in range(n)]


def _measure(
    table: Table, frame: pl.DataFrame, field: str, values: list[Any], condition: Callable[[Any], pl.Expr]
) -> dict[str, float]:
    """CPU milliseconds of this thread, our side and polars in turn; both must let the same items pass."""
    cold, warm, peer = [], [], []
    read_where({field: values[-1]}, table)  # compiles the kernel
    for value in values:
        table.bitmaps.clear()
        start = thread_time()
        allowed, _ = read_where({field: value}, table)
        cold.append(thread_time() - start)
        start = thread_time()
        read_where({field: value}, table)
        warm.append(thread_time() - start)
        lazy = condition(value)
        start = thread_time()
        passing = frame.select(lazy.fill_null(False)).to_series()
        peer.append(thread_time() - start)
        ids = frame["item_id"].filter(passing).to_list()
        assert ids == table.ids.ids(np.flatnonzero(allowed)).tolist(), f"{field}: {value!r}"
    return {
        "passing": float(allowed.mean()),
        "cold_ms": median(cold) * 1e3,
        "warm_ms": median(warm) * 1e3,
        "polars_ms": median(peer) * 1e3,
    }


if __name__ == "__main__":
    typer.run(main)

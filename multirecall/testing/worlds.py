"""Small datasets for contract tests."""

from __future__ import annotations

from functools import cache

import numpy as np
import polars as pl

from multirecall.data import Dataset


@cache
def small_shop(ids: str = "int", timestamps: bool = True, features: bool = True) -> Dataset:
    """40 users in two groups, of which each likes one half of 60 items; 5 more items without interactions.

    Args:
        ids: `int` or `str`, the type of all ids.
        timestamps: whether the log has times.
        features: whether there are item and user tables, with a feature of every kind.
    """
    rng = np.random.default_rng(11)
    n_users, n_items, n_events = 40, 60, 700
    users = rng.integers(0, n_users, n_events)
    items = 2 * rng.integers(0, n_items // 2, n_events) + users % 2
    log = pl.DataFrame({"user_id": users, "item_id": items})
    if timestamps:
        log = log.with_columns(timestamp=1_700_000_000 + pl.Series(rng.integers(0, 90 * 86_400, n_events)))
    catalogue = pl.DataFrame({"item_id": np.arange(n_items + 5)})
    colours = np.array(["red", "green", "blue"])
    catalogue = catalogue.with_columns(
        group=pl.when(pl.col("item_id") % 2 == 0).then(pl.lit("even")).otherwise(pl.lit("odd")),
        tags=pl.Series([sorted({str(c) for c in rng.choice(colours, 2)}) for _ in range(n_items + 5)]),
        title=pl.Series([f"{rng.choice(colours)} item number {i}" for i in range(n_items + 5)]),
        price=pl.Series(rng.lognormal(2, 1, n_items + 5)),
        arrival=pl.Series(1_690_000_000_000_000 + rng.integers(0, 10**13, n_items + 5)).cast(pl.Datetime("us")),
    )
    people = pl.DataFrame({"user_id": np.arange(n_users + 2), "country": np.arange(n_users + 2) % 3}).with_columns(
        pl.col("country").replace_strict({0: "DE", 1: "FR", 2: None}, return_dtype=pl.String)
    )
    if ids == "str":
        log, catalogue, people = (_with_text_ids(frame) for frame in (log, catalogue, people))
    if not features:
        return Dataset.from_frames(log)
    return Dataset.from_frames(log, catalogue, people)


def _with_text_ids(frame: pl.DataFrame) -> pl.DataFrame:
    columns = [column for column in ("user_id", "item_id") if column in frame.columns]
    return frame.with_columns(pl.format(f"{column[0]}{{}}", column).alias(column) for column in columns)


@cache
def checkerboard(size: int = 24) -> Dataset:
    """User `u` has chosen every item `i` with `i % 2 == u % 2` except item `u`: his right answer is known."""
    users, items = np.indices((size, size)).reshape(2, -1)
    chosen = (users % 2 == items % 2) & (users != items)
    kinds = pl.DataFrame({"item_id": np.arange(size), "kind": np.where(np.arange(size) % 2, "odd", "even")})
    return Dataset.from_frames(pl.DataFrame({"user_id": users[chosen], "item_id": items[chosen]}), kinds)

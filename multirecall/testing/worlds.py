"""Small datasets for contract tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from multirecall.data import Dataset
from multirecall.topk import NO_ROWS


@cache
def small_shop(ids: str = "int", timestamps: bool = True, features: bool = True) -> Dataset:
    """40 users in two groups, of which each likes one half of 60 items; 5 more items without interactions.

    Args:
        ids: `int` or `str`, the type of all ids.
        timestamps: whether the log has times.
        features: whether there are item and user tables, with a feature of every kind.
    """
    log, catalogue, people = _frames(timestamps)
    if ids == "str":
        log, catalogue, people = (_with_text_ids(frame) for frame in (log, catalogue, people))
    if not features:
        return Dataset.from_frames(log)
    return Dataset.from_frames(log, catalogue, people)


def _frames(timestamps: bool) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """The log, the items and the users of `small_shop`."""
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
    return log, catalogue, people


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


FIELDS = ("group", "tags", "title", "price", "arrival")


@dataclass(frozen=True)
class Change:
    """A live change, as `Retriever.with_changes` gets it."""

    data: Dataset
    users: NDArray[np.int32] = field(default_factory=lambda: NO_ROWS)
    items: NDArray[np.int32] = field(default_factory=lambda: NO_ROWS)
    times: NDArray[np.int64] | None = None
    weights: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    fading: float = 1.0
    touched: NDArray[np.int32] = field(default_factory=lambda: NO_ROWS)
    removed: NDArray[np.int32] = field(default_factory=lambda: NO_ROWS)
    revived: NDArray[np.int32] = field(default_factory=lambda: NO_ROWS)


class LiveShop:
    """`small_shop` with event weights, 0 among them, that takes live changes; ids are rows.

    Attributes:
        data: what it holds by now.
        fields: the item features; without any, users have none either.
    """

    def __init__(self, *, timestamps: bool = True, fields: Sequence[str] = FIELDS) -> None:
        self._log, self._catalogue, self._people = _frames(timestamps)
        weights = np.random.default_rng(5).choice([0.0, 1.0, 2.0, 2.5], self._log.height)
        self._log = self._log.with_columns(weight=pl.Series(weights))
        self.fields = tuple(fields)
        self.data = self._dataset()

    def interact(self, users: ArrayLike, items: ArrayLike, weights: ArrayLike = 1.0, days: ArrayLike = 1.0) -> Change:
        """Add events, `days` after the newest of `small_shop`; the next unknown ids join."""
        rows, columns = np.asarray(users, np.int32), np.asarray(items, np.int32)
        events = pl.DataFrame({"user_id": rows, "item_id": columns})
        if "timestamp" in self._log.columns:
            times = 1_707_776_000 + (np.broadcast_to(days, rows.shape) * 86_400.0).astype(np.int64)
            events = events.with_columns(timestamp=pl.Series(times))
        each = np.broadcast_to(np.asarray(weights, np.float32), rows.shape)
        events = events.with_columns(weight=pl.Series(each))
        n_items = self.data.n_items
        self._log = pl.concat([self._log, events.cast(self._log.schema)])
        self.data = self._dataset()
        joined = np.arange(n_items, self.data.n_items, dtype=np.int32)
        given = events["timestamp"].to_numpy() if "timestamp" in events.columns else None
        return Change(self.data, rows, columns, given, each, touched=joined)

    def describe(self, items: Sequence[int], **features: Any) -> Change:
        """Give these items these features and no others; the next unknown ids join."""
        rows = pl.DataFrame({"item_id": items}).with_columns(
            pl.lit(value).alias(name) for name, value in features.items()
        )
        rest = self._catalogue.filter(~pl.col("item_id").is_in(items))
        self._catalogue = pl.concat([rest, rows], how="diagonal_relaxed")
        self.data = self._dataset()
        return Change(self.data, touched=np.unique(np.asarray(items, np.int32)))

    def _dataset(self) -> Dataset:
        if not self.fields:
            return Dataset.from_frames(self._log)
        return Dataset.from_frames(self._log, self._catalogue.select("item_id", *self.fields), self._people)


def live_changes(shop: LiveShop) -> list[Change]:
    """Events, new items, events of new users on new items, other features, and a removal, one after another."""
    user, item = shop.data.n_users, shop.data.n_items
    changes = [
        shop.interact([3, 3, 3, 8, 0], [4, 4, 7, 59, 2], [1.0, 5.0, 0.0, 2.0, 1.0], [9.0, 2.0, -400.0, 4.0, 0.5])
    ]
    if shop.fields:
        changes.append(shop.describe([item, item + 1], group="even", tags=["red"], title="red item"))
    items = [shop.data.n_items, item - 1, 2, shop.data.n_items - 1, shop.data.n_items, 12]
    changes.append(shop.interact([user, user + 1, user, 5, user + 1, 4], items, [1.0, 2.0, 1.0, 3.0, 1.0, 0.0], 11.0))
    if shop.fields:
        changes.append(shop.describe([10, item - 1, item + 1], group="odd", title="blue thing"))
    changes.append(Change(shop.data, removed=np.array([12, item], np.int32)))
    changes.append(Change(shop.data, revived=np.array([12], np.int32)))
    return changes


def joined(changes: Sequence[Change]) -> Change:
    """Several changes as one."""
    times = [change.times for change in changes if change.times is not None]
    return Change(
        changes[-1].data,
        np.concatenate([change.users for change in changes]),
        np.concatenate([change.items for change in changes]),
        np.concatenate(times) if times else None,
        np.concatenate([change.weights for change in changes]),
        touched=np.unique(np.concatenate([change.touched for change in changes])),
    )

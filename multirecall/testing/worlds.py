"""Small datasets for contract tests."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from multirecall.data import ChangeKind, Changes, Dataset
from multirecall.data.apply import apply_change
from multirecall.data.read_change import read_change
from multirecall.query import Query


@cache
def small_shop(ids: str = "int", timestamps: bool = True, features: bool = True) -> Dataset:
    """40 users in two groups, each of which likes one half of 60 items; 5 more items have no interactions.

    Args:
        ids: the type of all ids, `int` or `str`.
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
    """A log in which user `u` chose every item `i` with `i % 2 == u % 2` except item `u`, the right answer."""
    users, items = np.indices((size, size)).reshape(2, -1)
    chosen = (users % 2 == items % 2) & (users != items)
    kinds = pl.DataFrame({"item_id": np.arange(size), "kind": np.where(np.arange(size) % 2, "odd", "even")})
    return Dataset.from_frames(pl.DataFrame({"user_id": users[chosen], "item_id": items[chosen]}), kinds)


FIELDS = ("group", "tags", "title", "price", "arrival")


class LiveShop:
    """`small_shop` with event weights, some of them 0, which takes live changes; ids equal rows.

    Each method applies one live change to `data` and returns it, as a retriever takes it.

    Args:
        timestamps: whether the log has times.
        fields: the item features; if empty, users have no features either.
        half_life_days: as in `Dataset.from_frames`.

    Attributes:
        data: the present dataset, with all changes so far.
    """

    def __init__(
        self, *, timestamps: bool = True, fields: Sequence[str] = FIELDS, half_life_days: float | None = None
    ) -> None:
        log, catalogue, people = _frames(timestamps)
        weights = np.random.default_rng(5).choice([0.0, 1.0, 2.0, 2.5], log.height)
        log = log.with_columns(weight=pl.Series(weights))
        tables = (catalogue.select("item_id", *fields), people) if fields else ()
        self.data = Dataset.from_frames(log, *tables, half_life_days=half_life_days)

    def interact(self, users: ArrayLike, items: ArrayLike, weights: ArrayLike = 1.0, days: ArrayLike = 1.0) -> Changes:
        """Add events, `days` after the newest of `small_shop`; unknown ids are added in the order given."""
        events = pl.DataFrame({"user_id": np.asarray(users), "item_id": np.asarray(items)})
        columns: dict[str, NDArray[Any]] = {"weight": np.asarray(weights, np.float64)}
        if self.data.now is not None:
            columns["timestamp"] = 1_707_776_000 + (np.asarray(days) * 86_400.0).astype(np.int64)
        series = {name: pl.Series(np.broadcast_to(values, events.height)) for name, values in columns.items()}
        return self._apply("add_interactions", events.with_columns(**series))

    def describe(self, items: Sequence[int], **features: Any) -> Changes:
        """Set the features of these items; unknown ids are added in the order given."""
        rows = [{"item_id": item, **features} for item in items]
        return self._apply("add_items", rows)

    def remove(self, items: Sequence[int]) -> Changes:
        """Remove items."""
        return self._apply("remove_items", items)

    def take_back(self, users: Sequence[int], items: Sequence[int]) -> Changes:
        """Remove all events of these pairs of user and item."""
        return self._apply("remove_interactions", pl.DataFrame({"user_id": users, "item_id": items}))

    def forget(self, users: Sequence[int]) -> Changes:
        """Forget users. A user who returns has a new row, which differs from their id."""
        return self._apply("remove_users", users)

    def _apply(self, kind: ChangeKind, frame: Any) -> Changes:
        changes = apply_change(self.data, read_change(self.data, kind, frame))
        self.data = changes.data
        return changes


def live_changes(shop: LiveShop) -> list[Changes]:
    """A series of changes: events, new items, events of new users on new items, new features, and a removal."""
    user, item = shop.data.n_users, shop.data.n_items
    first = [1.0, 5.0, 0.0, 2.0, 1.0], [9.0, 2.0, -400.0, 4.0, 0.5]
    changes = [shop.interact([3, 3, 3, 8, 0], [4, 4, 7, 59, 2], *first)]
    described = bool(shop.data.items.features)
    if described:
        changes.append(shop.describe([item, item + 1], group="even", tags=["red"], title="red item"))
    items = [shop.data.n_items, item - 1, 2, shop.data.n_items - 1, shop.data.n_items, 12]
    changes.append(shop.interact([user, user + 1, user, 5, user + 1, 4], items, [1.0, 2.0, 1.0, 3.0, 1.0, 0.0], 11.0))
    if described:
        changes.append(shop.describe([10, item - 1, item + 1, shop.data.n_items], group="odd", title="blue thing"))
    changes.append(shop.remove([12, item]))
    if described:
        changes.append(shop.describe([12], title="back again"))
    return changes


def removals(shop: LiveShop) -> list[Changes]:
    """A series of removals: events, some unknown and one the last of its item, and users, one of whom returns."""
    log = shop.data.interactions
    rare = int(np.bincount(log.items, minlength=shop.data.n_items)[:60].argmin())
    holders = shop.data.users.ids.ids(np.unique(log.users[log.items == rare])).tolist()
    return [
        shop.take_back([*holders, 3, 5], [*([rare] * len(holders)), 4, 64]),
        shop.forget([8, 11]),
        shop.interact([8, 2, 8], [3, 3, 10], [1.0, 2.0, 0.0], 12.0),
        shop.forget([8]),
    ]


def join_changes(changes: Sequence[Changes]) -> Changes:
    """Several changes, in their order, as one."""
    times = [change.times for change in changes if change.times is not None]
    return Changes(
        changes[-1].data,
        np.concatenate([change.users for change in changes]),
        np.concatenate([change.items for change in changes]),
        np.concatenate(times) if times else None,
        np.concatenate([change.weights for change in changes]),
        np.concatenate([change.undecayed for change in changes]),
        touched=np.unique(np.concatenate([change.touched for change in changes])),
    )


def queries(
    data: Dataset,
    *,
    exclude: NDArray[np.int32] | None = None,
    allowed: NDArray[np.bool_] | None = None,
) -> list[Query]:
    """A query for each user of the data, and one for a visitor with the first user's history.

    Args:
        data: the users and their histories.
        exclude: sorted item rows, int32, to exclude from every query.
        allowed: bool (n_items,), the items that may be returned; None: all.
    """
    log = data.interactions
    none = np.empty(0, np.int32)
    asked = []
    for user in [*range(data.n_users), -1]:
        part = log.of_user(max(user, 0))
        asked.append(
            Query(
                user=user,
                history=log.items[part],
                weights=log.weights[part],
                times=None if log.times is None else log.times[part],
                ordered=log.ordered,
                features=data.users.values(user),
                exclude=none if exclude is None else exclude,
                allowed=allowed,
                now=log.now,
            )
        )
    return asked

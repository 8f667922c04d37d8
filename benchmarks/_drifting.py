"""A market of known truth: periods in which nothing changes, and periods in which one thing changes by a known size."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multirecall import Dataset, Engine, EngineConfig
from multirecall.lists import RankedList
from multirecall.monitoring.drift import DriftOptions, DriftReport, measure_drift
from multirecall.progress import Progress
from multirecall.protocols import Retriever
from multirecall.query import Query

Injected = Literal["none", "popularity", "new items", "taste", "feature", "path"]

SIZES: dict[Injected, str] = {
    "none": "nothing changes",
    "popularity": "a fifth of all events moves to ten items",
    "new items": "15 % of the events are of items that did not exist",
    "taste": "half of the users prefer another group of items",
    "feature": "prices rise by half",
    "path": "a quarter of the users is in a country that one path does not know",
}
"""What is injected, by name, and its size."""

SHOWS: dict[Injected, tuple[str, ...]] = {
    "popularity": ("item popularity",),
    "new items": ("unknown items",),
    "taste": ("recall@20", "item_cf contribution", "item_cf scores"),
    "feature": ("item price",),
    "path": ("by_country empty",),
}
"""The figures of which one must show it. A change of taste leaves all shares of items as they were: histories become
mixed, so that item-CF finds less in common in them, and users choose what they are not shown."""

PERIOD_S = 7 * 86_400
OPENING = 1_700_000_000
COUNTRIES = ("AT", "DE", "FR", "IT")
GROUPS = 8


class ByCountry(Retriever):
    """Proposes what is popular in the user's country, and nothing to a user of one that it does not know."""

    inline = True

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        log, feature = data.interactions, data.users.features["country"]
        countries = np.array([str(feature.value(row)) for row in range(data.n_users)])
        self._best = {
            country: np.argsort(
                -np.bincount(log.items[countries[log.users] == country], minlength=data.n_items), kind="stable"
            )[:200].astype(np.int32)
            for country in COUNTRIES
        }

    def retrieve(self, query: Query, quota: int) -> RankedList:
        rows = self._best.get(str(query.features.get("country")), np.empty(0, np.int32))[:quota]
        return RankedList(rows, -np.arange(rows.size, dtype=np.float32))

    def save(self, folder: Path) -> None:
        raise NotImplementedError("the market saves no engine")

    @classmethod
    def load(cls, config: Any, folder: Path, data: Dataset) -> ByCountry:
        raise NotImplementedError("the market saves no engine")


CONFIG = EngineConfig.model_validate(
    {
        "paths": [
            {"retriever": "item_cf", "weight": 3.0},
            {"retriever": "popularity"},
            {"retriever": ByCountry, "name": "by_country"},
        ],
        "fusion": {"strategy": "rrf"},
    }
)


class Period(NamedTuple):
    """The events of a period, and the tables as they are at its end."""

    events: pl.DataFrame
    items: pl.DataFrame
    users: pl.DataFrame


class Market:
    """Users who prefer one group of items each, period after period. Some users and items are new in each.

    Args:
        seed: of all draws.
        n_users: users at the opening.
        n_items: items at the opening.
    """

    def __init__(self, seed: int, n_users: int = 1_500, n_items: int = 400) -> None:
        self._rng = np.random.default_rng(seed)
        self._periods = 0
        self._appeal = np.empty(0)
        self._group = np.empty(0, np.int64)
        self._price = np.empty(0)
        self._taste = np.empty(0, np.int64)
        self._country = np.empty(0, np.int64)
        self._add_items(n_items)
        self._add_users(n_users)

    def next_period(self, injected: Injected = "none") -> Period:
        """Draw one more period, in which one thing may change."""
        rng = self._rng
        self._add_items(2)
        self._add_users(30)
        if injected == "feature":
            self._price = self._price * 1.5
        if injected == "taste":
            moved = rng.random(self._taste.size) < 0.5
            self._taste = np.where(moved, (self._taste + 1 + rng.integers(0, GROUPS - 1)) % GROUPS, self._taste)
        if injected == "path":
            self._country = np.where(rng.random(self._country.size) < 0.25, len(COUNTRIES), self._country)
        active = np.flatnonzero(rng.random(self._taste.size) < 0.4)
        users = np.repeat(active, 1 + rng.poisson(4, active.size))
        items = self._draw(users)
        if injected == "popularity":
            hot = rng.choice(np.argsort(self._appeal)[: self._appeal.size // 2], 10, replace=False)
            items = np.where(rng.random(items.size) < 0.2, rng.choice(hot, items.size), items)
        if injected == "new items":
            first = self._appeal.size
            self._add_items(20)
            items = np.where(rng.random(items.size) < 0.15, rng.integers(first, first + 20, items.size), items)
        start = OPENING + self._periods * PERIOD_S
        self._periods += 1
        times = np.sort(start + 1 + rng.integers(0, PERIOD_S, users.size))
        events = pl.DataFrame({"user_id": users, "item_id": items, "timestamp": times[rng.permutation(times.size)]})
        return Period(events, self._item_table(), self._user_table())

    def _draw(self, users: NDArray[np.int64]) -> NDArray[np.int64]:
        """An item for each event: of the user's group in 85 of 100 cases, else of any."""
        rng = self._rng
        items = rng.choice(self._appeal.size, users.size, p=self._appeal / self._appeal.sum())
        loyal = rng.random(users.size) < 0.85
        for group in range(GROUPS):
            members = np.flatnonzero(self._group == group)
            mine = np.flatnonzero(loyal & (self._taste[users] == group))
            shares = self._appeal[members]
            items[mine] = rng.choice(members, mine.size, p=shares / shares.sum())
        return items

    def _add_items(self, n: int) -> None:
        rng = self._rng
        self._appeal = np.append(self._appeal, rng.lognormal(0.0, 0.7, n))
        self._group = np.append(self._group, rng.integers(0, GROUPS, n))
        self._price = np.append(self._price, rng.lognormal(2.0, 0.7, n))

    def _add_users(self, n: int) -> None:
        self._taste = np.append(self._taste, self._rng.integers(0, GROUPS, n))
        self._country = np.append(self._country, self._rng.integers(0, len(COUNTRIES), n))

    def _item_table(self) -> pl.DataFrame:
        groups = pl.Series([f"g{group}" for group in self._group])
        return pl.DataFrame({"item_id": np.arange(self._appeal.size), "price": self._price, "group": groups})

    def _user_table(self) -> pl.DataFrame:
        names = [(*COUNTRIES, "SE")[code] for code in self._country]
        return pl.DataFrame({"user_id": np.arange(self._taste.size), "country": names})


def fit(periods: list[Period]) -> Engine:
    """An engine fitted on periods, with the tables as of the last one."""
    log = pl.concat([period.events for period in periods])
    return Engine(CONFIG).fit(Dataset.from_frames(log, periods[-1].items, periods[-1].users))


def measure(engine: Engine, period: Period, seed: int = 7) -> DriftReport:
    """What drifted in the period after a fit; the recall at fit is measured by another one."""
    events = Dataset.from_frames(period.events, period.items, period.users)
    return measure_drift(engine, events, DriftOptions(window_days=7, k=20, refit=True, seed=seed))

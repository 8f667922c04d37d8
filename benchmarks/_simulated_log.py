"""Request logs of simulated users, whose preferences are known, and so is what any config is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multirecall import Candidates, Dataset, EngineConfig
from multirecall.config import stored_values
from multirecall.draw import Draw
from multirecall.engine.fuse import plan_of
from multirecall.engine.merge import Merging
from multirecall.lists import FusedList, RankedBatch, RankedList
from multirecall.monitoring.request_log import UserNames
from multirecall.monitoring.request_log.layout import new_part
from multirecall.monitoring.request_log.parts import write_part
from multirecall.monitoring.request_log.rows import rows_of
from multirecall.monitoring.request_log.tables import Needed, TableWriter, ensure
from multirecall.online import Exploration, Observation, Proposed, Request, Served
from multirecall.query import Where
from multirecall.result import PathStatus
from multirecall.storage import json_digest
from multirecall.vocabulary import Vocabulary

PATHS = ("near", "far", "blind")
NOISE = (0.7, 1.2, 3.0)
"""How far the scores of each path are from what users like, in standard deviations."""

ITEMS, QUOTA, K = 120, 30, 10
START = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp())
DAY_S = 86_400


def config_of(weights: Sequence[float]) -> EngineConfig:
    """Reciprocal rank fusion of the three paths with these weights; nothing is fitted, so any retriever will do."""
    paths = [
        {"name": name, "retriever": "popularity", "quota": QUOTA, "weight": weight}
        for name, weight in zip(PATHS, weights, strict=True)
    ]
    return EngineConfig.model_validate({"k": K, "paths": paths, "fusion": {"strategy": "rrf"}})


LOGGED, TRIED = config_of((1.0, 1.0, 1.0)), config_of((3.0, 1.0, 0.2))


@dataclass(frozen=True)
class People:
    """A population with its preferences, and what each path proposes to each of them.

    Attributes:
        likes: the probability that a user chooses an item that is shown, (n_users, n_items).
        lists: for each user the list of each path.
    """

    likes: NDArray[np.float64]
    lists: list[list[RankedList]]

    @classmethod
    def of(cls, n_users: int, rate: float, seed: int) -> People:
        """Draw a population in which a random item is chosen with probability `rate`, about."""
        rng = np.random.default_rng(seed)
        taste = rng.normal(size=(n_users, ITEMS))
        lists: list[list[RankedList]] = [[] for _ in range(n_users)]
        for noise in NOISE:
            scores = taste + noise * rng.normal(size=taste.shape)
            order = np.argsort(-scores, axis=1)[:, :QUOTA].astype(np.int32)
            for user, own in enumerate(order):
                lists[user].append(RankedList(own, scores[user, own].astype(np.float32)))
        return cls(np.minimum(rate * np.exp(taste - 0.5), 0.9), lists)

    def worth(self, config: EngineConfig) -> float:
        """The candidates of an answer under the config that are chosen, on average over users."""
        plan = plan_of(config, PATHS)
        return float(
            np.mean([self.likes[user, plan.fuse(own, 9, K).items].sum() for user, own in enumerate(self.lists)])
        )


def simulate(people: People, exploration: Exploration, n_users: int, folder: Path, seed: int) -> Dataset:
    """Write a log of requests of some users of the population, one to three each, and return what they chose later."""
    rng = np.random.default_rng(seed)
    merging = Merging(plan_of(LOGGED, PATHS), None, exploration)
    values = stored_values(LOGGED)
    windows = (QUOTA,) * len(PATHS)
    served = Served(
        None,
        0,
        0,
        values,
        json_digest(values),
        None,
        exploration,
        PATHS,
        windows,
        windows,
        0,
        Vocabulary(np.arange(ITEMS)),
    )
    tables, needed, rows = TableWriter(folder), Needed(), []
    chosen: list[tuple[int, int, int]] = []
    for number, member in enumerate(rng.integers(0, len(people.lists), n_users).tolist()):
        for day in range(int(rng.integers(1, 4))):
            moment, name = START + 2 * DAY_S * day + number, f"{seed} {number} {day}"
            fused, draw = merging.merge(people.lists[member], 9, K, name)
            told = observed(served, people.lists[member], fused, draw, Request((number,), (name,), float(moment)))
            rows += rows_of(told, np.zeros(1, np.int64), UserNames(), tables, needed)
            liked = fused.items[rng.random(len(fused)) < people.likes[member, fused.items]]
            chosen += [(number, item, moment + 60) for item in liked.tolist()]
    ensure(needed)
    write_part(new_part(folder, date(2026, 6, 1)), rows)
    return Dataset.from_frames(pl.DataFrame(chosen, ["user_id", "item_id", "timestamp"], orient="row"))


def observed(
    served: Served, lists: Sequence[RankedList], fused: FusedList, draw: Draw | None, request: Request
) -> Observation:
    """What an observer is shown of one answer."""
    answer = Candidates(
        ids=fused.items,
        scores=fused.scores,
        ranks=fused.ranks,
        paths=served.paths,
        status={name: PathStatus("ok", QUOTA, 0.1) for name in served.paths},
        n_backfilled=0,
        shortfall=0,
        draw=draw,
    )
    part = Proposed(
        served,
        np.zeros(1, np.int64),
        tuple(RankedBatch.from_lists([one]) for one in lists),
        np.full(1, 9, np.int64),
        (np.empty(0, np.int32),),
        Where(),
    )
    return Observation("retrieve", answer, K, 1.0, False, np.zeros(1, np.int64), request, lambda: (part,))

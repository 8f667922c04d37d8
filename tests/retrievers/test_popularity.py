from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from multirecall.data import Dataset
from multirecall.errors import CannotFit
from multirecall.progress import SILENT
from multirecall.query import Query
from multirecall.retrievers.popularity import Popularity, PopularityConfig
from multirecall.testing import RetrieverContract, small_shop

DAY = 86_400


class TestPopularity(RetrieverContract):
    retriever = Popularity
    exact_live = True


class TestBySegment(RetrieverContract):
    retriever = Popularity
    exact_live = True
    params = {"segment": "country", "smoothing": 5.0}


class TestFadedBySegment(RetrieverContract):
    """Most counts have decayed so far that their scores only keep their order."""

    retriever = Popularity
    exact_live = True
    params = {"segment": "country", "smoothing": 5.0, "half_life_days": 0.2}


def fit_path(data: Dataset, **params: Any) -> Popularity:
    path = Popularity(PopularityConfig.model_validate(params))
    path.fit(data, rng=np.random.default_rng(0), progress=SILENT)
    return path


def ask(path: Popularity, quota: int = 100, **features: Any) -> dict[int, float]:
    ranked = path.retrieve(Query(-1, np.empty(0, np.int32), np.empty(0, np.float32), features=features), quota)
    return dict(zip(ranked.items.tolist(), ranked.scores.tolist(), strict=True))


def test_decay_written_out() -> None:
    log = pl.DataFrame(
        {
            "user_id": [1, 2, 3, 1],
            "item_id": [0, 0, 1, 2],
            "timestamp": [0, 10 * DAY, 20 * DAY, 20 * DAY],
            "weight": [1, 1, 1, 3],
        }
    )
    items = pl.DataFrame({"item_id": range(5), "kind": ["a"] * 5})
    scores = ask(fit_path(Dataset.from_frames(log, items), half_life_days=10))
    assert scores == pytest.approx({2: 3.0, 1: 1.0, 0: 0.25 + 0.5, 3: 0.0, 4: 0.0})
    assert [*scores] == [2, 1, 0, 3, 4], "items without interactions come last, by row"


def test_old_events_still_stand_before_none() -> None:
    log = pl.DataFrame({"user_id": [1, 1, 1], "item_id": [4, 2, 3], "timestamp": [0, 0, 3_000 * DAY]})
    items = pl.DataFrame({"item_id": range(5), "kind": ["a"] * 5})
    assert [*ask(fit_path(Dataset.from_frames(log, items), half_life_days=7))] == [3, 2, 4, 0, 1]


def test_ranks_every_item() -> None:
    data = small_shop()
    for features in ({}, {"country": "DE"}):
        assert ask(fit_path(data, segment="country"), 1000, **features).keys() == set(range(data.n_items))


def test_segment_written_out() -> None:
    log = pl.DataFrame({"user_id": [1, 1, 2, 3, 3], "item_id": [0, 1, 1, 2, 2]})
    users = pl.DataFrame({"user_id": [1, 2, 3], "country": ["DE", "DE", "FR"]})
    path = fit_path(Dataset.from_frames(log, users=users), segment="country", smoothing=10)
    prior = {0: 10 / 5, 1: 20 / 5, 2: 20 / 5}
    assert ask(path, country="DE") == pytest.approx({0: prior[0] + 1, 1: prior[1] + 2, 2: prior[2]})
    assert ask(path, country="FR") == pytest.approx({0: prior[0], 1: prior[1], 2: prior[2] + 2})
    assert ask(path, country="IT") == ask(path) == pytest.approx({0: 1.0, 1: 2.0, 2: 2.0})


@pytest.mark.parametrize(
    ("field", "message"),
    [("county", "is no user feature; did you mean 'country'"), ("age", "is of kind number; choose a categorical")],
)
def test_segment_must_exist(field: str, message: str) -> None:
    log = pl.DataFrame({"user_id": [1], "item_id": [0]})
    users = pl.DataFrame({"user_id": [1], "country": ["DE"], "age": [31]})
    with pytest.raises(CannotFit, match=message):
        fit_path(Dataset.from_frames(log, users=users), segment=field)

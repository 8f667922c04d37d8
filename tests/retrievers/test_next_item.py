from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from multirecall.data import Dataset
from multirecall.errors import CannotFit
from multirecall.progress import SILENT
from multirecall.query import Query
from multirecall.retrievers.next_item import NextItem, NextItemConfig
from multirecall.testing import RetrieverContract, small_shop
from multirecall.testing.worlds import queries

Matrix = np.typing.NDArray[np.float64]


class TestTwoSpeeds(RetrieverContract):
    retriever = NextItem
    params = {"regularisation": 5.0}


class TestOneSpeed(RetrieverContract):
    retriever = NextItem
    params = {"half_lives": [3.0]}


def fit_path(data: Dataset, **params: object) -> NextItem:
    path = NextItem(NextItemConfig.model_validate(params))
    path.fit(data, rng=np.random.default_rng(0), progress=SILENT)
    return path


def weighted_log() -> Dataset:
    """Short histories with repeats and weights."""
    rng = np.random.default_rng(3)
    n = 300
    frame = pl.DataFrame({"user_id": rng.integers(0, 40, n), "item_id": rng.integers(0, 12, n)})
    return Dataset.from_frames(
        frame.with_columns(position=pl.Series(np.arange(n)), weight=pl.Series(rng.choice([0.0, 1.0, 3.0], n)))
    )


def row(items: list[int], weights: list[float], half_lives: list[float], n_items: int) -> Matrix:
    """The inputs that a history gives, (n_speeds · n_items,)."""
    found = np.zeros((len(half_lives), n_items))
    for speed, half_life in enumerate(half_lives):
        for age, (item, weight) in enumerate(zip(reversed(items), reversed(weights), strict=True)):
            found[speed, item] += weight * 0.5 ** (age / half_life)
    return found.ravel()


def textbook(data: Dataset, half_lives: list[float], regularisation: float) -> Matrix:
    """Weighted ridge regression over one row for each event."""
    log = data.interactions
    inputs, targets, weights = [], [], []
    for user in range(data.n_users):
        part = log.of_user(user)
        items, own = log.items[part].tolist(), log.weights[part].tolist()
        for t in range(1, len(items)):
            inputs.append(row(items[:t], own[:t], half_lives, data.n_items))
            targets.append(np.eye(data.n_items)[items[t]])
            weights.append(own[t])
    x, y, w = np.array(inputs), np.array(targets), np.array(weights)[:, None]
    return np.linalg.solve(x.T @ (w * x) + regularisation * np.eye(x.shape[1]), x.T @ (w * y))


TRUNCATED = 5e-4
"""What passing over events that weigh less than 0.1 % may change in a score."""


@pytest.mark.parametrize("half_lives", [[2.0], [1.5, 15.0], [1.0, 4.0, 40.0]])
def test_equals_the_textbook(half_lives: list[float]) -> None:
    data = weighted_log()
    path = fit_path(data, half_lives=half_lives, regularisation=20.0)
    expected = textbook(data, half_lives, 20.0)
    for query in queries(data):
        scores = row(query.history.tolist(), query.weights.tolist(), half_lives, data.n_items) @ expected
        ranked = path.retrieve(query, data.n_items)
        np.testing.assert_allclose(ranked.scores, scores[ranked.items], atol=TRUNCATED)
        assert set(np.flatnonzero(scores > 1e-3).tolist()) <= set(ranked.items.tolist())


def test_learns_a_cycle_and_its_direction() -> None:
    """Every user walks round 0 → 1 → … → 9 → 0 from another start."""
    frame = pl.DataFrame({"user_id": np.repeat(np.arange(50), 30), "position": np.tile(np.arange(30), 50)})
    data = Dataset.from_frames(frame.with_columns(item_id=(pl.col("user_id") + pl.col("position")) % 10))
    path = fit_path(data, regularisation=10.0)
    for last in range(10):
        history = (np.arange(last - 4, last + 1) % 10).astype(np.int32)
        assert path.retrieve(Query(-1, history, np.ones(5, np.float32)), 1).items.tolist() == [(last + 1) % 10]


def test_log_without_order_is_refused() -> None:
    with pytest.raises(CannotFit, match=r"next_item: .* 'timestamp' or 'position'"):
        fit_path(small_shop(timestamps=False))


def test_names_the_field_that_bounds_memory() -> None:
    with pytest.raises(CannotFit, match=r"next_item: .* memory_bytes = 1,000; raise memory_bytes"):
        fit_path(small_shop(), memory_bytes=1_000)

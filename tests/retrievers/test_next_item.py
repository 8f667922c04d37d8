from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from multirecall.data import Dataset
from multirecall.errors import BundleError, CannotFit
from multirecall.progress import SILENT
from multirecall.query import Query
from multirecall.retrievers.next_item import NextItem, NextItemConfig
from multirecall.testing import RetrieverContract, small_shop
from multirecall.testing.worlds import queries

Matrix = np.typing.NDArray[np.float64]


class TestExact(RetrieverContract):
    retriever = NextItem
    params = {"form": "exact", "regularisation": 5.0}


class TestOneSpeed(RetrieverContract):
    retriever = NextItem
    params = {"form": "exact", "half_lives": [3.0]}


class TestSparse(RetrieverContract):
    retriever = NextItem
    params = {"form": "sparse", "regularisation": 5.0, "inputs": 8, "threads": 2}


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


def textbook(data: Dataset, half_lives: list[float], regularisation: float, *, sparse: bool = False) -> Matrix:
    """Weighted ridge regression over one row for each event; the penalty is in units of events of the mean weight.

    If `sparse`, each target is regressed on the inputs alone that occur before it.
    """
    log = data.interactions
    regularisation *= float(log.weights @ log.weights / log.weights.sum()) ** 3
    inputs, targets, weights = [], [], []
    for user in range(data.n_users):
        part = log.of_user(user)
        items, own = log.items[part].tolist(), log.weights[part].tolist()
        for t in range(1, len(items)):
            inputs.append(row(items[:t], own[:t], half_lives, data.n_items))
            targets.append(np.eye(data.n_items)[items[t]])
            weights.append(own[t])
    x, y, w = np.array(inputs), np.array(targets), np.array(weights)[:, None]
    gram, products = x.T @ (w * x) + regularisation * np.eye(x.shape[1]), x.T @ (w * y)
    found: Matrix = np.zeros_like(products)
    for target in range(data.n_items):
        chosen = np.flatnonzero(products[:, target]) if sparse else np.arange(len(gram))
        found[chosen, target] = np.linalg.solve(gram[np.ix_(chosen, chosen)], products[chosen, target])
    return found


TRUNCATED = 5e-4
"""What passing over events that weigh less than 0.1 % may change in a score."""


@pytest.mark.parametrize("form", ["exact", "sparse"])
@pytest.mark.parametrize("half_lives", [[2.0], [1.5, 15.0], [1.0, 4.0, 40.0]])
def test_equals_the_textbook(half_lives: list[float], form: str) -> None:
    """In the sparse form too, on all inputs that occur before a target."""
    data = weighted_log()
    path = fit_path(data, half_lives=half_lives, regularisation=2.0, form=form, inputs=999)
    expected = textbook(data, half_lives, 2.0, sparse=form == "sparse")
    for query in queries(data):
        scores = row(query.history.tolist(), query.weights.tolist(), half_lives, data.n_items) @ expected
        ranked = path.retrieve(query, data.n_items)
        np.testing.assert_allclose(ranked.scores, scores[ranked.items], atol=TRUNCATED)
        assert set(np.flatnonzero(scores > 1e-3).tolist()) <= set(ranked.items.tolist())


def test_sparse_form_takes_the_inputs_that_tell_most() -> None:
    """With one input for each item, that of the largest product: who has taken 2i takes 2i + 1 next, then any item."""
    rng = np.random.default_rng(5)
    pairs = rng.integers(0, 10, (400, 1)) * 2 + np.array([0, 1])
    events = np.concatenate([pairs, 20 + rng.integers(0, 10, (400, 1))], axis=1).ravel()
    data = Dataset.from_frames(
        pl.DataFrame({"user_id": np.arange(1_200) // 120, "item_id": events, "position": np.arange(1_200) % 120})
    )
    path = fit_path(data, half_lives=[0.75], form="sparse", inputs=1, regularisation=10.0)
    for first in range(0, 20, 2):
        one = Query(-1, np.array([first], np.int32), np.ones(1, np.float32))
        assert path.retrieve(one, 30).items.tolist()[:1] == [first + 1]
    lists = [path.retrieve(Query(-1, np.array([i], np.int32), np.ones(1, np.float32)), 99) for i in range(30)]
    assert sum(map(len, lists)) <= data.n_items


def test_threads_change_no_bit() -> None:
    data = weighted_log()
    one, two = (fit_path(data, form="sparse", inputs=5, threads=threads) for threads in (1, 2))
    for query in queries(data):
        assert one.retrieve(query, 9).scores.tolist() == two.retrieve(query, 9).scores.tolist()


def test_unit_of_the_weights_changes_nothing() -> None:
    """Scores grow with the weights of a history, ranks do not: weights in another unit give the same lists."""
    frame = pl.DataFrame({"user_id": np.arange(200) // 10, "item_id": np.random.default_rng(4).integers(0, 9, 200)})
    frame = frame.with_columns(position=pl.Series(np.arange(200)))
    plain, heavy = (fit_path(Dataset.from_frames(frame.with_columns(weight=pl.lit(w)))) for w in (1.0, 4.0))
    history = np.array([3, 1, 4], np.int32)
    left, right = (
        path.retrieve(Query(-1, history, np.full(3, w, np.float32)), 9) for path, w in ((plain, 1.0), (heavy, 4.0))
    )
    assert left.items.tolist() == right.items.tolist()
    np.testing.assert_allclose(left.scores, right.scores, rtol=1e-3)


@pytest.mark.parametrize("n_items", [10, 100])
def test_auto_takes_the_sparse_form_for_few_events_an_item(n_items: int) -> None:
    frame = pl.DataFrame({"user_id": np.arange(600) // 10, "item_id": np.arange(600) % n_items, "position": range(600)})
    data = Dataset.from_frames(frame)
    auto = fit_path(data, inputs=4)
    expected = fit_path(data, inputs=4, form="exact" if n_items == 10 else "sparse")
    for query in queries(data)[:5]:
        assert auto.retrieve(query, 9).scores.tolist() == expected.retrieve(query, 9).scores.tolist()


@pytest.mark.parametrize("form", ["exact", "sparse"])
def test_is_read_as_it_was_saved(form: str, tmp_path: Path) -> None:
    data = small_shop()
    path = fit_path(data, form=form, inputs=5)
    path.save(tmp_path)
    again = NextItem.load(path.config, tmp_path, data)
    for query in queries(data):
        assert again.retrieve(query, 9).scores.tolist() == path.retrieve(query, 9).scores.tolist()
    with pytest.raises(BundleError, match="holds weights of 2 speeds"):
        NextItem.load(NextItemConfig(half_lives=(3.0,)), tmp_path, data)


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


@pytest.mark.parametrize(("form", "remedy"), [("exact", "set form to 'sparse'"), ("sparse", "lower inputs")])
def test_names_the_field_that_bounds_memory(form: str, remedy: str) -> None:
    with pytest.raises(CannotFit, match=rf"next_item: .* memory_bytes = 1,000; raise memory_bytes, .* or {remedy}"):
        fit_path(small_shop(), memory_bytes=1_000, form=form)

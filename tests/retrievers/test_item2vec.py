from __future__ import annotations

from collections import defaultdict

import numpy as np
import polars as pl
import pytest

from multirecall.data import Dataset, Interactions
from multirecall.progress import SILENT
from multirecall.query import Query
from multirecall.registry import retriever_class
from multirecall.retrievers._neighbours.knn import RECALL, nearest_neighbours
from multirecall.retrievers._sparse.units import unit_rows
from multirecall.retrievers._text.cold_start import with_cold_items
from multirecall.retrievers.item2vec import Item2Vec, Item2VecConfig, sequences
from multirecall.testing import RetrieverContract, small_shop

HOUR = 3_600


class TestItem2Vec(RetrieverContract):
    retriever = Item2Vec
    params = {"dim": 8, "epochs": 5}


class TestContinuousBagOfWords(RetrieverContract):
    retriever = Item2Vec
    params = {"dim": 8, "epochs": 5, "cbow": True, "session_gap_hours": 24.0, "similar": 0}


def log(users: list[int], items: list[int], times: list[int] | None) -> Interactions:
    frame = pl.DataFrame({"user_id": users, "item_id": items})
    return Dataset.from_frames(frame if times is None else frame.with_columns(timestamp=pl.Series(times))).interactions


def test_histories_are_cut_at_long_pauses() -> None:
    events = log([1, 1, 1, 1, 2, 2], [0, 1, 2, 3, 4, 5], [0, HOUR, 4 * HOUR, 5 * HOUR, 5 * HOUR, 6 * HOUR])
    rng = np.random.default_rng(0)
    assert sequences(events, None, rng)[1].tolist() == [0, 4, 6]
    tokens, offsets = sequences(events, 2.0, rng)
    assert tokens.tolist() == [0, 1, 2, 3, 4, 5]
    assert offsets.tolist() == [0, 2, 4, 6]


def test_unordered_histories_are_shuffled_within_themselves() -> None:
    events = log([1] * 30 + [2] * 30, [*range(60)], None)
    tokens, offsets = sequences(events, 2.0, np.random.default_rng(0))
    assert offsets.tolist() == [0, 30, 60]
    assert sorted(tokens[:30].tolist()) == [*range(30)]
    assert tokens[:30].tolist() != [*range(30)]


def test_neighbours_equal_the_cosines() -> None:
    vectors = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    vectors[7] = 0
    neighbours = nearest_neighbours(unit_rows(vectors), 6, SILENT, "")
    norms = np.linalg.norm(vectors, axis=1)
    for row in range(40):
        cosines = {
            other: float(vectors[row] @ vectors[other] / (norms[row] * norms[other]))
            for other in range(40)
            if row != other and norms[row] * norms[other] > 0
        }
        expected = sorted((other for other in cosines if cosines[other] > 0), key=lambda other: -cosines[other])[:6]
        part = slice(neighbours.offsets[row], neighbours.offsets[row + 1])
        assert neighbours.columns[part].tolist() == expected
        assert neighbours.values[part].tolist() == pytest.approx([cosines[other] for other in expected], rel=1e-4)


@pytest.mark.parametrize("name", ["item2vec", "node2vec"])
def test_scores_are_cosines_to_the_history_and_an_item_counts_for_itself(name: str) -> None:
    data = small_shop()
    plugin = retriever_class(name)
    path = plugin(plugin.Config.model_validate({"dim": 8, "neighbours": 7, "half_life": 2.0}))
    path.fit(data, rng=np.random.default_rng(0), progress=SILENT)
    units = path._units.whole()  # type: ignore[attr-defined]
    history = np.array([3, 11, 3, 0], np.int32)
    expected: dict[int, float] = defaultdict(float)
    for item, weight in ((0, 1.0), (3, 0.5**0.5), (11, 0.5)):
        cosines = np.where(np.arange(data.n_items) == item, -1.0, units @ units[item])
        expected[item] += weight
        for near in np.argsort(-cosines)[:7].tolist():
            expected[near] += weight * max(cosines[near], 0.0)
    found = path.retrieve(Query(-1, history, np.ones(4, np.float32)), 1_000)
    scores = dict(zip(found.items.tolist(), found.scores.tolist(), strict=True))
    assert scores == pytest.approx({item: score for item, score in expected.items() if score > 0}, rel=1e-4)


def test_neighbours_of_a_large_catalogue_come_from_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    vectors[7] = 0
    exact = nearest_neighbours(unit_rows(vectors), 6, SILENT, "")
    monkeypatch.setattr("multirecall.retrievers._neighbours.knn.EXACT_UP_TO", 10)
    found = nearest_neighbours(unit_rows(vectors), 6, SILENT, "", threads=2)
    assert found.offsets.tolist() == exact.offsets.tolist()
    rows = np.repeat(np.arange(300), np.diff(found.offsets))
    missed = set(zip(rows, exact.columns, strict=True)) - set(zip(rows, found.columns, strict=True))
    assert 1 - len(missed) / len(rows) >= RECALL - 0.01
    assert not (found.columns == rows).any()


def test_cold_item_takes_the_mean_of_its_like() -> None:
    items = pl.DataFrame({"item_id": range(6), "kind": ["a", "a", "b", "b", "a", "c"]})
    data = Dataset.from_frames(pl.DataFrame({"user_id": [0] * 4, "item_id": [0, 1, 2, 3]}), items)
    vectors = np.array([[3, 0], [0, 2], [-1, 0], [-1, 0], [9, 9], [9, 9]], np.float32)
    filled, _ = with_cold_items(vectors, data, 10)
    assert (filled[:4] == vectors[:4]).all()
    assert filled[4, 0] == pytest.approx(filled[4, 1])
    assert filled[4, 0] > 0
    assert filled[5].tolist() == [0, 0], "nothing is like it"
    assert (with_cold_items(vectors, data, 0)[0][4:] == 0).all()


def test_cold_items_are_proposed() -> None:
    data = small_shop()
    cold = set(range(data.n_items)) - set(data.interactions.items.tolist())
    assert cold
    path = Item2Vec(Item2VecConfig(dim=8, epochs=5))
    path.fit(data, rng=np.random.default_rng(0), progress=SILENT)
    everything = Query(-1, np.arange(10, dtype=np.int32), np.ones(10, np.float32))
    assert cold & set(path.retrieve(everything, data.n_items).items.tolist())

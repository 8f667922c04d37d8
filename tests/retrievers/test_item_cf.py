from __future__ import annotations

import numpy as np
import oracles
import polars as pl
import pytest
from scipy.sparse import csr_array

from multirecall.data import Dataset
from multirecall.progress import SILENT
from multirecall.query import Query
from multirecall.retrievers._neighbours import cooccurrence
from multirecall.retrievers.item_cf import ItemCF, ItemCFConfig
from multirecall.testing import RetrieverContract, checkerboard, small_shop
from multirecall.testing.worlds import queries


class TestItemCF(RetrieverContract):
    retriever = ItemCF


class TestThreadedWithoutDecay(RetrieverContract):
    retriever = ItemCF
    params = {"threads": 2, "half_life": None, "shrinkage": 0, "neighbours": 7}


def fit_path(data: Dataset, **params: object) -> ItemCF:
    path = ItemCF(ItemCFConfig.model_validate(params))
    path.fit(data, rng=np.random.default_rng(0), progress=SILENT)
    return path


def weights(data: Dataset) -> dict[int, dict[int, float]]:
    """By user, then item: the largest weight."""
    log = data.interactions
    chosen: dict[int, dict[int, float]] = {}
    for user, item, weight in zip(log.users.tolist(), log.items.tolist(), log.weights.tolist(), strict=True):
        row = chosen.setdefault(user, {})
        row[item] = max(row.get(item, 0.0), weight)
    return chosen


def weighted_shop() -> Dataset:
    rng = np.random.default_rng(3)
    frame = pl.DataFrame({"user_id": rng.integers(0, 25, 300), "item_id": rng.integers(0, 30, 300)})
    return Dataset.from_frames(frame.with_columns(weight=pl.Series(rng.choice([1.0, 2.0, 5.0], 300))))


FAMILY = [
    (0.0, 0.5, 0.5, 0.0),  # cosine
    (0.5, 0.7, 0.7, 25.0),  # the default
    (1.0, 1.0, 0.4, 0.0),  # RP3β
    (0.0, 0.8, 0.2, 0.0),  # asymmetric cosine
]


@pytest.mark.parametrize(("user", "source", "target", "shrinkage"), FAMILY)
@pytest.mark.parametrize("world", ["plain", "weighted"])
def test_equals_the_dense_textbook(world: str, user: float, source: float, target: float, shrinkage: float) -> None:
    data = small_shop(timestamps=False) if world == "plain" else weighted_shop()
    path = fit_path(
        data,
        user_exponent=user,
        source_exponent=source,
        target_exponent=target,
        shrinkage=shrinkage,
        neighbours=data.n_items,
    )
    chosen = weights(data)
    expected = oracles.similarities(chosen, user=user, source=source, target=target, shrinkage=shrinkage)
    for query in queries(data)[:10]:
        scores: dict[int, float] = {}
        newest = dict(zip(query.history.tolist(), query.weights.tolist(), strict=True))
        for item, weight in newest.items():
            for other, similarity in expected.get(item, {}).items():
                scores[other] = scores.get(other, 0.0) + weight * similarity
        ranked = path.retrieve(query, data.n_items)
        assert dict(zip(ranked.items.tolist(), ranked.scores.tolist(), strict=True)) == pytest.approx(scores, rel=1e-5)


def test_knows_the_checkerboard() -> None:
    data = checkerboard()
    path = fit_path(data, shrinkage=0)
    for query in queries(data)[: data.n_users]:
        own = Query(query.user, query.history, query.weights, ordered=False, exclude=np.unique(query.history))
        assert path.retrieve(own, 3).items.tolist() == [query.user]


def test_keeps_only_the_best_neighbours() -> None:
    data = small_shop()
    alone = Query(-1, np.array([4], np.int32), np.ones(1, np.float32))
    everything = fit_path(data, neighbours=data.n_items).retrieve(alone, 100)
    few = fit_path(data, neighbours=3).retrieve(alone, 100)
    assert few.items.tolist() == everything.items[:3].tolist()


def test_newer_items_weigh_more_and_repeats_count_once() -> None:
    data = small_shop()
    path = fit_path(data, half_life=2, neighbours=data.n_items)

    def scores(*history: int) -> dict[int, float]:
        ranked = path.retrieve(Query(-1, np.array(history, np.int32), np.ones(len(history), np.float32)), 100)
        return dict(zip(ranked.items.tolist(), ranked.scores.tolist(), strict=True))

    first, second = scores(2), scores(6)
    both = {item: first.get(item, 0) * 0.5**0.5 + second.get(item, 0) for item in {*first, *second}}
    assert scores(2, 6) == pytest.approx(both, rel=1e-5)
    assert scores(6, 2, 6) == scores(2, 6)


def test_order_means_nothing_in_a_log_without_times() -> None:
    data = small_shop(timestamps=False)
    path = fit_path(data)
    query = queries(data)[0]
    mirrored = Query(query.user, query.history[::-1].copy(), query.weights[::-1].copy(), ordered=False)
    assert path.retrieve(query, 20).items.tolist() == path.retrieve(mirrored, 20).items.tolist()


@pytest.mark.parametrize("world", ["plain", "weighted"])
def test_lists_of_shared_counts_equal_those_of_a_fit_to_the_bit(world: str) -> None:
    """For some sources, and several item exponents on one count; other items have no list."""
    data = small_shop(timestamps=False) if world == "plain" else weighted_shop()
    sources = np.arange(0, data.n_items, 3)[::-1]
    counts = None
    for user in (0.0, 0.5):
        counts = cooccurrence.Cooccurrences.count(data.interactions.matrix, sources, user, counts)
        for source, target, shrinkage in ((0.5, 0.5, 0.0), (0.7, 0.7, 25.0), (1.0, 0.3, 25.0)):
            exponents = {"user_exponent": user, "source_exponent": source, "target_exponent": target}
            fitted = fit_path(data, **exponents, shrinkage=shrinkage, neighbours=5)._neighbours
            shared = counts.neighbours(source, target, shrinkage, 5)
            for item in range(data.n_items):
                own, expected = (slice(*one.offsets[item : item + 2]) for one in (shared, fitted))
                if item not in sources:
                    assert own.start == own.stop
                    continue
                assert shared.columns[own].tolist() == fitted.columns[expected].tolist()
                assert shared.values[own].tolist() == fitted.values[expected].tolist()


def test_of_a_user_with_very_many_items_some_make_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of seven items three make pairs: the first, the middle and the last; the sums of user and items stay whole."""
    monkeypatch.setattr(cooccurrence, "MOST_ITEMS", 3)
    users, items = [1] * 7 + [2, 2, 3], [*range(7), 1, 2, 1]
    data = Dataset.from_frames(pl.DataFrame({"user_id": users, "item_id": items}))
    path = fit_path(data, user_exponent=1.0, source_exponent=1.0, target_exponent=1.0, shrinkage=0)

    def scores(item: int) -> dict[int, float]:
        ranked = path.retrieve(Query(-1, np.array([item], np.int32), np.ones(1, np.float32), ordered=False), 9)
        return dict(zip(ranked.items.tolist(), ranked.scores.tolist(), strict=True))

    assert scores(0) == pytest.approx({3: 1 / 7, 6: 1 / 7})
    assert scores(1) == pytest.approx({2: 1 / 2 / (3 * 2)})
    assert scores(4) == {}


def test_rows_of_a_matrix_are_thinned_evenly() -> None:
    matrix = csr_array(np.arange(1, 41, dtype=np.float32).reshape(4, 10) * (np.arange(10) < [[10], [4], [0], [5]]))
    dense = cooccurrence.thin_rows(matrix, 4).toarray()
    assert [np.flatnonzero(row).tolist() for row in dense] == [[0, 3, 6, 9], [0, 1, 2, 3], [], [0, 1, 2, 4]]
    assert dense[dense > 0].tolist() == matrix.toarray()[dense > 0].tolist()
    assert cooccurrence.thin_rows(matrix, 10) is matrix

from __future__ import annotations

import numpy as np
import pytest
from worlds import weighted_shop

from multirecall.data import Dataset
from multirecall.errors import CannotFit
from multirecall.progress import SILENT
from multirecall.query import Query
from multirecall.retrievers._neighbours.ridge import gram_matrix, nearest_by_cosine, sparse_weights
from multirecall.retrievers.ease import EASE, EASEConfig
from multirecall.testing import RetrieverContract, checkerboard, small_shop
from multirecall.testing.worlds import queries


class TestExact(RetrieverContract):
    retriever = EASE
    params = {"regularisation": 10.0}


class TestSparse(RetrieverContract):
    retriever = EASE
    params = {"form": "sparse", "regularisation": 10.0, "neighbours": 8, "threads": 2}


def fit_path(data: Dataset, **params: object) -> EASE:
    path = EASE(EASEConfig.model_validate(params))
    path.fit(data, rng=np.random.default_rng(0), progress=SILENT)
    return path


def textbook(
    data: Dataset, regularisation: float, sources: np.typing.NDArray[np.bool_]
) -> np.typing.NDArray[np.float64]:
    """Ridge regression of each item on its sources, (n_items, n_items) by source and target, one after the other."""
    dense = data.interactions.matrix.toarray().astype(np.float64)
    weights = np.zeros((data.n_items, data.n_items))
    for target in range(data.n_items):
        others = np.flatnonzero(sources[:, target] & (np.arange(data.n_items) != target))
        inputs = dense[:, others]
        gram = inputs.T @ inputs + regularisation * np.eye(others.size)
        weights[others, target] = np.linalg.solve(gram, inputs.T @ dense[:, target])
    return weights


@pytest.mark.parametrize("form", ["exact", "sparse"])
@pytest.mark.parametrize("world", ["plain", "weighted"])
def test_equals_the_textbook(form: str, world: str) -> None:
    data = small_shop(timestamps=False) if world == "plain" else weighted_shop()
    path = fit_path(data, form=form, regularisation=7.0, half_life=None, neighbours=data.n_items)
    similar = (data.interactions.matrix.T @ data.interactions.matrix).toarray() > 0
    expected = textbook(data, 7.0, similar if form == "sparse" else np.ones_like(similar))
    for item in range(data.n_items):
        ranked = path.retrieve(Query(-1, np.array([item], np.int32), np.ones(1, np.float32)), data.n_items)
        assert set(np.flatnonzero(expected[item] > 1e-6).tolist()) <= set(ranked.items.tolist())
        np.testing.assert_allclose(ranked.scores, expected[item, ranked.items], atol=1e-5)


def test_weights_below_zero_count() -> None:
    """The sum over a history is that of the textbook's weights, those below 0 included."""
    data = weighted_shop()
    path = fit_path(data, regularisation=7.0, half_life=None)
    expected = textbook(data, 7.0, np.ones((data.n_items, data.n_items), np.bool_))
    assert (expected < -1e-3).any()
    for query in queries(data):
        items = np.unique(query.history)
        weights = np.array([query.weights[query.history == item][-1] for item in items])
        ranked = path.retrieve(query, data.n_items)
        np.testing.assert_allclose(ranked.scores, (weights @ expected[items])[ranked.items], atol=1e-4)


def test_few_neighbours_are_few_weights() -> None:
    data = small_shop()
    path = fit_path(data, form="sparse", neighbours=3, regularisation=5.0)
    proposed = [path.retrieve(Query(-1, np.array([i], np.int32), np.ones(1, np.float32)), 99) for i in range(60)]
    assert 0 < sum(map(len, proposed)) <= 3 * data.n_items


@pytest.mark.parametrize("form", ["exact", "sparse"])
def test_knows_the_checkerboard(form: str) -> None:
    data = checkerboard()
    path = fit_path(data, form=form, regularisation=1.0)
    for query in queries(data)[: data.n_users]:
        own = Query(query.user, query.history, query.weights, ordered=False, exclude=np.unique(query.history))
        assert path.retrieve(own, 1).items.tolist() == [query.user]


@pytest.mark.parametrize("world", ["plain", "weighted"])
def test_the_gram_matrix_of_all_items_changes_no_bit_of_the_sparse_form(world: str) -> None:
    matrix = (small_shop() if world == "plain" else weighted_shop()).interactions.matrix
    similar = nearest_by_cosine(matrix, 6, 1, SILENT)
    local = sparse_weights(matrix, similar, 5.0, 1, SILENT)
    shared = sparse_weights(matrix, similar, 5.0, 1, SILENT, gram_matrix(matrix))
    for name, array in local.arrays().items():
        np.testing.assert_array_equal(array, shared.arrays()[name])


def test_auto_takes_the_form_that_fits() -> None:
    data = small_shop()
    exact, sparse = fit_path(data, form="exact"), fit_path(data, form="sparse", neighbours=4)
    query = queries(data)[0]
    for memory, expected in ((2**31, exact), (8_000, sparse)):
        auto = fit_path(data, memory_bytes=memory, neighbours=4)
        assert auto.retrieve(query, 20).scores.tolist() == expected.retrieve(query, 20).scores.tolist()


@pytest.mark.parametrize(
    ("params", "remedy"),
    [
        ({"form": "exact", "memory_bytes": 100}, "set form to 'sparse'"),
        ({"form": "sparse", "memory_bytes": 100}, "lower neighbours"),
    ],
)
def test_names_the_field_that_bounds_memory(params: dict[str, object], remedy: str) -> None:
    with pytest.raises(CannotFit, match=f"memory_bytes = 100; raise memory_bytes, or {remedy}"):
        fit_path(small_shop(), **params)

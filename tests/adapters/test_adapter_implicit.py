"""With models that the library itself has fitted, saved and asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from foreign import ask_for_new_items, assert_same_above_every_tie, some_ids, thousand_users
from scipy.sparse import csr_matrix

from multirecall import Dataset, Engine, EngineConfig
from multirecall.errors import CannotFit, DataError
from multirecall.progress import SILENT
from multirecall.query import Query
from multirecall.retrievers.adapters.implicit import ImplicitConfig, ImplicitModel
from multirecall.testing import RetrieverContract, small_shop
from multirecall.testing.worlds import queries

implicit = pytest.importorskip("implicit", reason="the library is not installed: multirecall[test]")
pytestmark = pytest.mark.filterwarnings("ignore:OpenBLAS is configured", "ignore:Method expects CSR input")


def fitted(kind: str, matrix: csr_matrix, dtype: Any = np.float32) -> Any:
    """A model of a few factors, fitted on one thread."""
    common = {"factors": 6, "num_threads": 1, "random_state": 3}
    model: Any = {
        "als": lambda: implicit.als.AlternatingLeastSquares(
            **common, iterations=3, alpha=2.5, regularization=0.3, dtype=dtype, use_gpu=False
        ),
        "bpr": lambda: implicit.bpr.BayesianPersonalizedRanking(**common, iterations=5, use_gpu=False),
        "lmf": lambda: implicit.lmf.LogisticMatrixFactorization(**common, iterations=5),
        "bm25": lambda: implicit.nearest_neighbours.BM25Recommender(K=12, num_threads=1),
        "cosine": lambda: implicit.nearest_neighbours.CosineRecommender(K=12, num_threads=1),
    }[kind]()
    model.fit(matrix, show_progress=False)
    return model


def matrix_of(data: Dataset) -> csr_matrix:
    log = data.interactions
    matrix = csr_matrix((log.weights, (log.users, log.items)), shape=(data.n_users, data.n_items))
    matrix.sum_duplicates()
    return matrix


def fit_path(data: Dataset, **params: Any) -> ImplicitModel:
    path = ImplicitModel(ImplicitConfig.model_validate(params))
    path.fit(data, rng=np.random.default_rng(0), progress=SILENT)
    return path


class ImplicitContract(RetrieverContract):
    """The model is fitted on the small shop and on users and items who join later."""

    retriever = ImplicitModel
    kind = "als"
    folder: Path

    @pytest.fixture(autouse=True)
    def _keep_files_in(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.folder = tmp_path_factory.mktemp("files")

    def fit(self, data: Dataset, seed: int = 5) -> Any:
        rng = np.random.default_rng(1)
        items, users = some_ids("item_id", data), some_ids("user_id", data)[2:]
        dense = rng.integers(0, 4, (len(users), len(items))) * (rng.random((len(users), len(items))) < 0.3)
        files = {name: self.folder / f"{name}.parquet" for name in ("items", "users")}
        pl.DataFrame({"item_id": items}).write_parquet(files["items"])
        pl.DataFrame({"user_id": users}).write_parquet(files["users"])
        fitted(self.kind, csr_matrix(dense.astype(np.float32))).save(str(self.folder / "model.npz"))
        names = {name: str(file) for name, file in files.items()}
        path = fit_path(data, **self.params, **names, model=str(self.folder / "model.npz"))
        for file in self.folder.iterdir():
            file.unlink()
        return path


class TestALS(ImplicitContract):
    pass


class TestFoldIn(ImplicitContract):
    params = {"recalculate_user": True, "half_life": 5.0}
    exact_live = True


class TestBPR(ImplicitContract):
    kind = "bpr"


class TestLMF(ImplicitContract):
    kind = "lmf"


class TestItemItem(ImplicitContract):
    kind = "cosine"
    exact_live = True


@pytest.fixture(scope="module")
def shop() -> Dataset:
    return thousand_users()


@pytest.mark.parametrize(
    ("kind", "recalculate", "dtype"),
    [
        ("als", False, np.float32),
        ("als", True, np.float64),
        ("bpr", False, np.float32),
        ("lmf", False, np.float32),
        ("bm25", False, np.float32),
        ("cosine", False, np.float32),
    ],
)
def test_recommends_what_the_library_recommends(
    tmp_path: Path, shop: Dataset, kind: str, recalculate: bool, dtype: Any
) -> None:
    """To 1,000 users, without what they have chosen."""
    matrix = matrix_of(shop)
    model = fitted(kind, matrix, dtype)
    model.save(str(tmp_path / "model.npz"))
    params = {"model": str(tmp_path / "model.npz"), "recalculate_user": recalculate}
    path = fit_path(shop, **params)
    theirs, scores = model.recommend(np.arange(shop.n_users), matrix, N=30, recalculate_user=recalculate)
    ours = path.retrieve_batch(ask_for_new_items(shop), 20)
    for user in range(shop.n_users):
        kept = (theirs[user] >= 0) & (scores[user] > -1e30)
        if kind in ("bm25", "cosine"):
            kept &= scores[user] > 0  # items that share nothing with the history
        assert_same_above_every_tie(ours[user], theirs[user][kept], scores[user][kept])


def test_ids_of_tables_map_the_rows(tmp_path: Path) -> None:
    """The model knows its rows by other numbers than the data, some of which the data lack."""
    data = small_shop("str")
    rng = np.random.default_rng(2)
    model = fitted("als", matrix_of(data))
    items, users = rng.permutation(data.n_items), rng.permutation(data.n_users)
    model.save(str(tmp_path / "plain.npz"))
    model.item_factors, model.user_factors = model.item_factors[items], model.user_factors[users]
    model.save(str(tmp_path / "other.npz"))
    pl.DataFrame({"item_id": data.items.ids.ids(items)}).write_csv(tmp_path / "items.csv")
    pl.DataFrame({"user_id": data.users.ids.ids(users)}).write_csv(tmp_path / "users.csv")
    names = {name: str(tmp_path / f"{name}.csv") for name in ("items", "users")}
    plain = fit_path(data, model=str(tmp_path / "plain.npz"))
    other = fit_path(data, model=str(tmp_path / "other.npz"), **names)
    for query in queries(data):
        np.testing.assert_allclose(other.retrieve(query, 9).scores, plain.retrieve(query, 9).scores, rtol=1e-5)
        assert other.retrieve(query, 9).items.tolist() == plain.retrieve(query, 9).items.tolist()


def test_visitors_are_folded_in_by_als_alone(tmp_path: Path) -> None:
    data = small_shop()
    visitor = queries(data)[-1]
    for kind, proposes in (("als", True), ("bpr", False)):
        fitted(kind, matrix_of(data)).save(str(tmp_path / "model.npz"))
        path = fit_path(data, model=str(tmp_path / "model.npz"))
        assert bool(len(path.retrieve(visitor, 5))) == proposes


def test_events_without_weight_do_not_count(tmp_path: Path) -> None:
    data = small_shop()
    fitted("als", matrix_of(data)).save(str(tmp_path / "model.npz"))
    path = fit_path(data, model=str(tmp_path / "model.npz"), recalculate_user=True)
    history = np.array([3, 5, 7], np.int32)
    without = path.retrieve(Query(-1, history, np.array([1, 0, 1], np.float32), ordered=False), 9)
    fewer = path.retrieve(Query(-1, history[[0, 2]], np.ones(2, np.float32), ordered=False), 9)
    assert without.scores.tolist() == fewer.scores.tolist()
    assert len(path.retrieve(Query(-1, history, np.zeros(3, np.float32)), 9)) == 0


def test_files_that_are_no_model_are_named(tmp_path: Path) -> None:
    data, file = small_shop(), tmp_path / "model.npz"
    square = np.eye(data.n_items)
    good: dict[str, Any] = {"user_factors": np.ones((data.n_users, 2)), "item_factors": np.ones((data.n_items, 2))}
    matrix = {"data": [1.0], "indices": [data.n_items], "indptr": [0, 1, *[1] * (data.n_items - 1)]}
    for arrays, message in (
        ({"other": square}, r"model.npz: has the arrays other, which are of no fitted model; write it with"),
        (
            {**good, "item_factors": np.ones((data.n_items, 3))},
            r"factors are float64 \(42, 2\) and float64 \(65, 3\); write",
        ),
        ({**good, "item_factors": np.ones(data.n_items)}, r"factors are float64 \(42, 2\) and float64 \(65,\); write"),
        ({**good, "item_factors": np.full((65, 2), "a")}, r"factors are float64 \(42, 2\) and <U1 \(65, 2\); write"),
        ({**good, "alpha": np.array(1.0)}, r"model.npz: regularization is no finite number; write it with"),
        ({**good, "alpha": np.ones(2)}, r"model.npz: alpha is no finite number; write it with"),
        ({**good, "item_factors": good["item_factors"][:9]}, r"has 9 items, the log has 65; name the ids of its rows"),
        ({**good, "user_factors": np.full((42, 2), np.nan)}, r"user_factors: row 0 .* not finite float32"),
        ({**good, "user_factors": np.array([["a"]], object)}, r"cannot be read as npz: .*allow_pickle=False"),
        ({**matrix, "shape": square.shape}, r"holds no similarity matrix: "),
        ({"data": ["a"], "indices": [0], "indptr": [0, 1], "shape": [1, 1]}, r"model.npz: "),
        ({"data": [1.0], "indices": [0], "indptr": [0, 1], "shape": [1]}, r"model.npz: "),
    ):
        np.savez(file, **arrays)
        with pytest.raises(DataError, match=message):
            fit_path(data, model=str(file))
    np.savez(file, **good)
    with pytest.raises(DataError, match="recalculate_user is true, but only models of ALS compute the factors"):
        fit_path(data, model=str(file), recalculate_user=True)
    pl.DataFrame({"item_id": np.arange(data.n_items) + 900}).write_parquet(tmp_path / "items.parquet")
    with pytest.raises(DataError, match=r"items are named in .*items.parquet, users are not; name a table of theirs"):
        fit_path(data, model=str(file), items=str(tmp_path / "items.parquet"))
    pl.DataFrame({"user_id": np.arange(data.n_users)}).write_parquet(tmp_path / "users.parquet")
    names = {name: str(tmp_path / f"{name}.parquet") for name in ("items", "users")}
    with pytest.raises(CannotFit, match=r"model.npz: knows no item of the catalogue; let its ids be"):
        fit_path(data, model=str(file), **names)
    np.savez_compressed(file, **good)
    whole = file.read_bytes()
    start = whole.index(b"user_factors.npy") + len("user_factors.npy")
    file.write_bytes(whole[: start + 30] + bytes(20) + whole[start + 50 :])
    with pytest.raises(DataError, match=r"model.npz: cannot be read as npz"):
        fit_path(data, model=str(file))
    file.write_bytes(b"PK")
    with pytest.raises(DataError, match=r"model.npz: cannot be read as npz"):
        fit_path(data, model=str(file))
    with pytest.raises(DataError, match=r"nowhere.npz: no such file; check the path"):
        fit_path(data, model=str(tmp_path / "nowhere.npz"))


def test_an_engine_serves_a_bundle_without_the_file(tmp_path: Path) -> None:
    data = small_shop()
    paths = []
    for kind in ("als", "cosine"):
        fitted(kind, matrix_of(data)).save(str(tmp_path / f"{kind}.npz"))
        paths.append({"name": kind, "retriever": "implicit", "params": {"model": str(tmp_path / f"{kind}.npz")}})
    config = EngineConfig.model_validate({"paths": paths, "fusion": {"strategy": "rrf"}})
    with Engine(config).fit(data) as engine:
        before = engine.retrieve(3, 9)
        engine.save(tmp_path / "bundle")
    for kind in ("als", "cosine"):
        (tmp_path / f"{kind}.npz").unlink()
    with Engine.load(tmp_path / "bundle") as engine:
        assert engine.retrieve(3, 9).ids.tolist() == before.ids.tolist()
        told = engine.explain(3, before.ids[0])
        assert told is not None

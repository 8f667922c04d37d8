from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from foreign import (
    ask_for_new_items,
    assert_same_above_every_tie,
    some_ids,
    thousand_users,
    write_object_npy,
    write_vectors,
)

from multirecall import Engine, EngineConfig, User
from multirecall.data import Dataset
from multirecall.errors import BundleError, CannotFit, ConfigError, DataError, IdTypeError
from multirecall.progress import SILENT
from multirecall.query import Query
from multirecall.retrievers.adapters.vectors import StoredVectors, VectorsConfig
from multirecall.testing import LiveShop, RetrieverContract, small_shop
from multirecall.testing.worlds import queries


def fit_path(data: Dataset, **params: Any) -> StoredVectors:
    path = StoredVectors(VectorsConfig.model_validate(params))
    path.fit(data, rng=np.random.default_rng(0), progress=SILENT)
    return path


class VectorsContract(RetrieverContract):
    """The files lie where the fit finds them, and are gone afterwards."""

    retriever = StoredVectors
    with_users = True
    folder: Path

    @pytest.fixture(autouse=True)
    def _keep_files_in(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.folder = tmp_path_factory.mktemp("files")

    def fit(self, data: Dataset, seed: int = 5) -> Any:
        items, users = self.folder / "items.parquet", self.folder / "users.parquet"
        params = {**self.params, "items": write_vectors(items, "item_id", data)}
        if self.with_users:
            ids = some_ids("user_id", data)
            params["users"] = write_vectors(users, "user_id", data, ids=ids[3:])
        path = fit_path(data, **params)
        items.unlink()
        users.unlink(missing_ok=True)
        return path


class TestUsersWithAndWithoutVectors(VectorsContract):
    pass


class TestCosine(VectorsContract):
    params = {"space": "cosine", "half_life": None}


class TestDistance(VectorsContract):
    params = {"space": "l2", "index": {"kind": "hnsw"}}
    score_tolerance = 1e-5


class TestHistories(VectorsContract):
    with_users = False
    exact_live = True


class TestNothingForVisitors(VectorsContract):
    params = {"without_vector": "nothing"}


SPACES = {
    "inner_product": lambda user, items: items @ user,
    "cosine": lambda user, items: items @ user / np.linalg.norm(items, axis=1) / np.linalg.norm(user),
    "l2": lambda user, items: -((items - user) ** 2).sum(axis=1),
}


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("ids", ["int", "str"])
def test_scores_are_those_of_the_vectors(tmp_path: Path, space: str, ids: str) -> None:
    """The file is in another order than the catalogue and lacks an item; others are in none."""
    data, rng = small_shop(ids), np.random.default_rng(3)
    order = rng.permutation(data.n_items)[1:]
    items, users = rng.standard_normal((data.n_items, 5)), rng.standard_normal((data.n_users, 5))
    names, people = data.items.ids.ids().tolist(), data.users.ids.ids().tolist()
    stranger = rng.standard_normal((1, 5))
    file = write_vectors(
        tmp_path / "items.parquet",
        "item_id",
        data,
        np.concatenate([stranger, items[order]]),
        ["nobody" if ids == "str" else 9_999, *(names[row] for row in order)],
    )
    path = fit_path(
        data,
        items=file,
        users=write_vectors(tmp_path / "users.parquet", "user_id", data, users, people),
        space=space,
    )
    for query in queries(data)[:5]:
        ranked = path.retrieve(query, data.n_items)
        scores = SPACES[space](users[query.user], items)
        assert sorted(ranked.items.tolist()) == sorted(order.tolist())
        np.testing.assert_allclose(ranked.scores, scores[ranked.items], rtol=1e-4, atol=1e-5)
        assert ranked.items.tolist() == sorted(order.tolist(), key=lambda row: -scores[row])


@pytest.mark.parametrize("space", SPACES)
def test_a_thousand_users_get_the_items_with_the_best_scores(tmp_path: Path, space: str) -> None:
    """Every third has no vector of their own, and so the mean of those of their history."""
    data, rng = thousand_users(), np.random.default_rng(6)
    items, users = rng.standard_normal((data.n_items, 8)), rng.standard_normal((data.n_users, 8))
    items[60:90] = items[30:60]  # ties
    own = np.flatnonzero(np.arange(data.n_users) % 3)
    path = fit_path(
        data,
        items=write_vectors(tmp_path / "items.parquet", "item_id", data, items, data.items.ids.ids().tolist()),
        users=write_vectors(tmp_path / "users.parquet", "user_id", data, users[own], data.users.ids.ids(own).tolist()),
        space=space,
        half_life=None,
    )
    asked = ask_for_new_items(data)
    batch = path.retrieve_batch(asked, 20)
    for user, query in enumerate(asked):
        vector = users[user] if user % 3 else items[query.exclude].mean(axis=0)
        scores = SPACES[space](vector, items)
        order = np.argsort(-scores, kind="stable")
        best = order[~np.isin(order, query.exclude)]
        assert_same_above_every_tie(batch[user], best, scores[best])


def test_a_user_without_a_vector_has_that_of_their_history(tmp_path: Path) -> None:
    data = small_shop()
    items = np.random.default_rng(4).standard_normal((data.n_items - 1, 4))
    path = fit_path(
        data,
        items=write_vectors(tmp_path / "items.parquet", "item_id", data, items, list(range(data.n_items - 1))),
        half_life=2.0,
    )
    history, weights = np.array([5, 64, 7, 9, 5], np.int32), np.array([9, 9, 1, 2, 3], np.float32)
    mean = (3.0 * items[5] + 2.0 * 0.5**0.5 * items[9] + 0.5 * items[7]) / (3.5 + 2.0 * 0.5**0.5)
    ranked = path.retrieve(Query(-1, history, weights), 8)
    np.testing.assert_allclose(ranked.scores, np.sort(items @ mean)[::-1][:8], rtol=1e-4, atol=1e-5)
    nothing = Query(-1, np.array([64], np.int32), np.ones(1, np.float32))
    assert len(path.retrieve(nothing, 8)) == 0


def test_npy_is_named_by_a_table(tmp_path: Path) -> None:
    data = small_shop()
    vectors, ids = np.random.default_rng(5).standard_normal((data.n_items, 4)), data.items.ids.ids().tolist()[::-1]
    np.save(tmp_path / "items.npy", vectors)
    pl.DataFrame({"item_id": ids}).write_csv(tmp_path / "ids.csv")
    npy = fit_path(data, items=str(tmp_path / "items.npy"), item_ids=str(tmp_path / "ids.csv"))
    table = fit_path(data, items=write_vectors(tmp_path / "items.parquet", "item_id", data, vectors, ids))
    for query in queries(data):
        assert npy.retrieve(query, 9).scores.tolist() == table.retrieve(query, 9).scores.tolist()


def test_arrays_of_fixed_width_are_read_like_lists(tmp_path: Path) -> None:
    data = small_shop()
    file = write_vectors(tmp_path / "items.parquet", "item_id", data)
    before = fit_path(data, items=file).item_vectors()
    pl.read_parquet(file).with_columns(pl.col("vector").cast(pl.Array(pl.Float32, 6))).write_parquet(file)
    for one, other in zip(before, fit_path(data, items=file).item_vectors(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_who_joins_with_a_vector_is_served_at_once(tmp_path: Path) -> None:
    shop = LiveShop()
    user, item = shop.data.n_users, shop.data.n_items
    people, things = some_ids("user_id", shop.data), some_ids("item_id", shop.data)
    users, items = np.zeros((len(people), 2)), np.zeros((len(things), 2))
    users[user + 1], items[item + 2], items[3] = (1, 0), (2, 0), (1, 0)
    path = fit_path(
        shop.data,
        items=write_vectors(tmp_path / "items.parquet", "item_id", shop.data, items, things),
        users=write_vectors(tmp_path / "users.parquet", "user_id", shop.data, users, people),
        without_vector="nothing",
    )
    path = path.with_changes(shop.interact([user + 1], [item + 2]))
    joined = shop.data.users.ids.row(user + 1)
    nobody = np.empty(0, np.int32), np.empty(0, np.float32)
    assert path.retrieve(Query(joined, *nobody), 2).items.tolist() == [shop.data.items.ids.row(item + 2), 3]


def test_the_vector_of_a_forgotten_user_is_gone(tmp_path: Path) -> None:
    shop = LiveShop()
    path = fit_path(
        shop.data,
        items=write_vectors(tmp_path / "items.parquet", "item_id", shop.data),
        users=write_vectors(tmp_path / "users.parquet", "user_id", shop.data),
        without_vector="nothing",
    )
    empty = np.empty(0, np.int32), np.empty(0, np.float32)
    others = [path.retrieve(Query(user, *empty), 5) for user in (7, 9)]
    changed = path.with_changes(shop.forget([8])).with_changes(shop.interact([8], [3]))
    assert len(path.retrieve(Query(8, *empty), 5)) == 5
    assert len(changed.retrieve(Query(8, *empty), 5)) == 0
    assert len(changed.retrieve(Query(shop.data.users.ids.row(8), *empty), 5)) == 0
    for user, before in zip((7, 9), others, strict=True):
        assert changed.retrieve(Query(user, *empty), 5).items.tolist() == before.items.tolist()
    changed.save(tmp_path / "saved")
    assert 8 not in np.load(tmp_path / "saved" / "users" / "ids.npy")


def test_an_item_that_joins_is_like_others_at_once(tmp_path: Path) -> None:
    shop = LiveShop()
    item = shop.data.n_items
    vectors = np.eye(73)
    vectors[item] = vectors[4]
    path = fit_path(shop.data, items=write_vectors(tmp_path / "items.parquet", "item_id", shop.data, vectors))
    rows = np.array([4], np.int32)
    before = path.similar_items(rows, 1)
    after = path.with_changes(shop.interact([3], [item])).similar_items(rows, 1)
    assert before is not None
    assert after is not None
    assert (before[0].scores.tolist(), after[0].items.tolist()) == ([0.0], [item])


def test_an_item_that_joined_after_the_save_is_there_after_the_load(tmp_path: Path) -> None:
    shop = LiveShop()
    path = fit_path(shop.data, items=write_vectors(tmp_path / "items.parquet", "item_id", shop.data))
    path.save(tmp_path / "saved")
    changed = path.with_changes(shop.interact([3], [shop.data.n_items]))
    loaded = StoredVectors.load(path.config, tmp_path / "saved", shop.data)
    for query in queries(shop.data):
        assert loaded.retrieve(query, 9).items.tolist() == changed.retrieve(query, 9).items.tolist()


def test_vectors_that_do_not_fit_their_ids_are_refused(tmp_path: Path) -> None:
    data = small_shop()
    path = fit_path(data, items=write_vectors(tmp_path / "items.parquet", "item_id", data))
    path.save(tmp_path / "saved")
    stored = tmp_path / "saved" / "items" / "vectors.npy"
    vectors = np.load(stored)
    for changed in (vectors[:-1], vectors.astype(np.float64), vectors.ravel()):
        np.save(stored, changed)
        with pytest.raises(BundleError, match=r"saved/items: the vectors do not fit their ids; save the engine again"):
            StoredVectors.load(path.config, tmp_path / "saved", data)


def test_a_log_line_says_what_was_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = write_vectors(tmp_path / "items.parquet", "item_id", small_shop())
    with caplog.at_level(logging.INFO, "multirecall.retrievers"):
        fit_path(small_shop(), items=file)
    assert [record.getMessage() for record in caplog.records] == [
        f"{file}: vectors of 65 of 65 items; 8 more ids are no items of the catalogue so far"
    ]


GOOD = {"item_id": [1, 2, 3], "vector": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]}


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        (
            {"vector": [[1.0], [2.0, 3.0], [1.0]]},
            DataError,
            r"'vector', row 1 .*: has 2 numbers, row 0 has 1; give all",
        ),
        ({"vector": [[], [], []]}, DataError, r"'vector' has type List\(Null\)|row 0 .*: has 0 numbers"),
        ({"vector": [[1.0], None, [1.0]]}, DataError, r"'vector', row 1 .*: the vector is null; fill it or drop"),
        ({"vector": [[1.0], [1.0], [None]]}, DataError, r"'vector', row 2 .*: a number of the vector is missing"),
        ({"vector": [[1.0], [np.inf], [1.0]]}, DataError, r"'vector', row 1 .*: a number .* not finite or beyond"),
        ({"vector": [[1.0], [1e39], [1.0]]}, DataError, r"'vector', row 1 .*: a number .* beyond float32; correct"),
        ({"vector": ["1", "2", "3"]}, DataError, r"'vector' has type String; let each cell be a list of numbers"),
        ({"item_id": [1, 2, 1]}, DataError, r"'item_id', row 2 .*: 1 occurs a second time; keep one row"),
        ({"item_id": [1, None, 2]}, DataError, r"'item_id', row 1 .*: the id is null; fill it or drop the row"),
        ({"item_id": ["i1", "i2", "i3"]}, IdTypeError, r"'item_id', row 0 .*: item ids are int, got 'i1'"),
        ({"item_id": [1.0, 2.5, 3.0]}, DataError, r"'item_id', row 1 .*: 2.5 is not a whole number that an id can be"),
        ({"item_id": [91, 92, 93]}, CannotFit, r"has no vector of an item of the catalogue; let its ids be"),
    ],
)
def test_faults_name_file_column_and_row(tmp_path: Path, columns: Any, error: type[Exception], message: str) -> None:
    file = tmp_path / "items.parquet"
    pl.DataFrame({**GOOD, **columns}, strict=False).write_parquet(file)
    with pytest.raises(error, match=message) as raised:
        fit_path(small_shop(), items=str(file))
    assert str(raised.value).startswith(str(file))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    file = tmp_path / "items.parquet"
    pl.DataFrame({**GOOD, "vectors": GOOD["vector"]}).drop("vector").write_parquet(file)
    with pytest.raises(DataError, match=r"items.parquet: column 'vector' is missing; did you mean 'vectors'\?"):
        fit_path(small_shop(), items=str(file))
    pl.DataFrame(GOOD).clear().write_parquet(file)
    with pytest.raises(DataError, match=r"items.parquet: has no rows; write items into it"):
        fit_path(small_shop(), items=str(file))


@pytest.mark.parametrize("address", ["https://127.0.0.1:9/items.parquet", "s3://bucket/items.parquet"])
def test_a_url_is_never_opened(address: str) -> None:
    with pytest.raises(DataError, match="no such file; check the path"):
        fit_path(small_shop(), items=address)


def test_vectors_of_two_models_are_refused(tmp_path: Path) -> None:
    data = small_shop()
    items = write_vectors(tmp_path / "items.parquet", "item_id", data)
    users = write_vectors(tmp_path / "users.parquet", "user_id", data, np.ones((data.n_users + 8, 3)))
    with pytest.raises(DataError, match=r"users.parquet: vectors have 3 numbers, those of .*items.parquet have 6"):
        fit_path(data, items=items, users=users)


def test_faulty_npy_is_named(tmp_path: Path) -> None:
    ids, file = tmp_path / "ids.parquet", tmp_path / "items.npy"
    pl.DataFrame({"item_id": [1, 2]}).write_parquet(ids)
    for found, message in (
        (np.ones((3, 2)), r"items.npy: has 3 rows, .*ids.parquet names 2; write one id for each row"),
        (np.ones(2), r"items.npy: holds float64 \(2,\); write numbers of shape \(n, dim\)"),
        (np.array([[1.0], [np.nan]]), r"items.npy: row 1 \(the first is 0\) has a number that is not finite"),
    ):
        np.save(file, found)
        with pytest.raises(DataError, match=message):
            fit_path(small_shop(), items=str(file), item_ids=str(ids))
    write_object_npy(file)
    with pytest.raises(DataError, match=r"items.npy: cannot be read as npy: .*allow_pickle=False"):
        fit_path(small_shop(), items=str(file), item_ids=str(ids))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"items": "a.npy"}, "items is npy, which holds no ids; name the file with them in item_ids"),
        (
            {"items": "a.parquet", "item_ids": "b.parquet"},
            "item_ids is given, but items is no npy file; leave item_ids",
        ),
        ({"items": "a.parquet", "user_ids": "b.parquet"}, "user_ids is given, but users is no npy file"),
        ({"items": "a.parquet", "without_vector": "nothing"}, "no user has a vector; name a file in users"),
        ({}, "key 'items' is missing; add it"),
    ],
)
def test_settings_that_do_not_fit_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Engine(EngineConfig.model_validate({"paths": [{"retriever": "vectors", "params": params}]}))


def test_an_engine_serves_it_without_the_files(tmp_path: Path) -> None:
    data = small_shop("str")
    items = Path(write_vectors(tmp_path / "items.parquet", "item_id", data))
    config = {"paths": [{"retriever": "vectors", "params": {"items": str(items)}}, {"retriever": "popularity"}]}
    with Engine(EngineConfig.model_validate(config)).fit(data) as engine:
        engine.save(tmp_path / "bundle")
        asked: list[str | User] = ["u3", User(history=["i4", "i5"])]
        before = [engine.retrieve(user, 9) for user in asked]
        ids, vectors = engine.vectors("vectors")
        assert vectors.shape == (len(ids), 6)
    items.unlink()
    with Engine.load(tmp_path / "bundle") as engine:
        for user, answer in zip(asked, before, strict=True):
            again = engine.retrieve(user, 9)
            assert again.ids.tolist() == answer.ids.tolist()
            assert again.scores.tolist() == answer.scores.tolist()

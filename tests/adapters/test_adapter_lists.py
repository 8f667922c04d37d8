from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from foreign import ask_for_new_items, assert_same_above_every_tie, thousand_users, write_lists

from multirecall import Engine, EngineConfig, User
from multirecall.cli.export import neighbours_frame
from multirecall.data import Dataset
from multirecall.errors import CannotFit, ConfigError, DataError, IdTypeError
from multirecall.progress import SILENT
from multirecall.query import Query
from multirecall.retrievers.adapters import _watch
from multirecall.retrievers.adapters.lists import ListsConfig, StoredLists
from multirecall.testing import LiveShop, RetrieverContract, small_shop
from multirecall.testing.worlds import queries

VARIABLE = "MULTIRECALL_FILE_EVENING"
NOBODY = np.empty(0, np.int32), np.empty(0, np.float32)


def fit_path(data: Dataset, **params: Any) -> StoredLists:
    path = StoredLists(ListsConfig.model_validate(params))
    path.fit(data, rng=np.random.default_rng(0), progress=SILENT)
    return path


class ListsContract(RetrieverContract):
    retriever = StoredLists
    key = "item_id"
    file: Path

    @pytest.fixture(autouse=True)
    def _keep_the_file_in(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.file = tmp_path_factory.mktemp("files") / "lists.parquet"

    def fit(self, data: Dataset, seed: int = 5) -> Any:
        path = fit_path(data, **self.params, file=write_lists(self.file, self.key, data))
        self.file.unlink()
        return path


class TestListsOfItems(ListsContract):
    exact_live = True


class TestListsOfUsers(ListsContract):
    key = "user_id"


@pytest.mark.parametrize("ids", ["int", "str"])
def test_lists_of_items_are_a_linear_model(tmp_path: Path, ids: str) -> None:
    data, rng = small_shop(ids), np.random.default_rng(1)
    weights = np.where(rng.random((data.n_items, data.n_items)) < 0.3, rng.standard_normal((data.n_items,) * 2), 0.0)
    names = data.items.ids.ids().tolist()
    pairs = [
        (names[row], names[column], weights[row, column]) for row, column in zip(*np.nonzero(weights), strict=True)
    ]
    rng.shuffle(pairs)
    path = fit_path(data, file=write_lists(tmp_path / "lists.parquet", "item_id", data, pairs), half_life=None)
    for query in queries(data)[:6]:
        once = np.zeros(data.n_items)
        once[query.history] = query.weights
        scores = once @ weights
        ranked = path.retrieve(query, data.n_items)
        assert ranked.items.tolist() == [row for row in np.argsort(-scores) if scores[row] > 0]
        np.testing.assert_allclose(ranked.scores, scores[ranked.items], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("key", ["user_id", "item_id"])
def test_a_thousand_users_get_the_items_with_the_best_scores(tmp_path: Path, key: str) -> None:
    """Scores of users are what the file has, those of a history a product of matrices; both have ties."""
    data, rng = thousand_users(), np.random.default_rng(7)
    keys = data.users if key == "user_id" else data.items
    shape = len(keys.ids), data.n_items
    matrix = np.where(rng.random(shape) < 0.4, rng.integers(1, 30, shape) / 8, 0.0)
    names, ids = keys.ids.ids().tolist(), data.items.ids.ids().tolist()
    rows, columns = np.nonzero(matrix)
    order = rng.permutation(rows.size)
    pairs = [(names[rows[at]], ids[columns[at]], matrix[rows[at], columns[at]]) for at in order.tolist()]
    path = fit_path(data, file=write_lists(tmp_path / "lists.parquet", key, data, pairs))
    asked = ask_for_new_items(data)
    batch = path.retrieve_batch(asked, 20)
    for user, query in enumerate(asked):
        scores = matrix[user] if key == "user_id" else matrix[query.exclude].sum(axis=0)
        best = np.setdiff1d(np.flatnonzero(scores > 0), query.exclude)
        best = best[np.argsort(-scores[best], kind="stable")]
        assert_same_above_every_tie(batch[user], best, scores[best])


def test_a_list_of_a_user_is_served_as_it_stands(tmp_path: Path) -> None:
    """Ties go by row, negative scores stay, ids that the catalogue lacks are passed over."""
    data = small_shop("str")
    pairs = [
        ("u3", "i9", 1.0),
        ("u3", "i4", 2.5),
        ("u3", "i2", 1.0),
        ("u3", "new", 3.0),
        ("u3", "i5", -1.0),
        ("x", "i1", 1.0),
    ]
    path = fit_path(data, file=write_lists(tmp_path / "lists.parquet", "user_id", data, pairs))
    rows = data.items.ids.rows(["i4", *sorted(["i2", "i9"]), "i5"]).tolist()
    ranked = path.retrieve(Query(data.users.ids.row("u3"), *NOBODY), 9)
    assert (ranked.items.tolist(), ranked.scores.tolist()) == (rows, [2.5, 1.0, 1.0, -1.0])
    assert len(path.retrieve(Query(data.users.ids.row("u4"), *NOBODY), 9)) == 0


def test_ties_with_items_that_joined_go_by_row(tmp_path: Path) -> None:
    """The row of a later id is the last, wherever the id stands among the others."""
    shop = LiveShop()
    pairs = [(3, -5, 1.0), (3, 9, 1.0), (3, 2, 1.0), (3, 7, 2.0)]
    path = fit_path(shop.data, file=write_lists(tmp_path / "lists.parquet", "user_id", shop.data, pairs))
    path = path.with_changes(shop.interact([4], [-5]))
    assert path.retrieve(Query(3, *NOBODY), 9).items.tolist() == [7, 2, 9, shop.data.items.ids.row(-5)]


def test_the_explanation_names_the_history(tmp_path: Path) -> None:
    pairs = [(1, 5, 1.0), (2, 5, 2.0), (3, 6, 9.0)]
    path = fit_path(
        small_shop(), file=write_lists(tmp_path / "l.parquet", "item_id", small_shop(), pairs), half_life=None
    )
    told = path.explain(Query(-1, np.array([1, 3, 2], np.int32), np.ones(3, np.float32)), 5)
    assert told is not None
    assert (told.text, told.items.tolist()) == ("stands in the lists of 2 items of the history", [2, 1])


def test_the_list_of_a_forgotten_user_is_gone(tmp_path: Path) -> None:
    shop = LiveShop()
    path = fit_path(shop.data, file=write_lists(tmp_path / "lists.parquet", "user_id", shop.data))
    other = path.retrieve(Query(9, *NOBODY), 5)
    changed = path.with_changes(shop.forget([8])).with_changes(shop.interact([8], [3]))
    assert len(path.retrieve(Query(8, *NOBODY), 5)) == 5
    for row in (8, shop.data.users.ids.row(8)):
        assert len(changed.retrieve(Query(row, *NOBODY), 5)) == 0
    assert changed.retrieve(Query(9, *NOBODY), 5).items.tolist() == other.items.tolist()
    changed.save(tmp_path / "saved")
    assert 8 not in np.load(tmp_path / "saved" / "keys.npy")


def one_list(file: Path, *items: int) -> str:
    """Write a list of user 3, best first, beside the file and over it, as a careful job does."""
    aside = file.with_suffix(".new.parquet")
    pairs = [(3, item, float(9 - place)) for place, item in enumerate(items)]
    write_lists(aside, "user_id", small_shop(), pairs)
    aside.replace(file)
    return str(file)


def listed(path: StoredLists) -> list[int]:
    rows: list[int] = path.retrieve(Query(3, *NOBODY), 9).items.tolist()
    return rows


def test_a_changed_file_is_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = fit_path(small_shop(), file=one_list(tmp_path / "lists.parquet", 5, 7))
    assert not path.reload(), "it has not changed"
    one_list(tmp_path / "lists.parquet", 8)
    assert listed(path) == [5, 7]
    with caplog.at_level(logging.INFO, "multirecall.retrievers"):
        assert path.reload()
    assert "has changed and was read again" in caplog.text
    assert (listed(path), path.revision) == ([8], 1)
    path.save(tmp_path / "saved")
    assert listed(StoredLists.load(path.config, tmp_path / "saved", small_shop())) == [8]


def test_a_broken_file_changes_nothing_and_is_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "lists.parquet"
    path = fit_path(small_shop(), file=one_list(file, 5, 7))
    for _ in range(2):
        file.write_bytes(b"PAR1 and no more")
        os.utime(file, ns=(1, 1))
        assert not path.reload()
    assert (listed(path), path.revision) == ([5, 7], 0)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert path.trouble is not None
    assert "serves what it had" in path.trouble
    file.unlink()
    assert not path.reload()
    assert "no such file" in str(path.trouble)
    one_list(file, 900)
    assert not path.reload()
    assert "holds no pair of ids that the data have" in str(path.trouble)
    one_list(file, 6)
    assert path.reload()
    assert (listed(path), path.trouble) == ([6], None)


def test_a_request_sends_a_thread_to_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is answered from the former lists, while the file is being read."""
    monkeypatch.setattr(_watch, "PERIOD_S", 0.0)
    path = fit_path(small_shop(), file=one_list(tmp_path / "lists.parquet", 5, 7))
    one_list(tmp_path / "lists.parquet", 8)
    watch = path._feed.watch
    assert watch is not None
    reading, go_on, read = threading.Event(), threading.Event(), watch._read

    def read_when_told() -> None:
        reading.set()
        assert go_on.wait(10)
        read()

    watch._read = read_when_told
    assert listed(path) == [5, 7]
    assert reading.wait(10)
    assert listed(path) == [5, 7]
    go_on.set()
    assert watch.idle.wait(10)
    path.close()
    assert listed(path) == [8]
    one_list(tmp_path / "lists.parquet", 9)
    assert not path.reload(), "it is closed"
    assert watch.idle.is_set()


def test_a_forked_process_looks_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the locks of its parent, held by threads that it lacks."""
    monkeypatch.setattr(_watch, "PERIOD_S", 0.0)
    path = fit_path(small_shop(), file=one_list(tmp_path / "lists.parquet", 5))
    watch = path._feed.watch
    assert watch is not None
    watch._turn.acquire()
    watch._looking.acquire()
    one_list(tmp_path / "lists.parquet", 8)
    assert listed(path) == [5]
    assert watch.idle.is_set()
    watch._process = -1
    listed(path)
    assert watch.idle.wait(10)
    assert listed(path) == [8]


def test_copies_of_live_changes_serve_what_was_read(tmp_path: Path) -> None:
    """Both the copy before a change and the one after it, each for its own rows."""
    shop = LiveShop()
    item = shop.data.n_items
    before = fit_path(shop.data, file=one_list(tmp_path / "lists.parquet", 5))
    after = before.with_changes(shop.interact([4], [item]))
    one_list(tmp_path / "lists.parquet", item, 6)
    assert after.reload()
    assert (listed(before), listed(after)) == ([6], [item, 6])
    assert before.revision == after.revision == 1
    later = before.with_changes(shop.interact([4], [item + 1]))
    assert listed(later) == [item, 6]


def test_a_bundle_opens_no_file_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the deployment names the file, it is read after the load; the name in the bundle alone does nothing."""
    data, file = small_shop(), tmp_path / "lists.parquet"
    fit_path(data, file=one_list(file, 5, 7), name="evening").save(tmp_path / "saved")
    one_list(file, 8)
    config = ListsConfig(file=str(file), name="evening")
    loaded = StoredLists.load(config, tmp_path / "saved", data)
    assert not loaded.reload()
    assert listed(loaded) == [5, 7]
    monkeypatch.setenv(VARIABLE, one_list(tmp_path / "elsewhere.parquet", 9))
    loaded = StoredLists.load(config, tmp_path / "saved", data)
    assert loaded.reload()
    assert listed(loaded) == [9]
    assert listed(fit_path(data, file="nowhere.parquet", name="evening")) == [9], "it takes the place of the file"


def test_cached_answers_do_not_hide_what_was_read(tmp_path: Path) -> None:
    file = tmp_path / "lists.parquet"
    paths = [{"retriever": "lists", "params": {"file": one_list(file, 5, 7)}}]
    config = EngineConfig.model_validate({"paths": paths, "cache_size": 9, "fusion": {"strategy": "rrf"}})
    with Engine(config).fit(small_shop()) as engine:
        assert engine.retrieve(3, 1, seen=True).ids.tolist() == [5]
        one_list(file, 8)
        assert engine.retrieve(3, 1, seen=True).ids.tolist() == [5]
        hits = engine.health().cache.hits
        assert hits == 1
        [path] = engine._current().paths
        path.retriever.reload()  # type: ignore[attr-defined]
        assert engine.retrieve(3, 1, seen=True).ids.tolist() == [8]
        file.write_bytes(b"")
        path.retriever.reload()  # type: ignore[attr-defined]
        assert "serves what it had" in str(engine.health().paths["lists"].trouble)


def test_an_engine_serves_visitors_from_lists_of_items(tmp_path: Path) -> None:
    pairs = [(1, 5, 1.0), (1, 6, 2.0), (2, 7, 5.0)]
    paths = [
        {"retriever": "lists", "params": {"file": write_lists(tmp_path / "l.parquet", "item_id", small_shop(), pairs)}}
    ]
    config = EngineConfig.model_validate({"paths": paths, "fusion": {"strategy": "rrf"}})
    with Engine(config).fit(small_shop()) as engine:
        assert engine.retrieve(User(history=[1]), 2).ids.tolist() == [6, 5]


def test_what_another_engine_exports_is_served(tmp_path: Path) -> None:
    """`multirecall export` writes what these paths read: the neighbours of one engine are lists of the next."""
    data = small_shop("str")
    with Engine(EngineConfig.model_validate({"paths": [{"retriever": "item_cf"}]})).fit(data) as engine:
        neighbours_frame(engine, "item_cf", 100, SILENT).write_parquet(tmp_path / "lists.parquet")
        [path] = engine._current().paths
        served = fit_path(data, file=str(tmp_path / "lists.parquet"))
        for item in range(0, data.n_items, 9):
            query = Query(-1, np.array([item], np.int32), np.ones(1, np.float32), exclude=np.array([item], np.int32))
            theirs = path.retriever.retrieve(query, 9)
            assert served.retrieve(query, 9).items.tolist() == theirs.items.tolist()


GOOD = {"user_id": [1, 2, 3], "item_id": [4, 5, 6], "score": [1.0, 2.0, 3.0]}


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ({"score": [1.0, None, 2.0]}, DataError, r"'score', row 1 .*: None is not a finite float32; correct it"),
        ({"score": [1.0, 2.0, 1e39]}, DataError, r"'score', row 2 .*: 1e\+39 is not a finite float32"),
        (
            {"user_id": [1, 1, 1], "item_id": [4, 5, 4]},
            DataError,
            r"'item_id', row 2 .*: 4 occurs a second time in its",
        ),
        ({"item_id": [4, None, 5]}, DataError, r"'item_id', row 1 .*: the id is null"),
        ({"user_id": ["a", "b", "c"]}, IdTypeError, r"'user_id', row 0 .*: user ids are int, got 'a'"),
        ({"item_id": [94, 95, 96]}, CannotFit, r"holds no pair of ids that the data have; let its ids be those"),
    ],
)
def test_faults_name_file_column_and_row(tmp_path: Path, columns: Any, error: type[Exception], message: str) -> None:
    file = tmp_path / "lists.parquet"
    pl.DataFrame({**GOOD, **columns}).write_parquet(file)
    with pytest.raises(error, match=message) as raised:
        fit_path(small_shop(), file=str(file))
    assert str(raised.value).startswith(str(file))


@pytest.mark.parametrize("missing", ["item_id", "score"])
def test_missing_columns_are_named(tmp_path: Path, missing: str) -> None:
    file = tmp_path / "lists.parquet"
    pl.DataFrame(GOOD).drop(missing).write_parquet(file)
    with pytest.raises(DataError, match=rf"lists.parquet: column '{missing}' is missing"):
        fit_path(small_shop(), file=str(file))


def test_a_name_that_no_variable_can_have_is_refused() -> None:
    with pytest.raises(ConfigError, match="name: string should match pattern"):
        Engine(EngineConfig.model_validate({"paths": [{"retriever": "lists", "params": {"file": "a", "name": "A b"}}]}))

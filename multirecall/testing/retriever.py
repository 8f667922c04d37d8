"""The contract tests of retrievers."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from multirecall.data import Changes, Dataset
from multirecall.data.apply import apply_change
from multirecall.data.read_change import read_change
from multirecall.errors import CannotFit
from multirecall.lists import RankedList
from multirecall.plugins import retriever_fault
from multirecall.progress import SILENT
from multirecall.protocols import Retriever, ThreadedConfig
from multirecall.query import Condition, Query, Where
from multirecall.testing.parts import PartContract
from multirecall.testing.worlds import FIELDS, LiveShop, join_changes, live_changes, queries, removals, small_shop

QUOTA = 15


class RetrieverContract(PartContract):
    """Tests that every retriever must pass. Inherit from this class and set `retriever` and `params`.

    Attributes:
        retriever: the plug-in class.
        params: settings for its `Config`.
        score_tolerance: the largest allowed difference between a user's scores alone and in a batch; 0 for paths that
            count.
        exact_live: whether the retriever promises the answers of a refit after live changes.
    """

    retriever: ClassVar[type[Retriever]]
    params: ClassVar[Mapping[str, Any]] = {}
    score_tolerance: ClassVar[float] = 0.0
    exact_live: ClassVar[bool] = False

    @pytest.fixture(params=["int", "str"])
    def data(self, request: pytest.FixtureRequest) -> Dataset:
        return small_shop(request.param)

    @pytest.fixture
    def fitted(self, data: Dataset) -> Retriever:
        return self.fit(data)

    def fit(self, data: Dataset, seed: int = 5) -> Retriever:
        """A new retriever with `params`, fitted on `data`."""
        return self.fit_with(data, self.params, seed)

    def fit_with(self, data: Dataset, params: Mapping[str, Any], seed: int = 5) -> Retriever:
        """A new retriever with these settings, fitted on `data`."""
        path = self.retriever(self.retriever.Config.model_validate(dict(params)))
        path.fit(data, rng=np.random.default_rng(seed), progress=SILENT)
        return path

    def test_lists_are_valid(self, fitted: Retriever, data: Dataset) -> None:
        proposed = 0
        for query in queries(data):
            ranked = fitted.retrieve(query, QUOTA)
            assert_valid(ranked, data.n_items)
            proposed += len(ranked)
        assert proposed, "no user was proposed anything"

    def test_smaller_quota_gives_a_prefix(self, fitted: Retriever, data: Dataset) -> None:
        for query in queries(data):
            long, short = fitted.retrieve(query, QUOTA), fitted.retrieve(query, 4)
            assert short.items.tolist() == long.items[:4].tolist()

    def test_batch_equals_one_by_one(self, fitted: Retriever, data: Dataset) -> None:
        asked = queries(data)
        batch = fitted.retrieve_batch(asked, QUOTA)
        assert len(batch) == len(asked)
        for position, query in enumerate(asked):
            self.assert_same(batch[position], fitted.retrieve(query, QUOTA))

    def test_filtered_batch_equals_one_by_one(self, fitted: Retriever, data: Dataset) -> None:
        if not fitted.filters:
            pytest.skip("the engine filters for it")
        exclude = np.arange(0, data.n_items, 5, dtype=np.int32)
        allowed = np.arange(data.n_items) % 3 != 0
        asked = [*queries(data, exclude=exclude, allowed=allowed), *queries(data, allowed=~allowed), *queries(data)]
        batch = fitted.retrieve_batch(asked, QUOTA)
        for position, query in enumerate(asked):
            self.assert_same(batch[position], fitted.retrieve(query, QUOTA))

    def test_batch_of_nobody(self, fitted: Retriever) -> None:
        assert len(fitted.retrieve_batch([], QUOTA)) == 0

    def test_filter_is_applied_if_promised(self, fitted: Retriever, data: Dataset) -> None:
        if not fitted.filters:
            pytest.skip("the engine filters for it")
        allowed = np.arange(data.n_items) % 3 != 0
        exclude = np.arange(0, data.n_items, 5, dtype=np.int32)
        for query in queries(data, exclude=exclude, allowed=allowed):
            items = fitted.retrieve(query, QUOTA).items
            assert allowed[items].all()
            assert not np.isin(items, exclude).any()

    def test_filter_leaves_the_order_of_the_rest(self, fitted: Retriever, data: Dataset) -> None:
        if not fitted.filters:
            pytest.skip("the engine filters for it")
        exclude = np.arange(0, data.n_items, 4, dtype=np.int32)
        for free, filtered in zip(queries(data), queries(data, exclude=exclude), strict=True):
            everything = fitted.retrieve(free, data.n_items).items
            expected = everything[~np.isin(everything, exclude)]
            assert fitted.retrieve(filtered, data.n_items).items.tolist() == expected.tolist()

    def test_same_seed_same_result(self, fitted: Retriever, data: Dataset) -> None:
        again = self.fit(data)
        for query in queries(data):
            first, second = fitted.retrieve(query, QUOTA), again.retrieve(query, QUOTA)
            assert first.items.tolist() == second.items.tolist()
            assert first.scores.tolist() == second.scores.tolist()

    def test_saved_and_loaded_is_the_same(self, fitted: Retriever, data: Dataset, tmp_path: Path) -> None:
        fitted.save(tmp_path)
        loaded = type(fitted).load(fitted.config, tmp_path, data)
        for query in queries(data):
            first, second = fitted.retrieve(query, QUOTA), loaded.retrieve(query, QUOTA)
            assert first.items.tolist() == second.items.tolist()
            assert first.scores.tolist() == second.scores.tolist()

    def test_item_vectors_are_one_for_each_row(self, fitted: Retriever, data: Dataset, tmp_path: Path) -> None:
        found = fitted.item_vectors()
        if found is None:
            pytest.skip("the retriever has no item vectors")
        assert_vectors(found, data.n_items)
        fitted.save(tmp_path)
        assert_same_vectors(type(fitted).load(fitted.config, tmp_path, data), fitted)

    def test_similar_items_are_others_and_follow_the_filter(self, fitted: Retriever, data: Dataset) -> None:
        items = np.arange(data.n_items, dtype=np.int32)
        found = fitted.similar_items(items, QUOTA)
        if found is None:
            pytest.skip("the retriever compares no items")
        assert len(found) == items.size
        assert found.items.size, "no item is like another"
        allowed, exclude = items % 3 != 0, items[::5]
        filtered = fitted.similar_items(items, QUOTA, [(exclude, allowed)] * items.size)
        assert filtered is not None
        for item in items.tolist():
            assert_valid(found[item], data.n_items)
            assert item not in found[item].items
            alone = fitted.similar_items(items[item : item + 1], QUOTA)
            assert alone is not None
            self.assert_same(alone[0], found[item])
            assert_valid(filtered[item], data.n_items)
            assert item not in filtered[item].items
            assert allowed[filtered[item].items].all()
            assert not np.isin(filtered[item].items, exclude).any()

    def test_explanations_are_words_and_item_rows(self, fitted: Retriever, data: Dataset) -> None:
        for query in queries(data):
            for item in fitted.retrieve(query, 2).items.tolist():
                told = fitted.explain(query, item)
                if told is not None:
                    assert told.text.strip()
                    assert told.items.dtype == np.int32
                    assert len(told.items) == 0 or 0 <= told.items.min() <= told.items.max() < data.n_items

    @pytest.mark.parametrize("left_s", [60.0, -1.0])
    def test_request_with_all_that_a_query_holds(self, fitted: Retriever, data: Dataset, left_s: float) -> None:
        """Lists stay valid with conditions, removed items, a context and a deadline, which may have passed.

        A call whose deadline has passed may raise `TimeoutError`, or another `OSError` of its connection.
        """
        where = Where((Condition("group", "categorical", ("even",)),))
        removed = np.arange(0, data.n_items, 6, dtype=np.int32)
        allowed = np.array([data.items.values(row)["group"] == "even" for row in range(data.n_items)])
        allowed[removed] = False
        context = {"device": "phone", "page": {"name": "home"}}
        for query in queries(data, allowed=allowed):
            deadline = monotonic() + left_s
            told = replace(query, where=where, removed=removed, context=context, deadline=deadline)
            try:
                ranked = fitted.retrieve(told, QUOTA)
            except OSError:
                if left_s > 0:
                    raise
                continue
            assert_valid(ranked, data.n_items)
            if fitted.filters:
                assert allowed[ranked.items].all()

    def test_close_lets_go_without_a_fault(self, fitted: Retriever, data: Dataset, tmp_path: Path) -> None:
        """`close` is called once, as the last method; another retriever of the same bundle still answers."""
        fitted.save(tmp_path)
        first, second = (type(fitted).load(fitted.config, tmp_path, data) for _ in range(2))
        expected = [second.retrieve(query, QUOTA) for query in queries(data)]
        for path in (fitted, first):
            path.close()
        for query, answer in zip(queries(data), expected, strict=True):
            self.assert_same(second.retrieve(query, QUOTA), answer)
        second.close()

    def test_unknown_user_without_history(self, fitted: Retriever, data: Dataset) -> None:
        nobody = Query(-1, np.empty(0, np.int32), np.empty(0, np.float32))
        ranked = fitted.retrieve(nobody, QUOTA)
        assert isinstance(ranked, RankedList)
        assert len(ranked) <= QUOTA

    def test_threads_get_what_one_thread_gets(self, fitted: Retriever, data: Dataset) -> None:
        asked = queries(data)
        expected = [fitted.retrieve(query, QUOTA) for query in asked]
        together = threading.Barrier(4)

        def ask(_: int) -> list[RankedList]:
            together.wait(timeout=10)
            return [fitted.retrieve(query, QUOTA) for query in asked]

        with ThreadPoolExecutor(4) as pool:
            for answers in pool.map(ask, range(4)):
                for answer, wanted in zip(answers, expected, strict=True):
                    self.assert_same(answer, wanted)

    def test_threads_of_the_fit_change_no_bit_if_promised(self, data: Dataset, tmp_path: Path) -> None:
        if not self.retriever.exact_threads:
            pytest.skip("the retriever does not promise it")
        assert issubclass(self.retriever.Config, ThreadedConfig), "there are no threads to promise it for"
        saved = []
        for threads in (1, 2):
            path = self.fit_with(data, {**self.params, "threads": threads})
            folder = tmp_path / str(threads)
            folder.mkdir()
            path.save(folder)
            files = sorted(file for file in folder.rglob("*") if file.is_file())
            saved.append({str(file.relative_to(folder)): file.read_bytes() for file in files})
        assert saved[0] == saved[1]

    @pytest.mark.parametrize("timestamps", [True, False])
    def test_bare_log_is_served_or_refused(self, timestamps: bool) -> None:
        data = small_shop(timestamps=timestamps, features=False)
        try:
            path = self.fit(data)
        except CannotFit:
            return
        assert sum(len(path.retrieve(query, QUOTA)) for query in queries(data))

    def test_live_names_what_it_takes(self) -> None:
        assert retriever_fault(self.retriever) is None

    @pytest.mark.parametrize(("timestamps", "fields"), [(True, FIELDS), (False, ())])
    def test_takes_live_changes(self, timestamps: bool, fields: tuple[str, ...], tmp_path: Path) -> None:
        """Lists stay valid, the former retriever answers as before, and a saved one holds the changes."""
        shop = LiveShop(timestamps=timestamps, fields=fields)
        path, former = self.fit_live(shop), shop.data
        for number, change in enumerate([*live_changes(shop), *self.removals_of(shop)]):
            asked = queries(former)
            before = [path.retrieve(query, QUOTA) for query in asked]
            changed = path.with_changes(change)
            for query, answer in zip(asked, before, strict=True):
                self.assert_same(path.retrieve(query, QUOTA), answer)
            folder = tmp_path / str(number)
            folder.mkdir()
            changed.save(folder)
            loaded = self.retriever.load(path.config, folder, change.data)
            assert_same_vectors(loaded, changed)
            allowed = np.arange(change.data.n_items) % 3 != 0
            for query, filtered in zip(queries(change.data), queries(change.data, allowed=allowed), strict=True):
                ranked = changed.retrieve(query, QUOTA)
                assert_valid(ranked, change.data.n_items)
                self.assert_same(loaded.retrieve(query, QUOTA), ranked)
                if self.retriever.filters:
                    assert allowed[changed.retrieve(filtered, QUOTA).items].all()
            loaded.close()
            path, former = changed, change.data
        path.close()

    def test_removed_items_change_nothing(self) -> None:
        """The engine hides removed items, so the retriever returns itself, and a write costs nothing here."""
        shop = LiveShop()
        path = self.fit_live(shop)
        change = apply_change(shop.data, read_change(shop.data, "remove_items", shop.data.items.ids.ids()[:2].tolist()))
        assert path.with_changes(change) is path
        path.close()

    @pytest.mark.parametrize("timestamps", [True, False])
    def test_live_changes_equal_a_refit_if_promised(self, timestamps: bool) -> None:
        if not self.exact_live:
            pytest.skip("the retriever makes no promise about live changes: exact_live is False")
        shop = LiveShop(timestamps=timestamps)
        path = self.fit_live(shop)
        for change in [*live_changes(shop), *self.removals_of(shop)]:
            path = path.with_changes(change)
            refitted = self.fit(change.data)
            for query in queries(change.data):
                self.assert_close(path.retrieve(query, QUOTA), refitted.retrieve(query, QUOTA))

    def test_live_changes_at_once_equal_those_in_turn_if_promised(self) -> None:
        if not self.exact_live:
            pytest.skip("the retriever makes no promise about live changes: exact_live is False")
        shop = LiveShop()
        at_once = in_turn = self.fit_live(shop)
        changes = live_changes(shop)
        for change in changes:
            in_turn = in_turn.with_changes(change)
        at_once = at_once.with_changes(join_changes(changes))
        for query in queries(shop.data):
            self.assert_close(at_once.retrieve(query, QUOTA), in_turn.retrieve(query, QUOTA))

    def removals_of(self, shop: LiveShop) -> list[Changes]:
        """The removals of events and users to test with; empty where the engine would not pass any to the retriever."""
        told = "interactions" not in self.retriever.live or "removals" in self.retriever.live
        return removals(shop) if told else []

    def fit_live(self, shop: LiveShop) -> Retriever:
        """The retriever, fitted on the shop's data; skips the test if it takes no live changes or cannot fit."""
        if not self.retriever.live:
            pytest.skip("the retriever takes no live changes")
        try:
            return self.fit(shop.data)
        except CannotFit as fault:
            pytest.skip(str(fault))

    def test_unknown_setting_is_refused(self) -> None:
        with pytest.raises(ValueError, match="no_such_setting"):
            self.retriever.Config.model_validate({"no_such_setting": 1})

    def assert_same(self, first: RankedList, second: RankedList) -> None:
        """Assert that two answers agree, up to `score_tolerance`."""
        if self.score_tolerance == 0.0:
            assert first.items.tolist() == second.items.tolist()
            assert first.scores.tolist() == second.scores.tolist()
            return
        np.testing.assert_allclose(first.scores, second.scores, atol=self.score_tolerance)
        differing = first.items != second.items
        gaps = np.abs(first.scores[differing] - second.scores[differing])
        assert (gaps <= self.score_tolerance).all()

    def assert_close(self, first: RankedList, second: RankedList) -> None:
        """Assert that two answers agree up to rounding, which may swap items whose scores are nearly equal."""
        np.testing.assert_allclose(first.scores, second.scores, rtol=1e-5)
        differing = first.items != second.items
        if not differing.any():
            return
        for item in set(first.items[differing].tolist()) ^ set(second.items[differing].tolist()):
            ranked = first if item in first.items else second
            assert ranked.scores[ranked.items == item] == pytest.approx(ranked.scores[-1], rel=1e-5)


def assert_valid(ranked: RankedList, n_items: int) -> None:
    """Assert that a list obeys every rule for the list of a path."""
    assert ranked.items.dtype == np.int32
    assert ranked.scores.dtype == np.float32
    assert len(ranked) == ranked.scores.size <= QUOTA
    assert np.isfinite(ranked.scores).all()
    assert np.unique(ranked.items).size == len(ranked)
    assert len(ranked) == 0 or 0 <= ranked.items.min() <= ranked.items.max() < n_items
    order = np.lexsort((ranked.items, -ranked.scores))
    assert (order == np.arange(len(ranked))).all(), "score descending, then row ascending"


def assert_vectors(found: tuple[NDArray[np.int32], NDArray[np.float32]], n_items: int) -> None:
    """Assert that item vectors obey every rule of `Retriever.item_vectors`."""
    rows, vectors = found
    assert rows.dtype == np.int32
    assert vectors.dtype == np.float32
    assert vectors.ndim == 2
    assert len(vectors) == rows.size > 0
    assert (np.diff(rows) > 0).all(), "rows must ascend, each row once"
    assert 0 <= rows[0] <= rows[-1] < n_items
    assert np.isfinite(vectors).all()


def assert_same_vectors(first: Retriever, second: Retriever) -> None:
    """Assert that two retrievers have the same item vectors, or none."""
    ours, theirs = first.item_vectors(), second.item_vectors()
    assert (ours is None) == (theirs is None)
    if ours is not None and theirs is not None:
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)

"""The contract tests of vector indexes."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multirecall.errors import BundleError, DataError, RequestError
from multirecall.lists import RankedList
from multirecall.progress import SILENT
from multirecall.query import Filter
from multirecall.testing.index_case import IndexCase, K
from multirecall.testing.nearest import (
    DIM,
    N_ROWS,
    assert_nearest,
    assert_same_lists,
    build_exact,
    draw_filter,
    draw_queries,
    draw_state,
    draw_vectors,
    eligible_rows,
    rows_and_vectors,
    similarities,
)
from multirecall.topk import ALL_ALLOWED, NO_ROWS
from multirecall.vector_index import Space

NOTHING: Filter = (NO_ROWS, np.zeros(N_ROWS, np.bool_))
EVERYTHING = np.arange(N_ROWS, dtype=np.int32)


class IndexContract(IndexCase):
    """Tests that every kind of vector index must pass. Inherit from this class and set `index` and `params`.

    Every kind promises this: a list has `k` items, or all that are eligible where these are fewer, under the ordering
    rule and with the similarities of `Space`. A search for as many items as there are finds all.
    """

    def test_lists_hold_the_nearest_items(self, space: Space) -> None:
        state = draw_state(250)
        self.check(self.build(state, space), state, space, ks=(1, 10, 60))

    def test_as_many_items_as_there_are_are_all_found(self, space: Space) -> None:
        state = draw_state(250)
        index = self.build(state, space)
        assert (len(index), index.dim, index.space) == (250, DIM, space)
        for query in draw_queries():
            for k in (250, 400):
                assert_nearest(index.search(query, k), state, space, query, k)

    @pytest.mark.parametrize("share", [0.5, 0.05, 0.0])
    def test_filters_and_exclusions(self, space: Space, share: float) -> None:
        state = draw_state(300)
        index = self.build(state, space)
        rng = np.random.default_rng(2)
        self.check(index, state, space, filters=[draw_filter(rng, share) for _ in range(20)])
        self.check(index, state, space, filters=[draw_filter(rng, 1.0) for _ in range(20)])

    def test_excluding_all_that_is_near_goes_on_to_what_is_far(self, space: Space) -> None:
        state = draw_state(300)
        index = self.build(state, space)
        query = draw_queries()[0]
        rows = np.array(eligible_rows(state), np.int32)
        scores = similarities(space, np.array([state[row] for row in rows.tolist()]), query)
        near = np.sort(rows[np.argsort(-scores)[:270]])
        assert_nearest(index.search(query, 60, near), state, space, query, 60, (near, ALL_ALLOWED))

    def test_added_replaced_and_removed_rows(self, space: Space) -> None:
        """Each state answers as its vectors say, and goes on doing so after later states were made."""
        rng = np.random.default_rng(3)
        state = draw_state(250)
        index = self.build(state, space)
        states = [(state, index)]
        for _ in range(3):
            rows = rng.choice(N_ROWS, 30, replace=False).astype(np.int32)
            vectors = draw_vectors(rng, 30)
            state = {**state, **dict(zip(rows.tolist(), vectors, strict=True))}
            index = index.add(rows, vectors)
            states.append((state, index))
            gone = rng.choice(N_ROWS, 30, replace=False).astype(np.int32)
            state = {row: vector for row, vector in state.items() if row not in gone}
            index = index.remove(gone)
            states.append((state, index))
        for state, index in states:
            assert len(index) == len(state)
            self.check(index, state, space, filters=[draw_filter(rng, 1.0), draw_filter(rng, 0.4)])

    def test_the_former_index_goes_on_answering(self) -> None:
        state = draw_state(250)
        index = self.build(state, "cosine")
        before = self.answers(index)
        index.add(EVERYTHING, draw_vectors(np.random.default_rng(4), N_ROWS))
        index.remove(EVERYTHING)
        assert_same_lists(self.answers(index), before)

    def test_everything_may_leave_and_come_back(self, space: Space) -> None:
        gone = self.build(draw_state(200), space).remove(EVERYTHING)
        assert len(gone) == len(gone.search(draw_queries()[0], K)) == 0
        back = gone.add(EVERYTHING[:3], np.ones((3, DIM), np.float32))
        assert back.search(np.ones(DIM), K).items.tolist() == [0, 1, 2]

    def test_empty(self, space: Space, tmp_path: Path) -> None:
        index = self.build({}, space)
        query = draw_queries()[0]
        assert len(index) == len(index.search(query, K)) == len(index.search_batch(query[None], K)[0]) == 0
        assert len(index.search_batch(np.empty((0, DIM), np.float32), K)) == 0
        index.save(tmp_path / "index")
        loaded = self.load(tmp_path / "index")
        assert len(loaded.search(query, K)) == 0
        grown = loaded.add(np.array([3], np.int32), np.ones((1, DIM), np.float32))
        assert grown.search(np.ones(DIM), K).items.tolist() == [3]

    def test_one_vector(self, space: Space) -> None:
        state = {7: draw_queries()[0]}
        index = self.build(state, space)
        for query in draw_queries()[:3]:
            for k in (1, K):
                assert_nearest(index.search(query, k), state, space, query, k)
        assert len(index.search(query, K, np.array([7], np.int32))) == 0

    def test_no_items_are_asked_for_or_eligible(self, space: Space) -> None:
        index = self.build(draw_state(200), space)
        query = draw_queries()[0]
        assert len(index.search(query, 0)) == len(index.search(query, -1)) == 0
        assert len(index.search(query, K, *NOTHING)) == len(index.search(query, K, EVERYTHING)) == 0

    def test_ties_are_in_the_order_of_rows(self, space: Space) -> None:
        index = self.build({row: np.ones(DIM, np.float32) for row in range(300)}, space)
        assert index.search(np.ones(DIM), 300).items.tolist() == list(range(300))
        some = index.search(np.ones(DIM), 100).items.tolist()
        assert len(some) == 100
        assert some == (list(range(100)) if self.exact else sorted(some))

    def test_scores_are_those_of_exact_search(self, space: Space) -> None:
        state = draw_state(250)
        index, truth = self.build(state, space), build_exact(state, space)
        for query in draw_queries():
            expected = dict(zip(*self.lists(truth.search(query, 250)), strict=True))
            items, scores = self.lists(index.search(query, K))
            found = [expected[item] for item in items]
            if self.score_tolerance == 0.0:
                assert scores == found
            np.testing.assert_allclose(scores, found, rtol=self.score_tolerance, atol=self.score_tolerance)

    @pytest.mark.parametrize("effort", [0.5, 0.05])
    def test_less_effort_may_miss_items_but_fills_the_list(self, space: Space, effort: float) -> None:
        state = draw_state(250)
        index, truth = self.build(state, space), build_exact(state, space)
        before = self.answers(index)
        hasty = index.with_effort(effort)
        for query in draw_queries():
            expected = dict(zip(*self.lists(truth.search(query, 250)), strict=True))
            items, scores = self.lists(hasty.search(query, K))
            assert len(set(items)) == K
            found = [expected[item] for item in items]
            np.testing.assert_allclose(scores, found, rtol=self.score_tolerance, atol=self.score_tolerance)
        assert_same_lists(self.answers(index), before)

    def test_a_zero_query_or_vector_has_cosine_zero(self) -> None:
        state = {**draw_state(200), 399: np.zeros(DIM, np.float32)}
        index = self.build(state, "cosine")
        ranked = index.search(np.zeros(DIM), 40)
        assert ranked.items.tolist() == sorted(state)[:40]
        assert ranked.scores.tolist() == [0.0] * 40
        only = np.arange(N_ROWS) == 399
        assert index.search(np.ones(DIM), K, NO_ROWS, only).scores.tolist() == [0.0]

    @pytest.mark.parametrize("space", ["inner_product", "l2"])
    def test_scores_that_overflow_are_dropped(self, space: Space) -> None:
        index = self.build({0: np.full(DIM, 3e38, np.float32), 1: np.ones(DIM, np.float32)}, space)
        for k in (1, 5):
            assert index.search(np.full(DIM, 5.0), k).items.tolist() == [1]
            assert index.search_batch(np.full((1, DIM), 5.0), k)[0].items.tolist() == [1]

    def test_batch_equals_one_by_one(self, space: Space) -> None:
        rng = np.random.default_rng(5)
        index = self.change(self.build(draw_state(250), space))
        queries = draw_queries()
        filters = [draw_filter(rng, share) for share in np.repeat([1.0, 0.5, 0.05, 0.0], 5)]
        batch = index.search_batch(queries, K, filters)
        assert_same_lists(
            [batch[place] for place in range(len(batch))],
            [index.search(query, K, *one) for query, one in zip(queries, filters, strict=True)],
        )

    def test_several_vectors_of_a_user(self, space: Space) -> None:
        """An item has the best score that any of the vectors gives it, in a batch as well."""
        state = draw_state(250)
        index = self.build(state, space)
        users = draw_queries().reshape(-1, 4, DIM)
        batch = index.search_any_batch(users, K)
        for place, vectors in enumerate(users):
            ranked = index.search_any(vectors, K)
            assert_same_lists([batch[place]], [ranked])
            each = [dict(zip(*self.lists(index.search(vector, K)), strict=True)) for vector in vectors]
            best = {item: max(one.get(item, -np.inf) for one in each) for one in each for item in one}
            expected = sorted(best, key=lambda item: (-best[item], item))[:K]
            assert self.lists(ranked) == (expected, [best[item] for item in expected])
        assert_same_lists([index.search_any(users[0, :1], K)], [index.search(users[0, 0], K)])

    def test_threads_get_what_one_thread_gets(self) -> None:
        index = self.change(self.build(draw_state(300), "l2"))
        expected = self.answers(index)
        together = threading.Barrier(4)

        def ask(_: int) -> list[RankedList]:
            together.wait(60)
            return self.answers(index)

        with ThreadPoolExecutor(4) as pool:
            for answers in pool.map(ask, range(4)):
                assert_same_lists(answers, expected)

    def test_same_seed_same_answers(self, space: Space) -> None:
        if not self.deterministic:
            pytest.skip("the index makes no promise about equal builds: deterministic is False")
        state = draw_state(300)
        shuffled = {row: state[row] for row in sorted(state)}
        assert_same_lists(self.answers(self.build(state, space)), self.answers(self.build(shuffled, space)))

    def test_saved_and_loaded_is_the_same(self, space: Space, tmp_path: Path) -> None:
        index = self.change(self.build(draw_state(250), space))
        index.save(tmp_path / "index")
        loaded = self.load(tmp_path / "index")
        assert (len(loaded), loaded.dim, loaded.space) == (len(index), DIM, space)
        assert_same_lists(self.answers(loaded), self.answers(index))
        assert_same_lists(self.answers(self.change(loaded, 7)), self.answers(self.change(index, 7)))
        loaded.save(tmp_path / "again")
        assert_same_lists(self.answers(self.load(tmp_path / "again")), self.answers(index))

    def test_a_folder_that_holds_something_is_not_written_to(self, tmp_path: Path) -> None:
        index = self.build(draw_state(50), "l2")
        index.save(tmp_path / "index")
        with pytest.raises(BundleError):
            index.save(tmp_path / "index")

    @pytest.mark.parametrize("damage", ["truncated", "flipped", "missing"])
    def test_a_damaged_file_is_named(self, damage: str, tmp_path: Path) -> None:
        """Whatever file it is. None is opened before it was compared with its digest."""
        folder = tmp_path / "index"
        self.change(self.build(draw_state(250), "cosine")).save(folder)
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        for file in files:
            content = file.read_bytes()
            DAMAGES[damage](file, content)
            with pytest.raises(BundleError, match=re.escape(file.name)):
                self.load(folder)
            file.write_bytes(content)
        assert len(self.load(folder))

    def test_item_vectors_are_those_that_it_was_given(self, tmp_path: Path) -> None:
        state = draw_state(100)
        index = self.build(state, "l2").remove(np.array(sorted(state)[:4], np.int32))
        index.save(tmp_path / "index")
        for one in (index, self.load(tmp_path / "index")):
            rows, vectors = one.item_vectors()
            assert rows.dtype == np.int32
            assert vectors.dtype == np.float32
            assert rows.tolist() == sorted(state)[4:]
            np.testing.assert_array_equal(vectors, [state[row] for row in rows.tolist()])

    def test_what_the_caller_does_to_its_arrays_is_not_seen(self) -> None:
        state = draw_state(100)
        rows, vectors = rows_and_vectors(state)
        index = self.index.build(rows, vectors, "l2", self.settings, seed=1, asked=None, threads=1, progress=SILENT)
        before = self.answers(index)
        vectors[:] = 9.0
        rows[:] = 0
        assert_same_lists(self.answers(index), before)

    def test_unusable_queries_are_refused(self) -> None:
        index = self.build(draw_state(50), "l2")
        ones = np.ones(DIM, np.float32)
        for vector in (np.full(DIM, np.nan), np.full(DIM, np.inf), np.full(DIM, 1e300), np.ones(DIM + 1)):
            with pytest.raises(RequestError):
                index.search(vector, K)
            with pytest.raises(RequestError):
                index.search_batch(vector[None], K)
        with pytest.raises(RequestError):
            index.search(ones, K, NO_ROWS, np.ones(3, np.bool_))
        with pytest.raises(RequestError):
            index.search_batch(ones, K)
        with pytest.raises(RequestError):
            index.search_batch(np.ones((2, DIM)), K, [(NO_ROWS, ALL_ALLOWED)])
        with pytest.raises(RequestError):
            index.search_any(np.empty((0, DIM)), K)

    def test_unusable_vectors_are_refused(self) -> None:
        index = self.build(draw_state(50), "l2")
        rows = np.array([7, 2], np.int32)
        good = np.ones((2, DIM), np.float32)
        for own, vectors in (
            (rows, np.full((2, DIM), np.nan)),
            (rows, np.full((2, DIM), np.inf)),
            (rows, np.ones((2, DIM - 1))),
            (rows, np.ones((3, DIM))),
            (np.array([2, 2], np.int32), good),
            (np.array([-1, 2], np.int32), good),
        ):
            with pytest.raises(DataError):
                index.add(own, vectors)
        with pytest.raises(DataError):
            self.index.build(
                np.array([2, 2], np.int32), good, "l2", self.settings, seed=1, asked=None, threads=1, progress=SILENT
            )

    def test_unknown_setting_is_refused(self) -> None:
        with pytest.raises(ValueError, match="no_such_setting"):
            self.index.Config.model_validate({**self.params, "no_such_setting": 1})


def flip(file: Path, content: bytes) -> None:
    """Change one bit of a file."""
    flipped = bytearray(content)
    flipped[len(content) * 2 // 3] ^= 16
    file.write_bytes(flipped)


DAMAGES: dict[str, Callable[[Path, bytes], Any]] = {
    "truncated": lambda file, content: file.write_bytes(content[: len(content) // 2]),
    "flipped": flip,
    "missing": lambda file, _: file.unlink(),
}

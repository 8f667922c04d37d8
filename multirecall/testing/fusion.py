"""The contract tests of fusions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest

from multirecall.lists import FusedList, RankedBatch, RankedList
from multirecall.protocols import Fusion

QUOTAS = [12, 12, 12]
WEIGHTS = [1.0, 0.5, 2.0]


class FusionContract:
    """Tests that every fusion must pass. Inherit from this class and set `fusion` and `params`.

    Attributes:
        fusion: the plug-in class.
        params: settings for its `Config`.
    """

    fusion: ClassVar[type[Fusion]]
    params: ClassVar[Mapping[str, Any]] = {}

    @pytest.fixture
    def fused_by(self) -> Fusion:
        return self.fusion(self.fusion.Config.model_validate(dict(self.params)))

    @pytest.mark.parametrize("seed", range(5))
    def test_fused_list_is_valid(self, fused_by: Fusion, seed: int) -> None:
        lists = some_lists(seed)
        fused = fused_by.fuse(lists, WEIGHTS, QUOTAS, 20)
        assert fused.items.dtype == np.int32
        assert fused.scores.dtype == np.float64
        assert fused.ranks.dtype == np.int32
        assert fused.ranks.shape == (len(fused), 3)
        assert np.unique(fused.items).size == len(fused) <= 20
        order = np.lexsort((fused.items, -fused.scores))
        assert (order == np.arange(len(fused))).all(), "score descending, then row ascending"

    @pytest.mark.parametrize("seed", range(5))
    def test_provenance_is_the_rank_in_each_path(self, fused_by: Fusion, seed: int) -> None:
        lists = some_lists(seed)
        windows = fused_by.windows(QUOTAS)
        fused = fused_by.fuse(lists, WEIGHTS, QUOTAS, 20)
        for item, ranks in zip(fused.items.tolist(), fused.ranks.tolist(), strict=True):
            for ranked, rank, window in zip(lists, ranks, windows, strict=True):
                places = np.flatnonzero(ranked.items[:window] == item)
                assert rank == (places[0] if places.size else -1)
            assert max(ranks) >= 0, "no path proposed the item"

    @pytest.mark.parametrize("seed", range(5))
    def test_smaller_k_gives_a_prefix(self, fused_by: Fusion, seed: int) -> None:
        lists = some_lists(seed)
        long, short = (fused_by.fuse(lists, WEIGHTS, QUOTAS, k) for k in (20, 7))
        assert short.items.tolist() == long.items[:7].tolist()
        assert short.scores.tolist() == long.scores[:7].tolist()

    def test_contributions_add_up_to_the_score(self, fused_by: Fusion) -> None:
        """Holds for a fusion whose `contributions` are not None."""
        lists = some_lists(2)
        batches = [RankedBatch.from_lists([ranked]) for ranked in lists]
        parts = fused_by.contributions(batches, WEIGHTS, QUOTAS)
        if parts is None:
            return
        assert [part.size for part in parts] == [len(ranked) for ranked in lists]
        fused = fused_by.fuse(lists, WEIGHTS, QUOTAS, 40)
        for score, ranks in zip(fused.scores.tolist(), fused.ranks.tolist(), strict=True):
            added = [part[rank] for part, rank in zip(parts, ranks, strict=True) if rank >= 0]
            assert score == pytest.approx(fused_by.intercept + sum(added), rel=1e-12, abs=1e-12)

    def test_batch_equals_one_by_one(self, fused_by: Fusion) -> None:
        users = [some_lists(seed) for seed in range(40)]
        batches = [RankedBatch.from_lists([lists[path] for lists in users]) for path in range(3)]
        batch = fused_by.fuse_batch(batches, WEIGHTS, QUOTAS, 20)
        assert len(batch) == len(users)
        for user, lists in enumerate(users):
            assert_equal(batch[user], fused_by.fuse(lists, WEIGHTS, QUOTAS, 20))

    def test_batch_of_nobody(self, fused_by: Fusion) -> None:
        assert len(fused_by.fuse_batch([RankedBatch.empty(0)] * 3, WEIGHTS, QUOTAS, 20)) == 0

    def test_nothing_in_nothing_out(self, fused_by: Fusion) -> None:
        assert len(fused_by.fuse([RankedList.empty()] * 3, WEIGHTS, QUOTAS, 20)) == 0

    def test_silent_path_changes_nothing(self, fused_by: Fusion) -> None:
        lists = [*some_lists(3)[:2], RankedList.empty()]
        with_it = fused_by.fuse(lists, WEIGHTS, QUOTAS, 20)
        without = fused_by.fuse(lists[:2], WEIGHTS[:2], QUOTAS[:2], 20)
        assert with_it.items.tolist() == without.items.tolist()

    def test_quota_bounds_what_a_path_adds(self, fused_by: Fusion) -> None:
        ranked = some_lists(4)[0]
        fused = fused_by.fuse([ranked], [1.0], [5], 20)
        assert sorted(fused.items.tolist()) == sorted(ranked.items[:5].tolist())


def some_lists(seed: int) -> list[RankedList]:
    """Three overlapping ranked lists over 40 items, with ties; the last is the shortest."""
    rng = np.random.default_rng(seed)
    return [ranked_list(rng.permutation(40)[:n], rng.integers(0, 9, n) / 4) for n in (30, 15, 4)]


def ranked_list(
    items: Sequence[int] | np.typing.NDArray[Any], scores: Sequence[float] | np.typing.NDArray[Any]
) -> RankedList:
    """A ranked list of `items` (n,) with `scores` (n,), sorted by the ordering rule."""
    rows, values = np.asarray(items, np.int32), np.asarray(scores, np.float32)
    order = np.lexsort((rows, -values))
    return RankedList(rows[order], values[order])


def assert_equal(first: FusedList, second: FusedList) -> None:
    """Assert that two fused lists are equal to the bit."""
    assert first.items.tolist() == second.items.tolist()
    assert first.scores.tolist() == second.scores.tolist()
    assert first.ranks.tolist() == second.ranks.tolist()

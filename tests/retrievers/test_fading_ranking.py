"""A ranking that takes events live equals, to the bit, one that is sorted anew, however many of them are merged."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multirecall.lists import RankedList
from multirecall.retrievers import _fading_ranking
from multirecall.retrievers._fading_counts import FadingCounts
from multirecall.retrievers._fading_ranking import FadingRanking
from multirecall.retrievers._shard import WHOLE, Shard

START = 1_000_000_000
BATCHES = st.lists(
    st.tuples(
        st.lists(
            st.tuples(st.integers(0, 11), st.sampled_from([0, 1, 2, 7]), st.sampled_from([0, 1, 3, 4, 120, 900])),
            max_size=5,
        ),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=6,
)
"""Batches of events on items, with weights and days, and how many items join with each."""


@pytest.fixture(scope="module", autouse=True)
def merges_early() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_fading_ranking, "LEAST_FRESH", 2)
        yield


def count(events: list[tuple[int, int, int]], rate: float) -> FadingCounts:
    items, weights, days = np.array(events, np.int64).reshape(-1, 3).T
    return FadingCounts.of(items, weights.astype(np.float32), START + days * 86_400, rate)


def listed(found: RankedList) -> tuple[list[int], list[float]]:
    return found.items.tolist(), found.scores.tolist()


@settings(max_examples=150)
@given(batches=BATCHES, half_life=st.sampled_from([None, 1.0, 40.0]), n=st.integers(0, 16))
def test_live_equals_sorted_anew(
    batches: list[tuple[list[tuple[int, int, int]], int]], half_life: float | None, n: int
) -> None:
    """After each batch, for the whole and for a part, and for a head of any length."""
    rate = 0.0 if half_life is None else 1 / (half_life * 86_400)
    n_items, now, ranking = 12, START, FadingRanking.of(count([], rate), 12)
    shard = Shard(np.array([0, 3, 4, 9], np.int32), 12)
    for events, joined in batches:
        n_items += joined
        now = max([now, *(START + day * 86_400 for _, _, day in events)])
        before, former = ranking, listed(ranking.head(n, now, WHOLE))
        ranking = ranking.with_events(count(events, rate), n_items)
        assert listed(before.head(n, now, WHOLE)) == former, "the ranking before stays as it was"
        anew = FadingRanking.of(ranking.whole(), n_items)
        whole = anew.head(n_items, now, WHOLE)
        assert sorted(whole.items.tolist()) == list(range(n_items))
        order = np.lexsort((whole.items, -whole.scores))
        assert order.tolist() == list(range(n_items)), "by score, then by row"
        for own in (WHOLE, shard):
            assert listed(ranking.head(n_items, now, own)) == listed(own.cut(whole))
            head, full = ranking.head(n, now, own), own.cut(whole)
            assert len(head) >= min(n, len(full))
            assert listed(head) == listed(full.head(len(head)))


def test_scores_written_out() -> None:
    """With a half-life of a day: 4 events a day ago count 2, one of today counts 1, and time halves both."""
    rate = 1 / 86_400
    ranking = FadingRanking.of(count([(1, 4, 0)], rate), 3).with_events(count([(2, 1, 1)], rate), 4)
    assert listed(ranking.head(4, START + 86_400, WHOLE)) == ([1, 2, 0, 3], [2.0, 1.0, 0.0, 0.0])
    assert listed(ranking.head(1, START + 2 * 86_400, WHOLE)) == ([1], [1.0])


def test_counts_of_equal_score_stand_by_row() -> None:
    """They differ by less than a float32 can tell, so that the greater one of row 3 does not come first."""
    ranking = FadingRanking.of(count([(1, 1_000_000_000, 0), (3, 1_000_000_001, 0), (0, 1, 0)], 0.0), 4)
    assert listed(ranking.head(1, START, WHOLE)) == ([1, 3], [1e9, 1e9])

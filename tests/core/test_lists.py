from __future__ import annotations

import numpy as np
import pytest

from multirecall.engine.check import fault_of, fault_of_batch
from multirecall.lists import FusedBatch, FusedList, RankedBatch, RankedList
from multirecall.query import Query
from multirecall.query_batch import eligible_in_lists


def ranked(*items: int) -> RankedList:
    return RankedList(np.array(items, np.int32), np.arange(len(items), 0, -1, dtype=np.float32))


def fused(*items: int) -> FusedList:
    rows = np.array(items, np.int32)
    return FusedList(rows, np.arange(len(items), 0, -1, dtype=np.float64), np.stack([rows, -rows], axis=1))


RANKED = RankedBatch.from_lists([ranked(3, 1, 2), ranked(), ranked(7), ranked(5, 4)])
FUSED = FusedBatch.from_lists([fused(3, 1, 2), fused(), fused(7), fused(5, 4)])


def items_of(batch: RankedBatch | FusedBatch) -> list[list[int]]:
    lists = [batch[user] for user in range(len(batch))]
    for one in lists:
        if isinstance(one, FusedList):
            assert one.ranks.tolist() == [[item, -item] for item in one.items.tolist()], "ranks stay beside their item"
    return [one.items.tolist() for one in lists]


@pytest.mark.parametrize("batch", [RANKED, FUSED], ids=["ranked", "fused"])
def test_parts_of_a_batch(batch: RankedBatch | FusedBatch) -> None:
    assert items_of(batch.take(np.array([3, 1, 0]))) == [[5, 4], [], [3, 1, 2]]
    assert items_of(batch.keep(batch.items != 1)) == [[3, 2], [], [7], [5, 4]]
    assert items_of(batch.keep(batch.items > 9)) == [[], [], [], []]


def test_lists_in_place_of_others() -> None:
    others = RankedBatch.from_lists([ranked(9, 8), ranked(6)])
    assert items_of(RANKED.replace(np.array([1, 3]), others)) == [[3, 1, 2], [9, 8], [7], [6]]
    instead = FusedBatch.from_lists([fused(9, 8)])
    assert items_of(FUSED.replace(np.array([0]), instead)) == [[9, 8], [], [7], [5, 4]]


def test_heads_and_parts_of_ranked_lists() -> None:
    assert items_of(RANKED.heads(1)) == [[3], [], [7], [5]]
    assert RANKED.heads(3) is RANKED
    assert items_of(RANKED.part(1, 3)) == [[], [7]]
    assert len(RankedBatch.empty(0).heads(2)) == len(RANKED.part(2, 2)) == 0


def test_eligible_in_lists_is_what_each_query_says() -> None:
    rng = np.random.default_rng(5)
    allowed = rng.random(50) < 0.7
    lists = [ranked(*rng.permutation(50)[:n].tolist()) for n in (20, 0, 31)]
    none = np.empty(0, np.float32)
    for bitmap in (None, allowed):
        queries = [
            Query(
                -1,
                np.empty(0, np.int32),
                none,
                exclude=np.unique(rng.integers(0, 50, n)).astype(np.int32),
                allowed=bitmap,
            )
            for n in (9, 3, 0)
        ]
        batch = RankedBatch.from_lists(lists)
        expected = [query.eligible(one.items) for query, one in zip(queries, lists, strict=True)]
        assert eligible_in_lists(queries, batch.offsets, batch.items).tolist() == np.concatenate(expected).tolist()
    assert eligible_in_lists([], np.zeros(1, np.int64), np.empty(0, np.int32)).size == 0


@pytest.mark.parametrize(
    "bad",
    [
        ranked(3, 50),
        ranked(3, 3),
        RankedList(np.array([1, 2], np.int32), np.array([1, np.nan], np.float32)),
        RankedList(np.array([1, 2], np.int32), np.array([1, 2], np.float32)),
    ],
    ids=["row out of range", "twice", "nan", "unsorted"],
)
def test_a_bad_list_is_found_in_a_batch_as_alone(bad: RankedList) -> None:
    """At each place; a neighbour whose last score is lower than the next list's first is no fault."""
    assert fault_of_batch(RANKED, 4, 9, 50) is None
    for place in range(3):
        lists = [ranked(3, 1, 2), ranked(3)]
        lists.insert(place, bad)
        assert fault_of_batch(RankedBatch.from_lists(lists), 3, 9, 50) == fault_of(bad, 9, 50) is not None


@pytest.mark.parametrize(
    "offsets",
    [[0, 3, 3, 4], [0, 3, 2, 4, 6], [1, 3, 3, 4, 6], [0, 3, 3, 4, 5], [0, 3, 3, 4, 7]],
    ids=["a user too few", "falling", "not from 0", "too short", "too long"],
)
def test_bad_offsets_are_found(offsets: list[int]) -> None:
    batch = RankedBatch(np.array(offsets, np.int64), RANKED.items, RANKED.scores)
    assert "offsets" in str(fault_of_batch(batch, 4, 9, 50))


def test_more_than_was_asked_for_is_found() -> None:
    assert fault_of(ranked(3, 1), 1, 50) == "it has 2 items, 1 were asked for"
    assert fault_of_batch(RANKED, 4, 2, 50) == "it has 3 items for a user, 2 were asked for"


def test_what_is_no_batch_is_found() -> None:
    assert "not a RankedBatch" in str(fault_of_batch([ranked(1)], 1, 9, 50))
    wide = RankedBatch(RANKED.offsets, RANKED.items.astype(np.int64), RANKED.scores)
    assert "int32" in str(fault_of_batch(wide, 4, 9, 50))

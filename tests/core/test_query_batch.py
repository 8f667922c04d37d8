"""Queries that are read as arrays are those that are read one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from multirecall import Dataset, Engine, EngineConfig, User
from multirecall.engine.lookup import NOTHING
from multirecall.engine.narrow import narrow
from multirecall.engine.request import read_filters, read_queries
from multirecall.engine.request_batch import read_users
from multirecall.query import Query
from multirecall.query_batch import QueryBatch, eligible_in_lists, excluded_of, filters_of, histories_of, rows_of
from multirecall.testing import small_shop

USERS = [3, 999, 1, 3, 20]


def engine_of(data: Dataset) -> Engine:
    return Engine(EngineConfig.model_validate({"paths": [{"retriever": "popularity"}]})).fit(data)


def read_both(engine: Engine, users: Sequence[Any], **filters: Any) -> tuple[Sequence[Query], list[Query]]:
    state = engine._current()
    read = read_filters(state, filters.get("exclude"), filters.get("where"), filters.get("seen", False))
    context = {"device": "phone"}
    together, unknown = read_users(state.data, users, read, context, NOTHING)
    assert unknown == (read.unknown,) * len(users)
    return together, read_queries(state.data, users, read, context)


def assert_same(first: Query, second: Query) -> None:
    for name in ("user", "ordered", "features", "terms", "now", "where", "context", "deadline", "effort"):
        assert getattr(first, name) == getattr(second, name), name
    for name in ("history", "weights", "times", "exclude", "allowed", "removed"):
        ours, theirs = getattr(first, name), getattr(second, name)
        assert (ours is None) == (theirs is None), name
        if ours is not None:
            assert ours.dtype == theirs.dtype
            assert ours.tolist() == theirs.tolist(), name


@pytest.mark.parametrize("changed", [False, True], ids=["as loaded", "with live events"])
@pytest.mark.parametrize("timestamps", [True, False])
@pytest.mark.parametrize("filters", [{}, {"seen": True}, {"exclude": [4, 2, 10**6], "where": {"group": "even"}}])
def test_each_query_is_that_of_its_user(changed: bool, timestamps: bool, filters: dict[str, Any]) -> None:
    engine = engine_of(small_shop(timestamps=timestamps))
    if changed:
        time = {"timestamp": 10**9} if timestamps else {}
        engine.add_interactions([{"user_id": user, "item_id": item, **time} for user in (3, 777) for item in (1, 5000)])
        engine.remove_items([7])
    together, one_by_one = read_both(engine, [*USERS, 777], **filters)
    assert isinstance(together, QueryBatch)
    assert len(together) == len(one_by_one)
    for ours, theirs in zip(together, one_by_one, strict=True):
        assert_same(ours, theirs)
    narrower = zip(narrow(together, 9, 3), narrow(one_by_one, 9, 3), strict=True)
    for ours, theirs in narrower:
        assert_same(ours, theirs)


def test_arrays_of_a_batch_are_those_of_its_queries() -> None:
    together, one_by_one = read_both(engine_of(small_shop()), USERS, exclude=[4, 2], where={"group": "even"})
    for own, other in zip(histories_of(together), histories_of(one_by_one), strict=True):
        np.testing.assert_array_equal(own, other)
    assert rows_of(together).tolist() == rows_of(one_by_one).tolist()
    assert [rows.tolist() for rows in excluded_of(together)] == [rows.tolist() for rows in excluded_of(one_by_one)]
    assert [one.users for one in filters_of(together)] == [slice(0, len(USERS))]
    for one, two in zip(filters_of(together), filters_of(one_by_one), strict=True):
        assert (one.users, one.exclude.tolist()) == (two.users, two.exclude.tolist())
    items = np.tile(np.arange(12, dtype=np.int32), len(USERS))
    offsets = np.arange(len(USERS) + 1) * 12
    expected = [query.eligible(np.arange(12, dtype=np.int32)) for query in one_by_one]
    assert eligible_in_lists(together, offsets, items).tolist() == np.concatenate(expected).tolist()


def test_positions_are_those_of_a_sequence() -> None:
    together, one_by_one = read_both(engine_of(small_shop()), USERS)
    assert_same(together[-1], one_by_one[-1])
    assert [query.user for query in together[1:4]] == [query.user for query in one_by_one[1:4]]
    with pytest.raises(IndexError):
        together[len(USERS)]


@pytest.mark.parametrize("users", [[], [1, User(history=[2])], [1, None], [1, 2**70]])
def test_users_who_bring_more_than_an_id_are_read_one_by_one(users: list[Any]) -> None:
    together, one_by_one = read_both(engine_of(small_shop()), [one if one is not None else User() for one in users])
    assert not isinstance(together, QueryBatch)
    for ours, theirs in zip(together, one_by_one, strict=True):
        assert_same(ours, theirs)


def test_filters_are_cut_where_the_bitmap_changes() -> None:
    nobody = Query(-1, np.empty(0, np.int32), np.empty(0, np.float32))
    some = Query(-1, nobody.history, nobody.weights, exclude=np.array([2], np.int32), allowed=np.arange(5) > 1)
    found = filters_of([nobody, nobody, some, nobody])
    assert [one.users for one in found] == [slice(0, 2), slice(2, 3), slice(3, 4)]
    assert [one.exclude.tolist() for one in found] == [[], [2], []]
    assert found[1].allowed.tolist() == [False, False, True, True, True]
    assert filters_of([]) == []

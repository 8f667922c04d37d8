"""What a path is told of a request besides its user: conditions, removed items, context and deadline."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import faulty
import numpy as np
import pytest

from multirecall import Engine, EngineConfig, User
from multirecall.engine.warmup import DEADLINE_MS
from multirecall.errors import RequestError
from multirecall.lists import RankedList
from multirecall.query import Query
from multirecall.testing import small_shop


class Notes(faulty.Rows):
    """Keeps the queries that it is asked; proposes the last rows first for a phone."""

    inline = True
    queries: ClassVar[list[Query]] = []

    def retrieve(self, query: Query, quota: int) -> RankedList:
        self.queries.append(query)
        ranked = super().retrieve(query, quota)
        if query.context.get("device") == "phone":
            return RankedList(self.n_items - 1 - ranked.items, ranked.scores)
        return ranked


class LateNotes(Notes):
    """The same on a thread of its own."""

    inline = False


@pytest.fixture(autouse=True)
def queries() -> Iterator[list[Query]]:
    yield Notes.queries
    Notes.queries.clear()


def engine_of(*paths: Any, **more: Any) -> Engine:
    config = {"k": 5, "paths": [{"retriever": path} for path in paths], **more}
    engine = Engine(EngineConfig.model_validate(config)).fit(small_shop())
    Notes.queries.clear()
    return engine


CONTEXT = {"device": "phone", "page": {"name": "home", "slots": [1, 2]}}


@pytest.mark.parametrize("path", [Notes, LateNotes])
def test_every_kind_of_request_has_the_context(queries: list[Query], path: type, tmp_path: Path) -> None:
    engine = engine_of(path)
    engine.retrieve(1, context=CONTEXT)
    engine.retrieve_batch([1, User()], context=CONTEXT)
    engine.path_lists([1], context=CONTEXT)
    engine.explain(1, 3, context=CONTEXT)
    engine.write_candidates([1, 2], tmp_path / "all.parquet", context=CONTEXT)
    assert len(queries) >= 7
    assert all(query.context == CONTEXT for query in queries)


def test_without_a_context_it_is_empty(queries: list[Query]) -> None:
    engine = engine_of(Notes)
    engine.retrieve(1)
    engine.retrieve_batch([1])
    assert [query.context for query in queries] == [{}] * len(queries)


def test_context_is_the_requests_own(queries: list[Query]) -> None:
    given = {"device": "phone"}
    engine_of(Notes).retrieve(1, context=given)
    given["device"] = "watch"
    assert queries[-1].context == {"device": "phone"}


@pytest.mark.parametrize("context", ["phone", [("device", "phone")], {1: "phone"}])
def test_what_is_no_context_is_refused(context: Any) -> None:
    engine = engine_of(Notes)
    for ask in (engine.retrieve, lambda user, context: engine.retrieve_batch([user], context=context)):
        with pytest.raises(RequestError, match=r"context: got .*; pass a mapping whose keys are text"):
            ask(1, context=context)


def test_cache_keeps_contexts_apart(queries: list[Query]) -> None:
    engine = engine_of(Notes, cache_size=10)
    for _ in range(2):
        plain = engine.retrieve(1, seen=True)
        phone = engine.retrieve(1, seen=True, context={"device": "phone"})
        watch = engine.retrieve(1, seen=True, context={"device": "watch"})
    assert plain.ids.tolist() == watch.ids.tolist() != phone.ids.tolist()
    assert (engine.health().cache.hits, engine.health().cache.misses) == (3, 3)
    for _ in range(2):
        engine.retrieve(1, context={"device": object()})
    assert engine.health().cache.entries == 3, "what cannot be told apart is always asked"


def test_deadline_is_a_moment_of_the_monotonic_clock(queries: list[Query]) -> None:
    engine = engine_of(Notes)
    before = time.monotonic()
    engine.retrieve(1, deadline_ms=500_000)
    deadline = queries[-1].deadline
    assert deadline is not None
    assert before + 499 < deadline < time.monotonic() + 501
    engine.retrieve(1)
    engine.retrieve_batch([1])
    engine.explain(1, 3)
    engine.path_lists([1])
    assert {query.deadline for query in queries[1:]} == {None}


def test_deadline_of_the_config(queries: list[Query]) -> None:
    engine = engine_of(Notes, deadline_ms=900_000)
    engine.retrieve(1)
    assert queries[-1].deadline is not None


def test_warm_up_gives_each_path_its_time(queries: list[Query]) -> None:
    config = {"paths": [{"retriever": Notes}]}
    before = time.monotonic()
    Engine(EngineConfig.model_validate(config)).fit(small_shop())
    assert queries
    for query in queries:
        assert query.deadline is not None
        assert query.deadline >= before + DEADLINE_MS / 1e3 - 1


def test_where_and_removed_say_what_allowed_was_made_from(queries: list[Query]) -> None:
    engine = engine_of(Notes)
    where = {"group": "even", "price": {"min": 2}}
    for removed in ([], [4, 2]):
        if removed:
            engine.remove_items(removed)
        for given in (None, where):
            engine.retrieve(1, where=given)
            query = queries[-1]
            assert query.where.to_dict() == ({"group": ["even"], "price": {"min": 2}} if given else {})
            assert json.loads(json.dumps(query.where.to_dict())) == query.where.to_dict()
            assert query.removed.dtype == np.int32
            assert query.removed.tolist() == sorted(engine.data.items.ids.rows(removed).tolist())
            expected = np.ones(engine.data.n_items, np.bool_)
            if given:
                expected &= [values.get("group") == "even" and values.get("price", 0) >= 2
                             for values in map(engine.data.items.values, range(engine.data.n_items))]  # fmt: skip
            expected[query.removed] = False
            allowed = np.ones_like(expected) if query.allowed is None else query.allowed
            assert allowed.tolist() == expected.tolist()
    engine.retrieve_batch([1], where=where)
    assert (queries[-1].where, queries[-1].removed.tolist()) == (query.where, query.removed.tolist())


def test_path_is_not_told_of_removed_rows_that_it_does_not_know(queries: list[Query]) -> None:
    engine = engine_of(Notes)
    engine.add_items([{"item_id": 1_000}])
    engine.remove_items([3, 1_000])
    engine.retrieve(1)
    assert queries[-1].removed.tolist() == engine.data.items.ids.rows([3]).tolist()


def test_queries_of_a_batch_share_their_bitmap(queries: list[Query]) -> None:
    """Also where the path does not know the newest items, so that a kernel can take it once for all."""
    engine = engine_of(Notes)
    engine.remove_items([3])
    for n_items in (engine.data.n_items, engine.data.n_items):
        engine.retrieve_batch([1, 2, 4])
        allowed = [query.allowed for query in queries[-3:]]
        assert allowed[0] is allowed[1] is allowed[2]
        assert allowed[0] is not None
        assert allowed[0].size == n_items
        engine.add_items([{"item_id": 1_000}])


class Patient(Notes):
    """Waits until its deadline has passed, then raises as a connection that runs out of time does."""

    def retrieve(self, query: Query, quota: int) -> RankedList:
        ranked = super().retrieve(query, quota)
        if query.deadline is not None:
            while time.monotonic() <= query.deadline:
                time.sleep(max(query.deadline - time.monotonic(), 0.001))
            raise TimeoutError("timed out")
        return ranked


class LatePatient(Patient):
    """The same on a thread of its own."""

    inline = False


@pytest.mark.parametrize("path", [Patient, LatePatient])
def test_a_path_that_obeys_the_deadline_is_late_and_not_blamed_for_a_hasty_caller(path: type) -> None:
    engine = engine_of(path, deadline_ms=60_000)
    for _ in range(6):
        result = engine.retrieve(1, deadline_ms=5)
        assert result.status[path.__name__].state == "late"
        assert len(result) == 5, "the fallback delivers"
    assert engine.health().paths[path.__name__].breaker == "closed"
    assert engine.health().paths[path.__name__].failed == 0


def test_a_timeout_before_the_deadline_is_a_failure() -> None:
    class Broken(Notes):
        def retrieve(self, query: Query, quota: int) -> RankedList:
            if query.deadline is not None:
                raise TimeoutError("the service gave up")
            return super().retrieve(query, quota)

    engine = engine_of(Broken, Notes)
    assert engine.retrieve(1, deadline_ms=60_000).status["Broken"].state == "failed"


def test_an_inline_fallback_has_no_deadline(queries: list[Query]) -> None:
    engine = engine_of(LatePatient, fallback={"retriever": Notes})
    engine.retrieve(1, deadline_ms=5)
    assert queries[-1].deadline is None

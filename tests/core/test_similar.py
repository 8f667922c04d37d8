"""`Engine.similar`: the items most like an item, from every path that compares items."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from multirecall import Engine, EngineConfig, PathConfig
from multirecall.errors import RequestError
from multirecall.lists import RankedBatch
from multirecall.retrievers.item_cf import ItemCF
from multirecall.testing import small_shop

PARAMS = {"item_cf": {}, "als": {"dim": 6}, "popularity": {}}


@pytest.fixture(scope="module")
def engine() -> Engine:
    paths = tuple(PathConfig(retriever=name, params=params) for name, params in PARAMS.items())
    return Engine(EngineConfig.model_validate({"paths": paths, "fusion": {"strategy": "rrf"}})).fit(small_shop("str"))


def some_item(engine: Engine) -> str:
    return str(engine.data.items.ids.id(int(engine.data.interactions.items[0])))


def test_the_fused_list_is_that_of_the_neighbours(engine: Engine) -> None:
    item = some_item(engine)
    found = engine.similar(item, 8)
    scores: dict[str, float] = {}
    for path in ("item_cf", "als"):
        items, neighbours, _ = engine.neighbours(path)
        for rank, neighbour in enumerate(neighbours[items == item].tolist()):
            scores[neighbour] = scores.get(neighbour, 0.0) + 1.0 / (60 + rank + 1)
    rows = engine.data.items.ids
    expected = sorted(scores, key=lambda one: (-round(scores[one], 12), rows.row(one)))[:8]
    assert found.ids.tolist() == expected
    np.testing.assert_allclose(found.scores, [scores[one] for one in expected])
    assert {name: one.state for name, one in found.status.items()} == {
        "item_cf": "ok",
        "als": "ok",
        "popularity": "skipped",
    }
    assert found.status["popularity"].detail == "it compares no items"
    assert item not in found.ids
    for one in found:
        assert set(one.provenance) <= {"item_cf", "als"}


def test_filters_hold_and_what_is_missing_is_counted(engine: Engine) -> None:
    item = some_item(engine)
    everything = engine.similar(item, 500)
    assert everything.shortfall == 500 - len(everything)
    assert everything.n_backfilled == 0
    first = everything.ids[0]
    assert first not in engine.similar(item, 500, exclude=[first]).ids
    filtered = engine.similar(item, 500, where={"group": "even"})
    groups = [engine.data.items.values(row)["group"] for row in engine.data.items.ids.rows(filtered.ids).tolist()]
    assert groups
    assert set(groups) == {"even"}
    unknown = engine.similar(item, 3, exclude=["nothing"])
    assert unknown.unknown_items == ("nothing",)


def test_live_items(engine: Engine) -> None:
    paths = [{"retriever": "content"}, {"retriever": "als", "params": {"dim": 6}}]
    own = Engine(EngineConfig(paths=paths)).fit(small_shop("str"))  # type: ignore[arg-type]
    old = some_item(own)
    own.add_items([{"item_id": "fresh", **own.data.items.values(own.data.items.ids.row(old))}])
    found = own.similar("fresh", 5)
    assert len(found) == 5
    assert found.status["als"].count == 0
    assert "fresh" in own.similar(old, 100).ids
    own.remove_items(["fresh"])
    assert "fresh" not in own.similar(old, 100).ids


class Broken(ItemCF):  # type: ignore[misc]
    def similar_items(self, items: Any, k: int, filters: Any = None) -> RankedBatch | None:
        if items.size:
            raise ValueError("broken")
        return RankedBatch.empty(0)


def test_a_failing_path_is_a_status() -> None:
    paths: Any = [{"retriever": Broken, "name": "broken"}, {"retriever": "item_cf"}]
    own = Engine(EngineConfig(paths=paths)).fit(small_shop("str"))
    found = own.similar(some_item(own), 5)
    assert found.status["broken"].state == "failed"
    assert found.status["item_cf"].state == "ok"
    assert len(found)


def test_what_cannot_be_answered_is_refused(engine: Engine) -> None:
    with pytest.raises(RequestError, match="similar: no item has the id 'nothing'"):
        engine.similar("nothing")
    with pytest.raises(RequestError, match="k must be a whole number > 0"):
        engine.similar(some_item(engine), 0)
    alone = Engine(EngineConfig(paths=(PathConfig(retriever="popularity"),))).fit(small_shop("str"))
    with pytest.raises(RequestError, match="no path of this engine compares items"):
        alone.similar(some_item(alone))

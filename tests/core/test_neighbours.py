"""`Engine.neighbours`: the items that a path finds most like each item."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from multirecall import Engine, EngineConfig, PathConfig, User
from multirecall.cli import app
from multirecall.errors import RequestError
from multirecall.testing import small_shop

PARAMS = {"item_cf": {"neighbours": 6}, "als": {"dim": 6}, "two_tower": {"epochs": 1, "dim": 8}, "popularity": {}}


@pytest.fixture(scope="module")
def engine() -> Engine:
    paths = tuple(PathConfig(retriever=name, params=params) for name, params in PARAMS.items())
    return Engine(EngineConfig(paths=paths)).fit(small_shop("str"))


def lists_of(found: tuple[Any, Any, Any]) -> dict[str, list[tuple[str, float]]]:
    lists: dict[str, list[tuple[str, float]]] = {}
    for item, neighbour, score in zip(*(column.tolist() for column in found), strict=True):
        lists.setdefault(item, []).append((neighbour, score))
    return lists


def test_neighbour_lists_are_what_a_visitor_with_one_item_gets(engine: Engine) -> None:
    lists = lists_of(engine.neighbours("item_cf"))
    ids = engine.data.items.ids
    for item, own in lists.items():
        ranked = engine.path_lists([User(history=[item])])["item_cf"][0]
        assert own == list(zip(ids.ids(ranked.items).tolist(), ranked.scores.tolist(), strict=True))
        assert 0 < len(own) <= 6


@pytest.mark.parametrize("path", ["als", "two_tower"])
def test_vectors_are_compared_by_cosine(engine: Engine, path: str) -> None:
    ids, vectors = engine.vectors(path)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = units @ units.T
    np.fill_diagonal(cosines, -np.inf)
    lists = lists_of(engine.neighbours(path, 3))
    for place, item in enumerate(ids.tolist()):
        scores = [score for _, score in lists[item]]
        np.testing.assert_allclose(scores, np.sort(cosines[place])[::-1][:3], atol=1e-5)
        named = [ids.tolist().index(neighbour) for neighbour, _ in lists[item]]
        np.testing.assert_allclose(cosines[place, named], scores, atol=1e-5)


def test_removed_items_are_left_out_and_items_that_joined_come_in() -> None:
    paths = [{"retriever": "item2vec", "params": {"epochs": 1, "dim": 8}}, {"retriever": "als", "params": {"dim": 6}}]
    engine = Engine(EngineConfig(paths=paths)).fit(small_shop("str"))  # type: ignore[arg-type]
    first, second = engine.data.items.ids.ids(slice(0, 2)).tolist()
    features = engine.data.items.values(1)
    engine.remove_items([first])
    engine.add_items([{"item_id": "fresh", **features}])
    items, neighbours, _ = engine.neighbours("item2vec")
    assert first not in {*items.tolist(), *neighbours.tolist()}
    assert "fresh" in items
    assert "fresh" in neighbours
    items, neighbours, _ = engine.neighbours("als")  # does not know items that joined
    assert not {first, "fresh"} & {*items.tolist(), *neighbours.tolist()}
    assert second in items


def test_what_cannot_be_told_is_refused(engine: Engine) -> None:
    assert engine.neighbour_paths == ("item_cf", "als", "two_tower")
    with pytest.raises(
        RequestError, match="path 'popularity' does not compare items; name one that does: item_cf, als"
    ):
        engine.neighbours("popularity")
    with pytest.raises(RequestError, match="neighbours: no path is named 'item_cg'; did you mean 'item_cf'"):
        engine.neighbours("item_cg")
    for k in (0, -1, 2.5, True):
        with pytest.raises(RequestError, match="k must be a whole number > 0"):
            engine.neighbours("item_cf", k)  # type: ignore[arg-type]


def test_a_bundle_without_vectors_and_neighbours_exports_nothing(tmp_path: Path) -> None:
    Engine(EngineConfig(paths=(PathConfig(retriever="popularity"),))).fit(small_shop("str")).save(tmp_path / "bundle")
    done = CliRunner().invoke(app, ["export", str(tmp_path / "bundle"), "--out", str(tmp_path / "parts")])
    assert "no path has item vectors or compares items" in str(done.exception)
    assert not (tmp_path / "parts").exists()

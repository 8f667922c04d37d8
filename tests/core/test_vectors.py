"""`Engine.vectors`: the item vectors that a path compares items by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from multirecall import Engine, EngineConfig, PathConfig, User
from multirecall.errors import NotFitted, RequestError
from multirecall.testing import small_shop

PARAMS = {"two_tower": {"epochs": 1, "dim": 8}, "item2vec": {"epochs": 1, "dim": 8}, "als": {"dim": 6}}


@pytest.fixture(scope="module")
def engine() -> Engine:
    paths = tuple(PathConfig(retriever=name, params=params) for name, params in PARAMS.items())
    walks = PathConfig(retriever="node2vec", params={"serve": "walks"})
    config = EngineConfig(paths=(*paths, PathConfig(retriever="item_cf"), walks))
    return Engine(config).fit(small_shop("str"))


def test_a_vector_for_each_id(engine: Engine) -> None:
    for name, dim in (("two_tower", 8), ("item2vec", 8)):
        ids, vectors = engine.vectors(name)
        assert ids.tolist() == engine.data.items.ids.ids().tolist()
        assert vectors.shape == (len(ids), dim)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_als_has_vectors_of_the_items_with_events(engine: Engine) -> None:
    ids, vectors = engine.vectors("als")
    assert ids.tolist() == engine.data.items.ids.ids(np.unique(engine.data.interactions.items)).tolist()
    assert len(ids) < engine.data.n_items
    assert vectors.shape == (len(ids), 6)


def test_the_scores_of_a_list_come_from_the_vectors() -> None:
    """`item2vec` scores an item by its cosine to the one event of the history; alone, the path's order is its own."""
    with Engine(EngineConfig(paths=(PathConfig(retriever="item2vec", params=PARAMS["item2vec"]),))) as engine:
        engine.fit(small_shop("str"))
        ids, vectors = engine.vectors("item2vec")
        cosines = vectors @ vectors[3]
        expected = ids[np.argsort(-cosines, kind="stable")]
        found = engine.path_lists([User(history=[str(ids[3])])])["item2vec"][0]
        assert engine.data.items.ids.ids(found.items[:9]).tolist() == expected[1:10].tolist()
        np.testing.assert_allclose(found.scores[:9], np.sort(cosines)[::-1][1:10], atol=1e-5)


def test_a_path_without_names_those_that_have(engine: Engine) -> None:
    assert engine.vector_paths == ("two_tower", "item2vec", "als")
    for name in ("item_cf", "node2vec"):
        with pytest.raises(
            RequestError, match=f"path '{name}' has no item vectors; name one that has: two_tower, item2vec, als"
        ):
            engine.vectors(name)
    with pytest.raises(RequestError, match="no path is named 'item3vec'; did you mean 'item2vec'"):
        engine.vectors("item3vec")
    with (
        Engine(EngineConfig(paths=(PathConfig(retriever="item_cf"),))).fit(small_shop()) as bare,
        pytest.raises(RequestError, match="path 'item_cf' has no item vectors; no path of this engine has"),
    ):
        bare.vectors("item_cf")
    with pytest.raises(NotFitted):
        Engine().vectors("als")


def test_items_come_and_go(tmp_path: Path) -> None:
    config = EngineConfig(paths=tuple(PathConfig(retriever=name, params=PARAMS[name]) for name in ("item2vec", "als")))
    with Engine(config).fit(small_shop("str")) as engine:
        engine.save(tmp_path)
        ids, vectors = engine.vectors("item2vec")
        gone = str(ids[1])
        engine.remove_items([gone])
        engine.add_items([{"item_id": "new", "group": "even", "title": "red item"}])
        kept, left = engine.vectors("item2vec")
        assert kept.tolist() == [*ids[:1], *ids[2:], "new"]
        np.testing.assert_array_equal(left[:-1], np.delete(vectors, 1, axis=0))
        assert left[-1].any(), "its like give it a vector"
        assert not {gone, "new"} & set(engine.vectors("als")[0].tolist())
        left[:] = 0
        assert engine.vectors("item2vec")[1].any(), "a caller has a copy"
    with Engine.load(tmp_path) as loaded:
        again, theirs = loaded.vectors("item2vec")
        assert again.tolist() == kept.tolist()
        np.testing.assert_array_equal(theirs[:-1], np.delete(vectors, 1, axis=0))

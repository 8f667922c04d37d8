from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from multirecall import Dataset, Engine, EngineConfig, PathConfig
from multirecall.errors import RequestError
from multirecall.evaluation import Method, embedding_health, item_map, layout, path_embeddings
from multirecall.testing import small_shop


def test_spread_vectors_are_healthy() -> None:
    health = embedding_health(np.random.default_rng(1).normal(size=(2_000, 16)))
    assert health.warnings == ()
    assert health.mean_cosine == pytest.approx(0, abs=0.02)
    assert health.effective_rank == pytest.approx(16, rel=0.02)
    assert health.norms[2] == pytest.approx(np.sqrt(15.5), rel=0.03)
    assert sum(health.histogram) == pytest.approx(1)
    assert health.similarities == tuple(sorted(health.similarities))


def test_cosines_written_out() -> None:
    health = embedding_health(np.array([[2.0, 0.0], [0.0, 1.0]]))
    assert (health.mean_cosine, health.similarities) == (0.0, (0.0,) * 5)
    assert health.norms[2] == 1.5
    assert health.effective_rank == pytest.approx(np.exp(-(2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3))))


def test_what_is_wrong_is_said() -> None:
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(500, 32)).astype(np.float32)
    vectors[:, 1:] *= 0.01
    vectors[:, 0] = np.abs(vectors[:, 0]) + 1
    vectors[3, 2] = np.nan
    vectors[4] = 0
    vectors[6:8] = vectors[5]
    health = embedding_health(vectors)
    assert (health.n_not_finite, health.n_zero, health.n_repeated) == (1, 1, 2)
    said = "; ".join(health.warnings)
    for part in (
        "vectors that hold NaN or infinity: 1 of 500",
        "vectors of length 0, which are similar to no item: 1",
        "vectors that equal an earlier one: 2",
        "point one way",
        "effective rank",
    ):
        assert part in said


def test_the_effective_rank_is_that_of_the_singular_values() -> None:
    vectors = np.random.default_rng(4).normal(size=(300, 12)) * np.logspace(0, -3, 12)
    singular = np.linalg.svd(vectors, compute_uv=False)
    shares = singular / singular.sum()
    expected = np.exp(-(shares * np.log(shares)).sum())
    for scale in (1.0, 1e200, 1e-200):
        assert embedding_health(vectors * scale).effective_rank == pytest.approx(expected, rel=1e-6)


def two_groups(n: int = 200) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Which of two groups each vector is of, and vectors that lie far apart by group."""
    rng = np.random.default_rng(3)
    groups = rng.integers(0, 2, n)
    return groups, (rng.normal(size=(2, 8))[groups] * 9 + rng.normal(size=(n, 8))).astype(np.float32)


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_what_is_alike_is_laid_out_together(method: Method) -> None:
    if method == "tsne":
        pytest.importorskip("sklearn", reason="scikit-learn is not installed: multirecall[tsne]")
    groups, vectors = two_groups()
    vectors[0], vectors[1] = np.nan, 0
    places, points = layout(vectors, method, seed=1)
    assert places.tolist() == list(range(2, 200))
    assert points.shape == (198, 2)
    middles = [points[groups[places] == group].mean(axis=0) for group in (0, 1)]
    nearer = np.linalg.norm(points - middles[1], axis=1) < np.linalg.norm(points - middles[0], axis=1)
    assert nearer.tolist() == (groups[places] == 1).tolist()
    again = layout(vectors, method, seed=1)[1]
    assert again.tolist() == points.tolist()


def test_a_map_shows_a_draw_of_many_vectors() -> None:
    places, points = layout(two_groups(6_000)[1])
    assert points.shape == (5_000, 2)
    assert (np.diff(places) > 0).all()


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.ones((4, 1)), "the vectors have one dimension; a map needs two or more"),
        (np.eye(4)[:2], "fewer than three vectors are finite and not zero; there is nothing to map"),
        (np.ones(4), r"got float64 \(4,\); pass an array of floats"),
    ],
)
def test_what_has_no_layout_is_refused(vectors: NDArray[np.float64], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        layout(vectors)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.zeros((4, 2)), "fewer than two vectors are finite and not zero"),
        (np.zeros(4), r"got float64 \(4,\); pass an array of floats, one row"),
        (np.zeros((4, 2), np.int32), r"got int32 \(4, 2\); pass an array of floats"),
        ([[1.0]], "got list; pass an array of floats"),
    ],
)
def test_what_is_no_embedding_is_refused(vectors: np.typing.NDArray[np.float64], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        embedding_health(vectors)


FITTED = {"item_cf": {}, "item2vec": {"epochs": 1, "dim": 8}, "als": {"dim": 1}}


@pytest.fixture(scope="module")
def engine() -> Engine:
    paths = tuple(PathConfig(retriever=name, params=params) for name, params in FITTED.items())
    return Engine(EngineConfig(paths=paths)).fit(small_shop("str"))


def test_each_path_that_has_vectors_is_looked_at(engine: Engine) -> None:
    item2vec, als = path_embeddings(engine, "pca")
    assert (item2vec.path, als.path) == ("item2vec", "als")
    assert item2vec.health == embedding_health(engine.vectors("item2vec")[1])
    assert item2vec.fault is None
    assert item2vec.remarks == list(item2vec.health.warnings)
    assert als.health is not None
    assert als.map is None
    assert als.remarks[-1] == "embeddings: the vectors have one dimension; a map needs two or more"
    assert [one.map for one in path_embeddings(engine)] == [None, None], "none was asked for"
    json.dumps([one.to_dict() for one in (item2vec, als)], allow_nan=False)


def test_a_map_has_a_point_a_label_and_a_group_for_each_item(engine: Engine) -> None:
    drawn = path_embeddings(engine, "pca")[0].map
    assert drawn is not None
    ids = engine.vectors("item2vec")[0].tolist()
    titles = [engine.data.items.values(row)["title"] for row in range(engine.data.n_items)]
    assert drawn.labels == [f"{item} {title}" for item, title in zip(ids, titles, strict=True)]
    assert drawn.field == "group"
    assert [name for name, _ in drawn.groups] == ["even", "odd", "others"]
    names = [drawn.groups[group][0] for _, _, group in drawn.points]
    assert names == [engine.data.items.values(row)["group"] for row in range(engine.data.n_items)]
    for axis in (0, 1):
        assert (min(place := [point[axis] for point in drawn.points]), max(place)) == (0, 1)


def test_a_map_without_features() -> None:
    data = small_shop(features=False)
    drawn = item_map(data.items, data.items.ids.ids(), two_groups(data.n_items)[1])
    assert (drawn.field, [name for name, _ in drawn.groups]) == ("", ["items"])
    assert {group for _, _, group in drawn.points} == {0}
    assert drawn.labels == [str(item) for item in data.items.ids.ids().tolist()]


def test_frequent_groups_have_a_colour_and_the_rest_is_grey() -> None:
    kinds = [f"k{kind}" for kind in range(10) for _ in range(12 - kind)]
    catalogue = pl.DataFrame({"item_id": range(len(kinds) + 1), "kind": [*kinds, None]})
    items = Dataset.from_frames(pl.DataFrame({"user_id": [1], "item_id": [0]}), catalogue).items
    drawn = item_map(items, items.ids.ids(), two_groups(len(items))[1])
    assert [name for name, _ in drawn.groups] == [*(f"k{kind}" for kind in range(7)), "others"]
    assert len({colour for _, colour in drawn.groups}) == 8
    assert [group for _, _, group in drawn.points] == [min(int(kind[1:]), 7) for kind in kinds] + [7]


def test_an_engine_without_vectors_has_nothing_to_look_at() -> None:
    with Engine(EngineConfig(paths=(PathConfig(retriever="item_cf"),))).fit(small_shop()) as engine:
        assert path_embeddings(engine, "pca") == []

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from multirecall.errors import RequestError
from multirecall.evaluation import embedding_health, embedding_map, similarity_plot


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
        "1 of 500 vectors hold NaN",
        "1 vectors are zero",
        "2 vectors equal",
        "point one way",
        "effective rank",
    ):
        assert part in said


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_map_and_distribution_are_drawn(tmp_path: Path, method: str) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: multirecall[plots]")
    if method == "tsne":
        pytest.importorskip("sklearn", reason="scikit-learn is not installed: multirecall[tsne]")
    rng = np.random.default_rng(3)
    groups = rng.integers(0, 12, 200)
    vectors = (rng.normal(size=(12, 8))[groups] * 3 + rng.normal(size=(200, 8))).astype(np.float32)
    vectors[0] = np.nan
    embedding_map(vectors, groups, tmp_path / "map.png", method=method)  # type: ignore[arg-type]
    similarity_plot(embedding_health(vectors), tmp_path / "similarity.svg")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "similarity.svg").read_text()


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


def test_map_needs_a_category_for_each(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="4 vectors and 2 categories"):
        embedding_map(np.ones((4, 2)), ["a", "b"], tmp_path / "map.png")

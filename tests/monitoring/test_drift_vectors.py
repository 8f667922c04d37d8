"""How far item vectors moved: a turned copy has not, noise shows, and the rotation is the best one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from multirecall import Engine, EngineConfig
from multirecall.monitoring.drift import compare_vectors, vector_drift
from multirecall.monitoring.drift.embeddings import rotation
from multirecall.testing import small_shop


def vectors(seed: int, n: int = 300, dim: int = 8) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(n, dim))


def turn(dim: int = 8) -> NDArray[np.float64]:
    return np.linalg.qr(vectors(9, dim, dim))[0]


def test_a_turned_copy_has_not_moved() -> None:
    before = vectors(1)
    found = compare_vectors("p", before, before @ turn())
    assert found.overlap == 1.0
    assert found.shift == pytest.approx(0.0, abs=1e-12)
    assert found.residual == pytest.approx(0.0, abs=1e-12)
    assert found.moved_cosines == pytest.approx(0.0, abs=1e-12)
    assert found.norms[0] == pytest.approx(found.norms[1])


def test_the_rotation_is_the_one_that_was_turned_by() -> None:
    np.testing.assert_allclose(rotation(vectors(1), vectors(1) @ turn()), turn(), atol=1e-12)


def test_a_turn_about_90_degrees_by_hand() -> None:
    before = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    now = np.array([[0.0, 1.0], [-2.0, 0.0], [-1.0, 1.0]])
    np.testing.assert_allclose(rotation(before, now), [[0.0, 1.0], [-1.0, 0.0]], atol=1e-12)


def test_noise_shows_in_proportion() -> None:
    before = vectors(1)
    found = [compare_vectors("p", before, before + size * vectors(2)) for size in (0.1, 0.5, 2.0)]
    assert found[0].overlap > found[1].overlap > found[2].overlap
    shifts = [one.shift or 0.0 for one in found]
    assert shifts == sorted(shifts)
    assert found[2].moved_cosines > found[0].moved_cosines


def test_longer_vectors_show_in_norms_alone() -> None:
    found = compare_vectors("p", vectors(1), 3 * vectors(1))
    assert found.overlap == 1.0
    assert found.norms[1][2] == pytest.approx(3 * found.norms[0][2])
    assert found.residual == pytest.approx(2 / 3)


def test_vectors_of_another_length_have_neighbours_only() -> None:
    found = compare_vectors("p", vectors(1, dim=8), vectors(1, dim=5))
    assert found.shift is found.residual is None
    assert 0 <= found.overlap < 1


def test_two_engines_are_compared_on_the_items_that_they_share() -> None:
    config = {"paths": [{"retriever": "als"}, {"retriever": "popularity"}], "fusion": {"strategy": "rrf"}}
    engines = [Engine(EngineConfig.model_validate({**config, "seed": seed})).fit(small_shop()) for seed in (1, 1, 2)]
    [same] = vector_drift(engines[0], engines[1])
    [other] = vector_drift(engines[0], engines[2])
    assert same.path == other.path == "als"
    assert same.overlap == 1.0 >= other.overlap
    assert same.n_items == engines[0].vectors("als")[0].size

"""Where the embeddings of items begin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from multirecall.data import Interactions
from multirecall.progress import SILENT
from multirecall.retrievers._towers.data import TrainingData
from multirecall.retrievers._towers.mlp import Vectors
from multirecall.retrievers._towers.model import TowerModel
from multirecall.retrievers._towers.start import spectral_vectors
from multirecall.retrievers.two_tower import TwoTower
from multirecall.testing import small_shop


def vectors_of(log: Interactions, dim: int) -> Vectors:
    return spectral_vectors(log, dim, np.random.default_rng(0), SILENT, "two_tower")


def test_cosines_are_those_of_the_full_decomposition() -> None:
    """With as many vectors as users, all of the spectrum is there, and no order of equal values matters."""
    log = small_shop().interactions
    chosen = (log.matrix.toarray() > 0).astype(np.float64)
    scaled = chosen / np.sqrt(np.maximum(chosen.sum(1), 1))[:, None] / np.sqrt(np.maximum(chosen.sum(0), 1))
    _, values, right = np.linalg.svd(scaled, full_matrices=False)
    expected = right[values > 1e-6].T
    expected /= np.maximum(np.linalg.norm(expected, axis=1, keepdims=True), 1e-9)
    found = vectors_of(log, log.n_items)
    assert found.shape == (log.n_items, log.n_items)
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-4)


def test_weights_and_repeats_do_not_count() -> None:
    log = small_shop().interactions
    heavier = replace(log, weights=log.weights * np.linspace(1, 9, len(log), dtype=np.float32))
    np.testing.assert_array_equal(vectors_of(heavier, 4), vectors_of(log, 4))


def test_item_without_events_has_no_vector() -> None:
    log = small_shop().interactions
    without = np.bincount(log.items, minlength=log.n_items) == 0
    assert without.any()
    np.testing.assert_allclose(np.linalg.norm(vectors_of(log, 4), axis=1), ~without, atol=1e-6)


def test_untrained_vectors_are_near_the_spectrum() -> None:
    """The random part of an embedding has three tenths of the length of the other."""
    data = small_shop(features=False)
    config = TwoTower.Config.model_validate({"dim": 64, "precision": "float32"})
    rng = np.random.default_rng(0)
    training = TrainingData.of(data, config, "two_tower", rng)
    start = vectors_of(training.log, config.dim)
    torch.manual_seed(0)
    model = TowerModel(training, config, TwoTower.new_encoders, torch.device("cpu"), torch.float32, start)
    items = model.item_vectors().numpy()
    np.testing.assert_allclose(np.linalg.norm(items, axis=1), 1, atol=1e-5)
    assert np.sum(items * start, axis=1).mean() > 0.9
    users = np.arange(20, dtype=np.int32)
    (events,) = np.nonzero(np.diff(training.log.users, append=-1))
    histories = training.histories(events[:20], 1, 50, rng)
    means = np.add.reduceat(start[histories.items], histories.offsets[:-1])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    vectors = model.user_vectors(users, histories).numpy()[:, 0]
    assert np.sum(vectors * means, axis=1).mean() > 0.8

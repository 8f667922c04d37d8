"""Where the embeddings of items begin."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from multirecall.data import Interactions
from multirecall.progress import SILENT
from multirecall.retrievers._sparse.spectral_start import Vectors, spectral_start
from multirecall.retrievers._towers.data import TrainingData
from multirecall.retrievers._towers.model import TowerModel
from multirecall.retrievers.item2vec import Item2Vec
from multirecall.retrievers.node2vec import Node2Vec
from multirecall.retrievers.two_tower import TwoTower
from multirecall.testing import small_shop


def vectors_of(log: Interactions, dim: int) -> Vectors:
    return spectral_start(log.matrix, dim, np.random.default_rng(0), SILENT, "two_tower")[1]


def test_cosines_are_those_of_the_full_decomposition() -> None:
    """With as many vectors as items, all of the spectrum is there: these are the cosines of the matrix's columns."""
    log = small_shop().interactions
    chosen = (log.matrix.toarray() > 0).astype(np.float64)
    scaled = chosen / np.sqrt(np.maximum(chosen.sum(1), 1))[:, None] / np.sqrt(np.maximum(chosen.sum(0), 1))
    _, values, right = np.linalg.svd(scaled, full_matrices=False)
    expected = right.T * values
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


def test_rows_are_near_their_columns() -> None:
    """Two blocks without a common entry: what stands in one is alike, and unlike what stands in the other."""
    matrix = csr_array(np.kron(np.eye(2), np.ones((4, 3))))
    rows, columns = spectral_start(matrix, 2, np.random.default_rng(0), SILENT, "")
    blocks = np.repeat([0, 1], 4)[:, None] == np.repeat([0, 1], 3)[None, :]
    np.testing.assert_allclose(rows @ columns.T, blocks, atol=1e-5)


@pytest.mark.parametrize("retriever", [Item2Vec, Node2Vec])
def test_untrained_skip_gram_is_at_the_spectrum(retriever: Any) -> None:
    """A learning rate close to 0 leaves the vectors where they begin, but for a small random part."""
    data = small_shop(features=False)
    params = {"dim": 16, "learning_rate": 1e-12, "half_life": None}
    path = retriever(retriever.Config.model_validate(params))
    path.fit(data, rng=np.random.default_rng(0), progress=SILENT)
    rows, vectors = path.item_vectors()
    start = vectors_of(data.interactions, 16)[rows]
    learnt = np.linalg.norm(start, axis=1) > 0
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose((units @ units.T)[learnt][:, learnt], (start @ start.T)[learnt][:, learnt], atol=0.05)


def test_graph_of_items_begins_at_its_own_spectrum(tmp_path: Path) -> None:
    """Items 0 to 3 and 4 to 7 are two cliques."""
    data = small_shop(features=False)
    ids = data.items.ids.ids(np.arange(8)).tolist()
    edges = [(a, b) for half in (range(4), range(4, 8)) for a in half for b in half if a < b]
    file = tmp_path / "edges.csv"
    file.write_text("source,target\n" + "".join(f"{ids[a]},{ids[b]}\n" for a, b in edges))
    path = Node2Vec(
        Node2Vec.Config.model_validate({"graph": str(file), "dim": 8, "learning_rate": 1e-12, "weighted": False})
    )
    path.fit(data, rng=np.random.default_rng(0), progress=SILENT)
    found = path.item_vectors()
    assert found is not None
    rows, vectors = found
    own = vectors[np.isin(rows, np.arange(8))]
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    same = np.arange(8)[:, None] // 4 == np.arange(8)[None, :] // 4
    assert (own @ own.T)[same].min() > (own @ own.T)[~same].max()

"""The share of the true items that indexes find, on vectors of real logs and on generated ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from index_helpers import never_scan
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import svds

from multirecall.retrievers._index import effort
from multirecall.retrievers._index.auto import AutoConfig
from multirecall.retrievers._index.exact import ExactConfig
from multirecall.retrievers._index.hnsw import HnswConfig
from multirecall.retrievers._index.ivf import IvfConfig
from multirecall.retrievers._index.kinds import build_index, index_settings
from multirecall.vector_index import SPACES, IndexConfig

EXACT, AUTO, IVF, HNSW = ExactConfig(), AutoConfig(), IvfConfig(), HnswConfig()


def recall(
    vectors: np.ndarray,
    asked: list[np.ndarray],
    space: Any,
    config: IndexConfig,
    *ks: int,
    told: np.ndarray | None = None,
) -> float:
    """Share of the exact top `k` that an index finds: the lowest over sets of queries and values of `k`.

    An item that ties with the last of them counts as well: many vectors of a log are equal. `told` are queries that the
    build sees.
    """
    rows = np.arange(len(vectors), dtype=np.int32)
    index, exact = (
        build_index(rows, vectors, space, one, rng=np.random.default_rng(0), asked=told) for one in (config, EXACT)
    )
    shares = []
    for k in ks:
        for queries in asked:
            found, expected = index.search_batch(queries, k), exact.search_batch(queries, k)
            shares.append(np.mean([np.mean(found[i].scores >= expected[i].scores[-1]) for i in range(len(queries))]))
    return float(min(shares))


def learned(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Item vectors and user vectors, 64-dimensional, from a truncated SVD of a log."""
    log = pl.read_parquet(file, columns=["user_id", "item_id"]).unique().sort("user_id", "item_id")
    users, items = (log[name].rank("dense").to_numpy() - 1 for name in ("user_id", "item_id"))
    matrix = csr_matrix((np.ones(len(log), np.float32), (users, items)))
    left, values, right = svds(matrix, 64, v0=np.ones(min(matrix.shape), np.float32))
    return (right.T * np.sqrt(values)).astype(np.float32), (left * np.sqrt(values)).astype(np.float32)


@pytest.mark.parametrize("name", ["ml-1m", "online-retail"])
def test_recall_on_learned_vectors_at_the_defaults(name: str, real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items, users = learned(real_data / name / "interactions.parquet")
    rng = np.random.default_rng(0)
    asked = [items[rng.choice(len(items), 100, replace=False)], users[rng.choice(len(users), 100, replace=False)]]
    for space in SPACES:
        for config in (AUTO, HNSW):
            assert recall(items, asked, space, config, 100) >= 0.99
    never_scan(monkeypatch)
    assert recall(items, asked, "cosine", HNSW, 100, 500) >= 0.99
    for space in SPACES:
        assert recall(items, asked, space, IVF, 10, 100, 500) >= 0.99


@pytest.mark.parametrize("name", ["ml-1m", "ml-latest-small", "online-retail"])
@pytest.mark.parametrize("kind", ["annoy", "faiss", "usearch"])
def test_libraries_find_as_much_as_is_asked_for_on_learned_vectors(
    name: str, kind: str, real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On users' vectors that the build has not seen, and on items' vectors."""
    never_scan(monkeypatch)
    monkeypatch.setattr(effort, "SIZES", (10, 100))
    items, users = learned(real_data / name / "interactions.parquet")
    order = np.random.default_rng(0).permutation(len(users))
    told, others = users[order[:200]], users[order[200:1_000]]
    some = items[np.random.default_rng(1).choice(len(items), 800, replace=False)]
    for share in (0.9, 0.95):
        settings = index_settings({"kind": kind, "recall": share})
        for space in SPACES:
            assert recall(items, [others, some], space, settings, 10, 100, told=told) >= share


def test_recall_on_clustered_vectors_at_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    never_scan(monkeypatch)
    rng = np.random.default_rng(16)
    centres = rng.normal(size=(60, 32))
    vectors = centres[rng.integers(0, 60, 6000)] + 0.5 * rng.normal(size=(6000, 32))
    queries = centres[rng.integers(0, 60, 60)] + 0.5 * rng.normal(size=(60, 32))
    for config in (IVF, HNSW):
        assert recall(vectors, [queries], "cosine", config, 100, 500) >= 0.99

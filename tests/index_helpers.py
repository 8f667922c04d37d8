"""What the tests of vector indexes share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from multirecall.query import Filter
from multirecall.retrievers._index import hnsw, ivf, part
from multirecall.retrievers._index.exact import ExactConfig
from multirecall.retrievers._index.kinds import build_index
from multirecall.testing.nearest import N_ROWS, State, draw_filter, draw_vectors, rows_and_vectors
from multirecall.vector_index import IndexConfig, Space, VectorIndex


def never_scan(patch: pytest.MonkeyPatch) -> None:
    """Walk graphs and visit cells even where a scan is faster, which a small test would never see otherwise."""
    patch.setattr(hnsw, "SCANNED_PER_STEP", 0)
    patch.setattr(ivf, "SCANNED", 0)
    patch.setattr(ivf, "SCANNED_PER_ITEM", 0)
    patch.setattr(part.Part, "is_slow", lambda *_: False)


def built(state: State, space: Space, config: IndexConfig, seed: int = 1) -> Any:
    """An index over the vectors of a state."""
    rows, vectors = rows_and_vectors(state)
    return build_index(rows, vectors, space, config, rng=np.random.default_rng(seed), asked=vectors[:3])


def any_state(rng: np.random.Generator, n: int) -> State:
    """Vectors at random rows."""
    vectors = draw_vectors(rng, n)
    return dict(zip(rng.choice(N_ROWS, n, replace=False).tolist(), vectors, strict=True))


def any_filter(rng: np.random.Generator) -> Filter:
    """A filter of a random width."""
    return draw_filter(rng, float(rng.choice([0.0, 0.02, 0.5, 1.0])))


def changed_index(space: Space, config: IndexConfig) -> Any:
    """An index with removed, replaced and added rows."""
    rng = np.random.default_rng(13)
    index = built(any_state(rng, 250), space, config)
    rows = rng.choice(N_ROWS, 40, replace=False).astype(np.int32)
    return index.add(rows, draw_vectors(rng, 40)).remove(rows[30:] + 1)


def ivf_and_exact(vectors: np.ndarray, space: Space, seed: int = 0) -> tuple[Any, VectorIndex]:
    """An inverted file at the defaults and the exact index, over the same vectors."""
    rows = np.arange(len(vectors), dtype=np.int32)
    both = (ivf.IvfConfig(), ExactConfig())
    own, exact = (build_index(rows, vectors, space, one, rng=np.random.default_rng(seed)) for one in both)
    return own, exact


def recall(index: VectorIndex, exact: VectorIndex, queries: np.ndarray, k: int) -> float:
    """Share of the exact items that an index finds."""
    found = [(index.search(query, k).items, exact.search(query, k).items) for query in queries]
    return float(np.mean([np.isin(truth, items).mean() for items, truth in found]))


def clustered(rng: np.random.Generator, n: int, dim: int, n_centres: int = 20) -> np.ndarray:
    """Vectors around a few centres, float32 (n, dim)."""
    centres = rng.normal(size=(n_centres, dim))
    return (centres[rng.integers(0, n_centres, n)] + 0.4 * rng.normal(size=(n, dim))).astype(np.float32)

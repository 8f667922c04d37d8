"""What the tests of vector indexes share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from multirecall.query import Filter
from multirecall.retrievers._index import hnsw, ivf, part
from multirecall.retrievers._index.kinds import build_index
from multirecall.testing.nearest import N_ROWS, State, draw_filter, draw_vectors, rows_and_vectors
from multirecall.vector_index import IndexConfig, Space


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

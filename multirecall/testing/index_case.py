"""The index under test, and what its contract tests build, ask and check."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from multirecall.lists import RankedList
from multirecall.query import Filter
from multirecall.testing.nearest import (
    N_ROWS,
    State,
    assert_nearest,
    build_with,
    draw_filter,
    draw_queries,
    draw_vectors,
)
from multirecall.topk import ALL_ALLOWED, NO_ROWS
from multirecall.vector_index import SPACES, Space, VectorIndex

K = 25
"""Items of most lists."""


class IndexCase:
    """What the contract tests of vector indexes share: the kind under test, and what they build, ask and check.

    Attributes:
        index: the plug-in class.
        params: settings for its `Config`.
        exact: whether every list holds the nearest items; otherwise shorter lists may miss some.
        least_recall: the least share of the nearest items that lists hold in the mean, where `exact` is False.
        score_tolerance: the largest relative difference from the scores of an index of kind `exact`; 0: equal to the
            bit.
        deterministic: whether the same vectors, seed and queries give the same answers, built with one thread.
    """

    index: ClassVar[type[VectorIndex]]
    params: ClassVar[Mapping[str, Any]] = {}
    exact: ClassVar[bool] = False
    least_recall: ClassVar[float] = 0.95
    score_tolerance: ClassVar[float] = 0.0
    deterministic: ClassVar[bool] = True

    @pytest.fixture(params=SPACES)
    def space(self, request: pytest.FixtureRequest) -> Space:
        space: Space = request.param
        return space

    @property
    def settings(self) -> Any:
        return self.index.Config.model_validate(dict(self.params))

    def build(self, state: State, space: Space, seed: int = 1) -> VectorIndex:
        """An index over the vectors of `state`, built with one thread."""
        return build_with(self.index, self.settings, state, space, seed)

    def load(self, folder: Path) -> VectorIndex:
        """The index that was saved into `folder`, whose files are verified."""
        return self.index.load(folder, self.settings, threads=1, verify=True)

    def change(self, index: VectorIndex, seed: int = 6) -> VectorIndex:
        """The index with rows replaced, added and removed."""
        rng = np.random.default_rng(seed)
        rows = rng.choice(N_ROWS, 40, replace=False).astype(np.int32)
        return index.add(rows, draw_vectors(rng, 40)).remove((rows[30:] + 1) % N_ROWS)

    def answers(self, index: VectorIndex) -> list[RankedList]:
        """Lists for several queries, without filters and with them."""
        rng = np.random.default_rng(8)
        filters = [draw_filter(rng, share) for share in np.repeat([1.0, 0.5], 10)]
        return [
            *(index.search(query, K) for query in draw_queries()),
            *(index.search(query, K, *one) for query, one in zip(draw_queries(), filters, strict=True)),
        ]

    def check(
        self,
        index: VectorIndex,
        state: State,
        space: Space,
        ks: tuple[int, ...] = (K,),
        filters: list[Filter] | None = None,
    ) -> None:
        """Assert that lists are valid, and hold the nearest items or, where `exact` is False, enough of them."""
        queries = draw_queries()
        for k in ks:
            shares = [
                assert_nearest(index.search(query, k, *one), state, space, query, k, one, full=self.exact)
                for one in filters or [(NO_ROWS, ALL_ALLOWED)]
                for query in queries
            ]
            assert np.mean(shares) >= (1.0 if self.exact else self.least_recall)

    @staticmethod
    def lists(ranked: RankedList) -> tuple[list[int], list[float]]:
        """Its items and scores as Python numbers."""
        return ranked.items.tolist(), ranked.scores.tolist()

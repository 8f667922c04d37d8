"""Vectors and indexes to test with, and the slow and obvious search that says what is right."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.lists import RankedList
from multirecall.progress import SILENT
from multirecall.query import NO_FILTER, Filter
from multirecall.topk import ALL_ALLOWED
from multirecall.vector_index import INDEXES, Space, VectorIndex

DIM = 5
N_ROWS = 400
"""Item rows of the tests, of which some have no vector."""

State = dict[int, NDArray[np.float32]]
"""The vectors of an index by their rows."""

TOLERANCE = 4e-6
"""Rounding of a score in float32, relative and absolute."""


def draw_vectors(rng: np.random.Generator, n: int) -> NDArray[np.float32]:
    """Vectors, float32 (n, DIM), a few of them zero and a few equal to each other."""
    vectors: NDArray[np.float32] = rng.normal(size=(n, DIM)).astype(np.float32)
    vectors[rng.random(n) < 0.03] = 0.0
    vectors[rng.random(n) < 0.05] = vectors[0] if n else 0.0
    return vectors


def draw_state(n: int, seed: int = 0) -> State:
    """Vectors of `n` rows in no order."""
    rng = np.random.default_rng(seed)
    vectors = draw_vectors(rng, n)
    return dict(zip(rng.choice(N_ROWS, n, replace=False).tolist(), vectors, strict=True))


def draw_queries() -> NDArray[np.float32]:
    """20 queries, float32 (20, DIM)."""
    queries: NDArray[np.float32] = np.random.default_rng(1).normal(size=(20, DIM)).astype(np.float32)
    return queries


def draw_filter(rng: np.random.Generator, share: float) -> Filter:
    """Some excluded rows, and a bitmap that allows a share of all; none where the share is 1."""
    exclude = np.sort(rng.choice(N_ROWS, 30, replace=False)).astype(np.int32)
    return exclude, ALL_ALLOWED if share == 1.0 else rng.random(N_ROWS) < share


def eligible_rows(state: State, one: Filter = NO_FILTER) -> list[int]:
    """The rows that a filter leaves, ascending."""
    out, allowed = set(one[0].tolist()), one[1]
    return [row for row in sorted(state) if row not in out and (not allowed.size or allowed[row])]


def similarities(space: Space, vectors: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float64]:
    """The similarity of each of `vectors` (n, dim) to `query` (dim,), in float64."""
    stored, asked = vectors.astype(np.float64), query.astype(np.float64)
    scores: NDArray[np.float64] = stored @ asked
    if space == "l2":
        scores = -((stored - asked) ** 2).sum(axis=1)
    elif space == "cosine":
        lengths = np.linalg.norm(stored, axis=1) * np.linalg.norm(asked)
        scores = np.divide(scores, lengths, out=np.zeros_like(scores), where=lengths > 0)
    return scores


def rows_and_vectors(state: State) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The rows of a state, int32 (n,), and their vectors, float32 (n, DIM)."""
    return np.array(list(state), np.int32), np.array(list(state.values()), np.float32).reshape(-1, DIM)


def build_with(kind: type[VectorIndex], settings: Any, state: State, space: Space, seed: int = 1) -> VectorIndex:
    """An index of a kind over the vectors of a state, built with one thread."""
    rows, vectors = rows_and_vectors(state)
    asked = vectors[np.argsort(rows)[:3]]
    return kind.build(rows, vectors, space, settings, seed=seed, asked=asked, threads=1, progress=SILENT)


def build_exact(state: State, space: Space) -> VectorIndex:
    """An index of kind `exact` over the vectors of a state."""
    kind = INDEXES.load("exact")
    return build_with(kind, kind.Config.model_validate({}), state, space)


def assert_nearest(
    ranked: RankedList,
    state: State,
    space: Space,
    query: NDArray[np.float32],
    k: int,
    one: Filter = NO_FILTER,
    *,
    full: bool = True,
) -> float:
    """Assert that a list is valid and, if `full`, holds the nearest eligible items.

    Returns:
        The share of its items that are as near as the nearest, up to rounding.
    """
    rows = eligible_rows(state, one)
    return assert_best(ranked, rows, similarities(space, _vectors(state, rows), query), k, full=full)


def assert_best(
    ranked: RankedList, rows: list[int], scores: NDArray[np.float64], k: int, *, full: bool = True
) -> float:
    """`assert_nearest` where the scores of the eligible `rows` are known, float64 (n,)."""
    expected = dict(zip(rows, scores.tolist(), strict=True))
    items = ranked.items.tolist()
    assert ranked.items.dtype == np.int32
    assert ranked.scores.dtype == np.float32
    assert len(items) == len(set(items)) == min(k, len(rows)), "k items, or all that are eligible"
    assert set(items) <= set(rows), "an item is not eligible"
    own = np.array([expected[item] for item in items])
    np.testing.assert_allclose(ranked.scores, own, rtol=TOLERANCE, atol=TOLERANCE)
    order = list(zip((-ranked.scores).tolist(), items, strict=True))
    assert order == sorted(order), "score descending, then row ascending"
    if not items:
        return 1.0
    best = np.sort(scores)[::-1][: len(items)]
    if full:
        np.testing.assert_allclose(ranked.scores, best, rtol=TOLERANCE, atol=TOLERANCE)
    return float(np.mean(own >= best[-1] - TOLERANCE * (1 + abs(best[-1]))))


def _vectors(state: State, rows: list[int]) -> NDArray[np.float32]:
    return np.array([state[row] for row in rows], np.float32).reshape(-1, DIM)


def assert_same_lists(found: list[RankedList], expected: list[RankedList]) -> None:
    """Assert that lists are equal to the bit."""
    assert [one.items.tolist() for one in found] == [one.items.tolist() for one in expected]
    assert [one.scores.tobytes() for one in found] == [one.scores.tobytes() for one in expected]

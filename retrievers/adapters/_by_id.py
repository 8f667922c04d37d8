"""Vectors by external id, and where the rows of the data find theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.errors import BundleError
from multirecall.kernels import Array, kernel
from multirecall.query import Query
from multirecall.storage import read_component, write_component
from multirecall.vocabulary import Vocabulary

from .._recency import recent_items_of_each


@dataclass(frozen=True, slots=True)
class VectorsById:
    """Vectors by external id, whether or not the data have the id so far.

    Attributes:
        ids: the ids, ascending; the position of an id is its row here.
        vectors: float32 (n, dim).
    """

    ids: Vocabulary
    vectors: NDArray[np.float32]

    @classmethod
    def of(cls, ids: NDArray[Any], vectors: NDArray[np.float32], what: str) -> VectorsById:
        """Take unique ids in any order, (n,), of an integer or text dtype; `what` names them in errors."""
        order = np.argsort(ids, kind="stable")
        return cls(Vocabulary(ids[order], what), vectors[order])

    def without(self, positions: NDArray[np.integer]) -> VectorsById:
        """A copy without the ids at these positions."""
        ids = np.delete(self.ids.ids(), positions)
        return VectorsById(Vocabulary(ids, self.ids.what), np.delete(self.vectors, positions, axis=0))

    def save(self, folder: Path) -> None:
        """Write it into `folder`, which is created if missing."""
        write_component(folder, {"ids": self.ids.ids(), "vectors": self.vectors}, {"what": self.ids.what})

    @classmethod
    def load(cls, folder: Path) -> VectorsById:
        """Read what `save` wrote; the vectors stay on disk until they are asked for.

        Raises:
            BundleError: the arrays do not fit together, so that a kernel would read beyond them.
        """
        arrays, meta = read_component(folder)
        ids, vectors = arrays["ids"], arrays["vectors"]
        if ids.ndim != 1 or vectors.ndim != 2 or len(ids) != len(vectors) or vectors.dtype != np.float32:
            raise BundleError(f"{folder}: the vectors do not fit their ids; save the engine again")
        return cls(Vocabulary(ids, meta["what"]), vectors)


def positions_of(rows: Vocabulary, known: Vocabulary, first: int = 0) -> NDArray[np.int32]:
    """The position in `known` of the id of each row from `first` on, int32 (n,), -1 where `known` lacks it.

    A row whose id is unknown again, such as that of a user who was forgotten, has no position.
    """
    found = known.rows(rows.ids(slice(first, None)))
    gone = rows.gone[rows.gone >= first] - first
    found[gone] = -1
    return found


def mean_vectors(
    queries: Sequence[Query], half_life: float | None, positions: NDArray[np.int32], vectors: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The mean of the vectors of each user's history, weighted by recency, and whether there is any.

    Args:
        queries: at least one.
        half_life: see `recent_items`.
        positions: int32 (n_items,), where each item row finds its vector; -1: it has none.
        vectors: float32 (n, dim).

    Returns:
        float32 (n_users, dim), and bool (n_users,).
    """
    offsets, items, weights = recent_items_of_each(queries, half_life)
    means, totals = _means(offsets, positions[items], weights, vectors)
    return means, totals > 0


@kernel
def _means(offsets: Array, positions: Array, weights: Array, vectors: Array) -> tuple[Array, Array]:
    n_users, dim = offsets.size - 1, vectors.shape[1]
    means, totals = np.zeros((n_users, dim), np.float32), np.zeros(n_users, np.float64)
    sums = np.empty(dim, np.float64)
    for user in range(n_users):
        sums[:] = 0.0
        for place in range(offsets[user], offsets[user + 1]):
            position = positions[place]
            if position < 0:
                continue
            totals[user] += weights[place]
            for column in range(dim):
                sums[column] += np.float64(weights[place]) * vectors[position, column]
        if totals[user] > 0:
            means[user] = sums / totals[user]
    return means, totals

"""Where the embeddings of items begin: at the singular vectors of the log."""

from __future__ import annotations

import numpy as np

from multirecall.data import Interactions
from multirecall.progress import Progress

from .._sparse.spectrum import normalised, right_singular_vectors
from .mlp import SMALLEST, Vectors

ITERATIONS = 3
"""Power iterations, which make the singular vectors more exact."""


def spectral_vectors(log: Interactions, dim: int, rng: np.random.Generator, progress: Progress, name: str) -> Vectors:
    """A vector of length 1 for each item, float32 (n_items, dim), and 0 for an item without events.

    Items that the same users choose are close. With `X` the matrix of who chose what, its entries 0 or 1, and `D_U` and
    `D_I` its row and column sums, these are the leading right singular vectors of `D_U^-½ X D_I^-½`, each row scaled.

    Args:
        log: the events.
        dim: the number of singular vectors; if the matrix has fewer, the other columns are 0.
        rng: draws where the iteration begins.
        progress: shows the iterations.
        name: of the retriever, for the progress.
    """
    chosen = (log.matrix > 0).astype(np.float32)
    graph = normalised(chosen, 0.5, 0.5)
    found = right_singular_vectors(graph, dim, ITERATIONS, rng, progress, f"{name}: finding singular vectors")
    vectors = np.zeros((log.n_items, dim), np.float32)
    vectors[:, : found.shape[1]] = found
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), SMALLEST)
    return vectors

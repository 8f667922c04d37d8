"""Where trainings of embeddings begin: at the singular vectors of who chose what."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from multirecall.progress import Progress

from .spectrum import normalised, right_singular_vectors
from .units import unit_rows

Start = Literal["spectrum", "random"]
"""Where embeddings begin: at the leading singular vectors of the log, or at random."""

Vectors = NDArray[np.float32]

ITERATIONS = 3
"""Power iterations, which make the singular vectors more exact."""


def spectral_start(
    matrix: csr_array, dim: int, rng: np.random.Generator, progress: Progress, name: str
) -> tuple[Vectors, Vectors]:
    """Vectors of length 1 for the rows and the columns of a matrix, float32 (m, dim) and (n, dim); 0 for an empty one.

    Columns that stand in the same rows are close, and near these rows. With `X` the matrix, each entry above 0 replaced
    by 1, `D_r` and `D_c` its row and column sums, and `U Σ Vᵀ` the leading part of the singular value decomposition of
    `D_r^-½ X D_c^-½`, the vectors are those of `U Σ` and `V Σ`, each scaled.

    Args:
        matrix: users × items, or the edges of a graph.
        dim: the number of singular vectors; if the matrix has fewer, the other columns are 0.
        rng: draws where the iteration begins.
        progress: shows the iterations.
        name: of the retriever, for the progress.
    """
    graph = normalised((matrix > 0).astype(np.float32), 0.5, 0.5)
    found = right_singular_vectors(graph, dim, ITERATIONS, rng, progress, f"{name}: finding singular vectors")
    vectors = np.zeros((matrix.shape[1], dim), np.float32)
    vectors[:, : found.shape[1]] = found
    rows = graph @ vectors
    return unit_rows(rows), unit_rows(vectors * np.linalg.norm(rows, axis=0))

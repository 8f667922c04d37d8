"""Leading singular vectors of a sparse matrix."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh, qr
from scipy.sparse import csr_array

from multirecall.progress import Progress

OVERSAMPLING = 16
"""Vectors beyond those asked for that the iteration carries, so that the last ones converge too."""


def carried(dim: int, n_rows: int, n_columns: int) -> int:
    """How many vectors the iteration carries."""
    return min(dim + OVERSAMPLING, n_rows, n_columns)


def right_singular_vectors(
    matrix: csr_array, dim: int, iterations: int, rng: np.random.Generator, progress: Progress, task: str
) -> NDArray[np.float32]:
    """The first `dim` right singular vectors of `matrix` (m, n), float32 (n, at most dim), largest value first.

    Randomised subspace iteration (Halko, Martinsson & Tropp, SIAM Review 2011, algorithm 4.4) on `AᵀA`, so that only
    vectors of length `n` are made orthogonal. Memory: the matrix twice more, and 4 (m + 3 n) (dim + 16) bytes.
    """
    size = carried(dim, *matrix.shape)
    basis = rng.standard_normal((matrix.shape[1], size), np.float32)
    transposed = matrix.T.tocsr()
    with progress.task(task, iterations + 1) as advance:
        for _ in range(iterations + 1):
            basis, _ = qr(transposed @ (matrix @ basis), mode="economic", overwrite_a=True, check_finite=False)
            advance(1)
    images = matrix @ basis
    values, rotation = eigh(images.T @ images, check_finite=False)
    kept = slice(None, -dim - 1, -1)
    rank = int((values[kept] > np.finfo(np.float32).eps * size * max(float(values[-1]), 0.0)).sum())
    vectors: NDArray[np.float32] = np.ascontiguousarray(basis @ rotation[:, kept][:, :rank], np.float32)
    return vectors

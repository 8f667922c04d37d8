"""The leading singular vectors of a sparse matrix, and a log whose popular users and items count less."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh, qr
from scipy.sparse import csr_array, diags_array

from multirecall.progress import Progress

OVERSAMPLING = 16
"""Surplus vectors in the subspace iteration, so that the last of the `dim` vectors converge too."""


def powers(sums: NDArray[Any], exponent: float) -> NDArray[np.float32]:
    """`sums ** exponent`, float32 (n,), 0 where the sum is 0."""
    found = np.zeros(sums.size)
    np.power(sums, exponent, out=found, where=sums > 0)
    return found.astype(np.float32)


def normalised(matrix: csr_array, row_exponent: float, column_exponent: float) -> csr_array:
    """`D_r^-row_exponent X D_c^-column_exponent` of a matrix `X` with the row sums `D_r` and the column sums `D_c`."""
    rows, columns = powers(matrix.sum(axis=1), -row_exponent), powers(matrix.sum(axis=0), -column_exponent)
    return (diags_array(rows) @ matrix @ diags_array(columns)).tocsr()


def n_iterated(dim: int, n_rows: int, n_columns: int) -> int:
    """The number of vectors in the subspace iteration."""
    return min(dim + OVERSAMPLING, n_rows, n_columns)


def right_singular_vectors(
    matrix: csr_array, dim: int, iterations: int, rng: np.random.Generator, progress: Progress, task: str
) -> NDArray[np.float32]:
    """The first `dim` right singular vectors of `matrix` (m, n), float32 (n, at most dim), largest value first.

    Randomised subspace iteration (Halko, Martinsson & Tropp, SIAM Review 2011, algorithm 4.4) on `AᵀA`, so that only
    vectors of length `n` are orthogonalised. Memory: two copies of the matrix, and 4 (m + 3 n) (dim + 16) bytes.
    """
    size = n_iterated(dim, *matrix.shape)
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

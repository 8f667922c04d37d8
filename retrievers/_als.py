"""Kernels of alternating least squares for implicit feedback, and the loop over blocks of rows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from multirecall.kernels import Array, dot, fast_kernel

BLOCK = 512
"""Rows in one task: large enough to hide the cost of a task, small enough to balance threads."""


def half_step(
    matrix: csr_array,
    fixed: NDArray[np.float32],
    penalties: NDArray[np.float32],
    unobserved: float,
    solved: NDArray[np.float32],
    steps: int,
    pool: ThreadPoolExecutor,
) -> None:
    """Improve the vectors `solved` by `steps` iterations of conjugate gradient, in place.

    Args:
        matrix: the weights, float32 (m, n).
        fixed: the vectors of the other side, float32 (n, dim).
        penalties: float32 (m,), the L2 penalty of each row.
        unobserved: the weight of an unobserved pair.
        solved: float32 (m, dim), the vectors to improve.
        steps: the largest number of iterations.
        pool: the threads that work.
    """
    gram = weighted_gram(fixed, unobserved)
    offsets, columns = matrix.indptr.astype(np.int64, copy=False), matrix.indices.astype(np.int32, copy=False)
    arrays = offsets, columns, matrix.data  # of the types that a request has, so that the kernel is compiled once

    def solve(start: int) -> None:
        solve_rows(start, min(start + BLOCK, len(solved)), *arrays, fixed, gram, penalties, steps, solved)

    for _ in pool.map(solve, range(0, len(solved), BLOCK)):
        pass


def weighted_gram(vectors: NDArray[np.float32], unobserved: float) -> NDArray[np.float32]:
    """`unobserved · VᵀV`, float32 (dim, dim)."""
    gram: NDArray[np.float32] = np.float32(unobserved) * (vectors.T @ vectors)
    return gram


@fast_kernel
def conjugate_gradient(
    items: Array, weights: Array, vectors: Array, gram: Array, penalty: float, steps: int, solution: Array
) -> None:
    """Solve `(gram + Σ_i w_i v_i v_iᵀ + penalty · I) x = Σ_i w_i v_i`, starting from `solution`, in place.

    Stops after `steps` iterations, or once the length of the residual is at most 10⁻⁵ of that of the right-hand side.
    If the right-hand side is 0, so is the solution. All arrays are float32, but `items`, int32.
    """
    dim = solution.size
    residual = np.zeros(dim, np.float32)
    _apply(items, weights, vectors, gram, penalty, solution, residual)
    scale = np.float32(0.0)
    right = np.zeros(dim, np.float32)
    for position in range(items.size):
        weight, vector = weights[position], vectors[items[position]]
        for entry in range(dim):
            right[entry] += weight * vector[entry]
    for entry in range(dim):
        scale += right[entry] * right[entry]
        residual[entry] = right[entry] - residual[entry]
    if scale == np.float32(0.0):
        solution[:] = 0.0
        return
    direction = residual.copy()
    applied = np.empty(dim, np.float32)
    error = dot(residual, residual)
    for _ in range(steps):
        if error <= np.float32(1e-10) * scale:
            break
        _apply(items, weights, vectors, gram, penalty, direction, applied)
        curvature = dot(direction, applied)
        if not curvature > np.float32(0.0):
            break
        length = error / curvature
        for entry in range(dim):
            solution[entry] += length * direction[entry]
            residual[entry] -= length * applied[entry]
        before, error = error, dot(residual, residual)
        for entry in range(dim):
            direction[entry] = residual[entry] + error / before * direction[entry]


@fast_kernel
def _apply(
    items: Array, weights: Array, vectors: Array, gram: Array, penalty: float, vector: Array, out: Array
) -> None:
    """Write `(gram + Σ_i w_i v_i v_iᵀ + penalty · I) vector` into `out`."""
    dim = vector.size
    for entry in range(dim):
        out[entry] = np.float32(penalty) * vector[entry]
    for row in range(dim):
        factor, line = vector[row], gram[row]
        for entry in range(dim):
            out[entry] += factor * line[entry]
    for position in range(items.size):
        other = vectors[items[position]]
        factor = weights[position] * dot(other, vector)
        for entry in range(dim):
            out[entry] += factor * other[entry]


@fast_kernel
def solve_rows(
    start: int,
    stop: int,
    offsets: Array,
    columns: Array,
    values: Array,
    fixed: Array,
    gram: Array,
    penalties: Array,
    steps: int,
    solved: Array,
) -> None:
    """`conjugate_gradient` for the rows from `start` to `stop` of a matrix, whose vectors are `solved`.

    `offsets`, `columns` and `values` are the matrix by rows, float32 values; the rest is as in `half_step`.
    """
    for row in range(start, stop):
        part = slice(offsets[row], offsets[row + 1])
        conjugate_gradient(columns[part], values[part], fixed, gram, penalties[row], steps, solved[row])

"""Ridge regression of each item on other items, in closed form."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import spotrf, spotri
from scipy.sparse import csr_array

from multirecall.errors import CannotFit
from multirecall.kernels import Array, fast_kernel, kernel
from multirecall.progress import Progress

from .._sparse.rows import SparseRows
from .cooccurrence import cooccurrence_neighbours
from .retriever import run_in_blocks

NO_GRAM = np.empty((0, 0), np.float32)
"""Stands for a Gram matrix that is not at hand."""


def gram_matrix(by_user: csr_array) -> NDArray[np.float32]:
    """The upper triangle of `XᵀX`, float32 (n_items, n_items); 0 below it."""
    n_items = by_user.shape[1]
    gram = np.zeros((n_items, n_items), np.float32)
    _add_gram(by_user.indptr, by_user.indices, by_user.data, gram)
    return gram


def exact_weights(gram: NDArray[np.float32], regularisation: float) -> NDArray[np.float32]:
    """The weight of each source item for each target item, float32 (n_items, n_items), with diagonal 0.

    The Gram matrix, of which the upper triangle is read, is inverted (Cholesky) in the memory of the result.

    Raises:
        CannotFit: the Gram matrix is not positive definite in float32.
    """
    n_items = len(gram)
    gram.flat[:: n_items + 1] += np.float32(regularisation)
    factor, _ = spotri(cholesky(gram, "ease"), lower=1, overwrite_c=1)
    inverse: NDArray[np.float32] = factor.T
    _to_weights(inverse)
    return inverse


def cholesky(gram: NDArray[np.float32], plugin: str) -> NDArray[np.float32]:
    """The Cholesky factor, in Fortran order, of a matrix given by its upper triangle, which is overwritten.

    Raises:
        CannotFit: the matrix is not positive definite in float32.
    """
    factor, fault = spotrf(gram.T, lower=1, clean=0, overwrite_a=1)
    if fault:
        raise CannotFit(f"{plugin}: regularisation is too small for the log's weights; raise it")
    found: NDArray[np.float32] = factor
    return found


def nearest_by_cosine(by_user: csr_array, n_neighbours: int, threads: int, progress: Progress) -> SparseRows:
    """The `n_neighbours` most similar items of each item, on which `sparse_weights` regresses it."""
    return cooccurrence_neighbours(
        by_user,
        user_exponent=0.0,
        source_exponent=0.5,
        target_exponent=0.5,
        shrinkage=0.0,
        n_neighbours=n_neighbours,
        threads=threads,
        progress=progress,
        task="ease: neighbours",
    )


def sparse_weights(
    by_user: csr_array,
    similar: SparseRows,
    regularisation: float,
    threads: int,
    progress: Progress,
    gram: NDArray[np.float32] = NO_GRAM,
) -> SparseRows:
    """The weights by source and target; each target is regressed on its `similar` items only.

    Where the `gram_matrix` of all items is at hand, `gram` takes it, which saves most of the time: the weights are
    equal to the bit.

    Raises:
        CannotFit: a regression is not positive definite in float32.
    """
    n_items = by_user.shape[1]
    by_item = by_user.tocsc()
    arguments = (
        by_item.indptr.astype(np.int64),
        by_item.indices.astype(np.int32),
        by_item.data,
        by_user.shape[0],
        similar.offsets,
        similar.columns,
        np.float32(regularisation),
        gram,
    )
    targets = run_in_blocks(_regressions, arguments, n_items, threads, progress, "ease: solving for weights")
    if not np.isfinite(targets.values).all():
        raise CannotFit("ease: regularisation is too small for the log's weights; raise it")
    by_target = csr_array((targets.values, targets.columns, targets.offsets), shape=(n_items, n_items))
    return SparseRows.of_matrix(by_target.T.tocsr())


@kernel
def _add_gram(offsets: Array, items: Array, values: Array, gram: Array) -> None:
    """Add `XᵀX` to the upper triangle of `gram`, in place; the items of each user ascend."""
    for user in range(offsets.size - 1):
        for left in range(offsets[user], offsets[user + 1]):
            row, value = gram[items[left]], values[left]
            for right in range(left, offsets[user + 1]):
                row[items[right]] += value * values[right]


@kernel
def _to_weights(inverse: Array) -> None:
    """Replace an inverse `P`, given by its upper triangle, by the weights `-P_st / P_tt`, in place."""
    n = inverse.shape[0]
    diagonal = np.empty(n, np.float32)
    for row in range(n):
        diagonal[row] = inverse[row, row]
        inverse[row, row] = 0.0
        for column in range(row):
            inverse[row, column] = -inverse[column, row] / diagonal[column]
    for row in range(n):
        for column in range(row + 1, n):
            inverse[row, column] /= -diagonal[column]


@kernel
def _regressions(
    start: int,
    stop: int,
    offsets: Array,
    users: Array,
    values: Array,
    n_users: int,
    neighbour_offsets: Array,
    neighbours: Array,
    regularisation: float,
    all_items: Array,
) -> tuple[Array, Array, Array]:
    """The regressions of the targets `start … stop - 1`: the number of sources of each, the sources, their weights.

    Args:
        start, stop: the targets.
        offsets, users, values: the users of each item and their weights on it, as CSR.
        n_users: the number of users.
        neighbour_offsets, neighbours: the sources of each target, as CSR.
        regularisation: the ridge penalty.
        all_items: the upper triangle of the Gram matrix of all items, or an empty matrix.
    """
    first = neighbour_offsets[start]
    found = neighbours[first : neighbour_offsets[stop]].copy()
    weights = np.empty(found.size, np.float32)
    last_of = np.full(n_users, -1, np.int32)
    for target in range(start, stop):
        low, high = neighbour_offsets[target], neighbour_offsets[target + 1]
        chosen = np.append(neighbours[low:high], np.int32(target))
        gram = _part_of(all_items, chosen) if all_items.size else _local_gram(chosen, offsets, users, values, last_of)
        weights[low - first : high - first] = solve_ridge(gram, regularisation)
    return np.diff(neighbour_offsets[start : stop + 1]), found, weights


@kernel
def _part_of(gram: Array, chosen: Array) -> Array:
    """The lower triangle of the Gram matrix of a few items, from the upper one of that of all items."""
    part = np.zeros((chosen.size, chosen.size), np.float32)
    for row in range(chosen.size):
        for column in range(row + 1):
            left, right = chosen[row], chosen[column]
            part[row, column] = gram[min(left, right), max(left, right)]
    return part


@kernel
def _local_gram(chosen: Array, offsets: Array, users: Array, values: Array, last_of: Array) -> Array:
    """The lower triangle of the Gram matrix of a few items, float32 (n_chosen, n_chosen).

    The entries of a user form a linked list, whose head is `last_of[user]`; it is -1 before and after the call.
    """
    n_entries = 0
    for item in chosen:
        n_entries += offsets[item + 1] - offsets[item]
    before = np.empty(n_entries, np.int32)
    places = np.empty(n_entries, np.int32)
    entry_values = np.empty(n_entries, np.float32)
    gram = np.zeros((chosen.size, chosen.size), np.float32)
    entry = 0
    for place in range(chosen.size):
        row = gram[place]
        for position in range(offsets[chosen[place]], offsets[chosen[place] + 1]):
            user, value = users[position], values[position]
            places[entry], entry_values[entry], before[entry] = place, value, last_of[user]
            last_of[user] = entry
            other = np.int32(entry)
            while other >= 0:
                row[places[other]] += value * entry_values[other]
                other = before[other]
            entry += 1
    for item in chosen:
        for position in range(offsets[item], offsets[item + 1]):
            last_of[users[position]] = -1
    return gram


@fast_kernel
def solve_ridge(gram: Array, regularisation: float) -> Array:
    """The weights of the ridge regression of the last item of a Gram matrix on the others, float32 (n - 1,).

    `gram` is given by its lower triangle, which is overwritten. The solution of `L Lᵀ w = b` is by Cholesky, row by
    row; the last row of the factor is `L⁻¹ b`.
    """
    n = gram.shape[0] - 1
    for row in range(n + 1):
        for column in range(min(row + 1, n)):
            total = gram[row, column]
            if row == column:
                total += np.float32(regularisation)
            left, right = gram[row], gram[column]
            for inner in range(column):
                total -= left[inner] * right[inner]
            gram[row, column] = np.sqrt(total) if row == column else total / gram[column, column]
    solution = gram[n, :n].copy()
    for row in range(n - 1, -1, -1):
        solution[row] /= gram[row, row]
        for column in range(row):
            solution[column] -= solution[row] * gram[row, column]
    return solution

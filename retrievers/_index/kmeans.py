"""k-means: vectors in clusters around their means."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from multirecall.csr import offsets_of
from multirecall.kernels import Array, kernel

BLOCK_BYTES = 8 * 2**20
"""Memory of one block of products, which should stay in cache until they have been compared."""

ROUNDS = 5
"""Rounds of Lloyd's algorithm; the cells of an index hardly gain from more."""

SAMPLED_PER_CLUSTER = 16
"""Vectors for each cluster that the rounds look at."""


def centroids_of(vectors: NDArray[np.float32], n_clusters: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Centroids, float32 (n_clusters, dim), of a sample of `vectors` (n, dim), n ≥ n_clusters (Lloyd 1982).

    They start at random vectors; one that loses all of its vectors starts again at another.
    """
    n = len(vectors)
    sample = vectors[np.sort(rng.choice(n, min(n, SAMPLED_PER_CLUSTER * n_clusters), replace=False))]
    centroids = sample[rng.choice(len(sample), n_clusters, replace=False)]
    for _ in range(ROUNDS):
        centroids, counts = means(sample, nearest(sample, centroids), n_clusters)
        lost = np.flatnonzero(counts == 0)
        centroids[lost] = sample[rng.integers(len(sample), size=lost.size)]
    return centroids


def nearest(vectors: NDArray[np.float32], centroids: NDArray[np.float32]) -> NDArray[np.int32]:
    """The nearest centroid of each vector by Euclidean distance, int32 (n,)."""
    halves = np.einsum("ij,ij->i", centroids, centroids) / np.float32(2)
    found = np.empty(len(vectors), np.int32)
    step = max(1, BLOCK_BYTES // (4 * max(1, len(centroids))))
    for start in range(0, len(vectors), step):
        near = vectors[start : start + step] @ centroids.T
        near -= halves
        found[start : start + step] = near.argmax(axis=1)
    return found


def group_vectors(
    vectors: NDArray[np.float32], cells_per_root: int, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Cells of near vectors, `cells_per_root · √n` of them, of which those that stay empty are left out.

    Returns:
        The vectors in the order of the cells, intp (n,), and where each cell begins in it, int64 (n_cells + 1,).
    """
    n = len(vectors)
    members = nearest(vectors, centroids_of(vectors, min(n, round(cells_per_root * np.sqrt(n))), rng))
    return np.argsort(members, kind="stable"), offsets_of(np.unique(members, return_counts=True)[1])


def means_of_runs(vectors: NDArray[np.float32], starts: NDArray[np.int64]) -> NDArray[np.float32]:
    """The mean of each run `vectors[starts[c]:starts[c + 1]]`, float32 (n_runs, dim)."""
    n_runs = starts.size - 1
    found: NDArray[np.float32] = means(vectors, np.repeat(np.arange(n_runs), np.diff(starts)), n_runs)[0]
    return found


@kernel
def means(vectors: Array, clusters: Array, n_clusters: int) -> tuple[Array, Array]:
    """Mean vector of each cluster, float32 (n_clusters, dim), 0 where it is empty, and how many vectors it has."""
    n, dim = vectors.shape
    sums = np.zeros((n_clusters, dim), np.float64)
    counts = np.zeros(n_clusters, np.int64)
    for position in range(n):
        cluster = clusters[position]
        counts[cluster] += 1
        for entry in range(dim):
            sums[cluster, entry] += vectors[position, entry]
    for cluster in range(n_clusters):
        for entry in range(dim):
            sums[cluster, entry] /= max(counts[cluster], 1)
    return sums.astype(np.float32), counts

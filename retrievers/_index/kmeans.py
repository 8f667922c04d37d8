"""k-means: vectors in clusters around their means."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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

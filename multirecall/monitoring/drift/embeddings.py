"""How far the item vectors of two fits are apart: whom an item is near, and what is left after the best rotation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.engine import Engine
from multirecall.learning.products import product

NEIGHBOURS = 10
"""Nearest items that are compared."""

COMPARED = 1_000
"""Most items whose neighbours are compared; of more, a sample is taken."""

PAIRS = 20_000
"""Random pairs of items whose cosines are compared."""

BINS = np.linspace(-1.0, 1.0, 41)
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

LEAST_OVERLAP = 0.3
"""An overlap of neighbourhoods below this is an alarm. It is stated, since two fits have no past to learn from: fits of
one log that differ in their seed alone share more than half."""


@dataclass(frozen=True, slots=True)
class VectorDrift:
    """How far the item vectors of a path moved between two fits; items that only one fit has are left out.

    Attributes:
        path: the name of the path.
        n_items: the number of items that both fits have a vector of.
        overlap: the share of an item's nearest items by cosine that stay its nearest; the mean over items.
        shift: the mean of `1 - cosine` between an item's two vectors after the orthogonal map that brings all vectors
            of the first fit nearest to those of the second (Schönemann 1966, equation 1.10); None where lengths of
            vectors differ.
        residual: what the map leaves, `‖A R - B‖ / ‖B‖` in the norm of Frobenius; None as above.
        norms: quantiles .05, .25, .5, .75, .95 of the Euclidean norms, before and now.
        cosines: the share of random pairs by cosine, in 40 bins from -1 to 1, before and now; the pairs are the same.
        mean_cosines: the means of these cosines, before and now.
        moved_cosines: the mean absolute difference of the cosine of a pair.
    """

    path: str
    n_items: int
    overlap: float
    shift: float | None
    residual: float | None
    norms: tuple[tuple[float, ...], tuple[float, ...]]
    cosines: tuple[tuple[float, ...], tuple[float, ...]]
    mean_cosines: tuple[float, float]
    moved_cosines: float

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON values."""
        return asdict(self)


def vector_drift(before: Engine, now: Engine, *, k: int = NEIGHBOURS, seed: int = 7) -> list[VectorDrift]:
    """The drift of each path that has item vectors in both engines, in the order of the paths.

    Args:
        before: an engine.
        now: another fit.
        k: the number of nearest items that are compared.
        seed: the seed of samples.
    """
    found = []
    for path in now.vector_paths:
        if path in before.vector_paths:
            old_ids, old = before.vectors(path)
            new_ids, new = now.vectors(path)
            _, mine, theirs = np.intersect1d(old_ids, new_ids, return_indices=True)
            if mine.size > k:
                found.append(compare_vectors(path, old[mine], new[theirs], k=k, seed=seed))
    return found


def compare_vectors(
    path: str, before: NDArray[np.floating], now: NDArray[np.floating], *, k: int = NEIGHBOURS, seed: int = 7
) -> VectorDrift:
    """The drift from `before` (n, dim) to `now` (n, dim'), finite floats whose rows are the same items, n > k."""
    first, second = before.astype(np.float64), now.astype(np.float64)
    units = [_units(first), _units(second)]
    rng = np.random.default_rng(seed)
    asked = np.sort(rng.choice(len(first), min(COMPARED, len(first)), replace=False))
    nearest = [_nearest(one, asked, k) for one in units]
    shared = [float(np.intersect1d(*pair).size) / k for pair in zip(*nearest, strict=True)]
    one = rng.integers(0, len(first), PAIRS)
    other = (one + rng.integers(1, len(first), PAIRS)) % len(first)
    cosines = [np.einsum("ij,ij->i", own[one], own[other]) for own in units]
    shift, residual = None, None
    if first.shape == second.shape:
        turned = product(first, rotation(first, second))
        shift = float(1.0 - np.einsum("ij,ij->i", _units(turned), units[1]).mean())
        residual = float(np.linalg.norm(turned - second)) / max(float(np.linalg.norm(second)), 1e-300)
    return VectorDrift(
        path,
        len(first),
        float(np.mean(shared)),
        shift,
        residual,
        (_quantiles(first), _quantiles(second)),
        (_histogram(cosines[0]), _histogram(cosines[1])),
        (float(cosines[0].mean()), float(cosines[1].mean())),
        float(np.abs(cosines[1] - cosines[0]).mean()),
    )


def rotation(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """The orthogonal matrix R (dim, dim) that makes `‖first R - second‖` least (Schönemann 1966, equation 1.10).

    With the singular value decomposition `firstᵀ second = U S Vᵀ`, it is `U Vᵀ`.
    """
    left, _, right = np.linalg.svd(product(first.T, second))
    return product(left, right)


def _nearest(units: NDArray[np.float64], asked: NDArray[np.int64], k: int) -> NDArray[np.intp]:
    similar = product(units[asked], units.T)
    similar[np.arange(asked.size), asked] = -np.inf
    return np.argpartition(-similar, k - 1, axis=1)[:, :k]


def _units(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    units: NDArray[np.float64] = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
    return units


def _quantiles(vectors: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(np.quantile(np.linalg.norm(vectors, axis=1), QUANTILES).tolist())


def _histogram(cosines: NDArray[np.float64]) -> tuple[float, ...]:
    counts = np.histogram(np.clip(cosines, -1.0, 1.0), BINS)[0]
    return tuple((counts / cosines.size).tolist())

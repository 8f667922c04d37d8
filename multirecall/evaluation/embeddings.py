"""The health of embeddings: whether vectors are finite, of sensible length, and spread over their space."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from multirecall.errors import RequestError
from multirecall.extras import import_extra

PAIRS = 100_000
"""Number of random pairs for the similarities; their mean cosine then has a standard error below 0.004."""

MAPPED = 5_000
"""Most vectors on a map; of more vectors, a random sample is taken. A page with more points is slow to draw."""

Method = Literal["pca", "tsne"]
"""How a map of embeddings is laid out: `pca`, or `tsne` with the extra of that name."""

MEANINGS = {
    "vectors": "items that have a vector",
    "dim": "its length",
    "zero": "vectors of length 0, which are similar to no item",
    "repeated": "vectors, not zero, that equal an earlier one",
    "norm": "median of the vectors' Euclidean lengths",
    "cosine": "mean cosine of random pairs: near 0 where directions are spread, near 1 where all point one way",
    "effective rank": "how many directions are used, from 1 to dim",
}
"""The columns of a table of health, and their meanings."""

QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)
BINS = np.linspace(-1.0, 1.0, 41)


@dataclass(frozen=True, slots=True)
class EmbeddingHealth:
    """Figures on a set of vectors.

    Attributes:
        n: the number of vectors.
        dim: the number of dimensions.
        n_not_finite: the number of vectors with NaN or infinity; the other figures leave them out.
        n_zero: the number of vectors of norm 0; similarities leave them out.
        n_repeated: the number of non-zero vectors that equal an earlier one.
        norms: quantiles .01, .25, .5, .75, .99 of the Euclidean norms.
        similarities: the same quantiles of the cosine of random pairs.
        histogram: the share of these pairs by cosine, in 40 bins from -1 to 1.
        mean_cosine: the mean of these cosines; near 0 where directions are spread, near 1 where all point one way.
        effective_rank: the exponential of the entropy of the normalised singular values, from 1 to `dim` (Roy &
            Vetterli, EUSIPCO 2007, equation 3); the vectors are not centred.
        warnings: likely problems, in words.
    """

    n: int
    dim: int
    n_not_finite: int
    n_zero: int
    n_repeated: int
    norms: tuple[float, ...]
    similarities: tuple[float, ...]
    histogram: tuple[float, ...]
    mean_cosine: float
    effective_rank: float
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON values."""
        return asdict(self)

    def cells(self) -> list[str]:
        """The cells of a table whose columns are `MEANINGS`."""
        counts = (self.n, self.dim, self.n_zero, self.n_repeated)
        figures = (self.norms[QUANTILES.index(0.5)], self.mean_cosine)
        return [*(f"{one:,}" for one in counts), *(f"{one:.3f}" for one in figures), f"{self.effective_rank:.1f}"]


def embedding_health(vectors: NDArray[np.floating], *, seed: int = 0) -> EmbeddingHealth:
    """Compute the health of vectors, floats (n, dim); `seed` draws the random pairs.

    Raises:
        RequestError: `vectors` is another kind of array, or fewer than two vectors are finite and not zero.
    """
    _check(vectors)
    finite = np.isfinite(vectors).all(axis=1)
    whole = vectors[finite].astype(np.float64)
    norms = _norms(whole)
    units = whole[norms > 0] / norms[norms > 0, None]
    if len(units) < 2:
        raise RequestError("embeddings: fewer than two vectors are finite and not zero; there is nothing to compare")
    cosines = _random_cosines(units, seed)
    singular = _singular_values(whole)
    shares = singular[singular > 0] / singular.sum()
    health = EmbeddingHealth(
        n=len(vectors),
        dim=vectors.shape[1],
        n_not_finite=int((~finite).sum()),
        n_zero=int((norms == 0).sum()),
        n_repeated=len(units) - len(np.unique(whole[norms > 0], axis=0)),
        norms=tuple(np.quantile(norms, QUANTILES).tolist()),
        similarities=tuple(np.quantile(cosines, QUANTILES).tolist()),
        histogram=tuple((np.histogram(cosines, BINS)[0] / cosines.size).tolist()),
        mean_cosine=float(cosines.mean()),
        effective_rank=float(np.exp(-(shares * np.log(shares)).sum())),
        warnings=(),
    )
    return replace(health, warnings=tuple(_warnings(health)))


def layout(
    vectors: NDArray[np.floating], method: Method = "pca", seed: int = 0
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Lay vectors out on a plane; they are scaled to unit length first.

    Args:
        vectors: floats (n, dim); vectors that are zero or not finite are left out.
        method: `pca`, the two directions of largest variance; or `tsne` (van der Maaten & Hinton, JMLR 2008).
        seed: the seed of the sample of up to 5,000 vectors, and of t-SNE.

    Returns:
        The positions of the vectors on the map, ascending, and their points (x, y), float64 (n_mapped, 2).

    Raises:
        RequestError: `vectors` is another kind of array, or fewer than three vectors can be laid out.
        MissingExtra: t-SNE needs scikit-learn.
    """
    _check(vectors)
    if vectors.shape[1] < 2:
        raise RequestError("embeddings: the vectors have one dimension; a map needs two or more")
    norms = _norms(np.where(np.isfinite(vectors), vectors, 0.0).astype(np.float64))
    usable = np.flatnonzero(np.isfinite(vectors).all(axis=1) & (norms > 0))
    if usable.size < 3:
        raise RequestError("embeddings: fewer than three vectors are finite and not zero; there is nothing to map")
    if usable.size > MAPPED:
        usable = np.sort(np.random.default_rng(seed).choice(usable, MAPPED, replace=False))
    units = vectors[usable] / norms[usable, None]
    centred = units.astype(np.float64) - units.mean(axis=0)
    if method == "pca":
        return usable, centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
    import_extra("sklearn", "a t-SNE map")
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (usable.size - 1) / 3)
    return usable, TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(centred)


def _norms(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """The Euclidean norm of each row; rows are divided by their largest entry first, so that no square overflows."""
    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0.0)
    scaled = np.divide(vectors, largest, out=np.zeros_like(vectors), where=largest > 0)
    norms: NDArray[np.float64] = largest[:, 0] * np.linalg.norm(scaled, axis=1)
    return norms


def _singular_values(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """The singular values, from the Gram matrix.

    That takes a tenth of the time of an SVD, and is exact to 1e-8 of the largest value.
    """
    scaled = vectors / np.abs(vectors).max()
    singular: NDArray[np.float64] = np.sqrt(np.maximum(np.linalg.eigvalsh(scaled.T @ scaled), 0.0))
    return singular


def _check(vectors: NDArray[np.floating]) -> None:
    if not isinstance(vectors, np.ndarray) or vectors.ndim != 2 or vectors.dtype.kind != "f":
        found = f"{vectors.dtype} {vectors.shape}" if isinstance(vectors, np.ndarray) else type(vectors).__name__
        raise RequestError(f"embeddings: got {found}; pass an array of floats, one row for each vector")


def _random_cosines(units: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    first = rng.integers(0, len(units), PAIRS)
    second = (first + rng.integers(1, len(units), PAIRS)) % len(units)
    cosines: NDArray[np.float64] = np.einsum("ij,ij->i", units[first], units[second])
    return cosines


def _warnings(health: EmbeddingHealth) -> list[str]:
    found = []
    if health.n_not_finite:
        found.append(f"vectors that hold NaN or infinity: {health.n_not_finite:,} of {health.n:,}")
    if health.n_zero:
        found.append(f"vectors of length 0, which are similar to no item: {health.n_zero:,}")
    if health.n_repeated:
        found.append(f"vectors that equal an earlier one: {health.n_repeated:,}")
    if health.mean_cosine > 0.5:
        found.append(f"random pairs have a mean cosine of {health.mean_cosine:.2f}: most vectors point one way")
    if health.effective_rank < health.dim / 8:
        found.append(f"the effective rank is {health.effective_rank:.1f} of {health.dim}: few directions are used")
    if health.norms[-1] > 20 * max(health.norms[0], 1e-12) and not health.n_zero:
        found.append("norms differ by more than a factor of 20: an inner product will rank by norm")
    return found

"""The health of embeddings: whether vectors are finite, of sensible length, and spread over their space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from multirecall.errors import RequestError
from multirecall.evaluation.figures import COLOURS, new_figure
from multirecall.extras import import_extra

PAIRS = 100_000
"""Random pairs that the similarities are measured on."""

MAPPED = 5_000
"""Most vectors that a map shows; more are drawn from."""

Method = Literal["pca", "tsne"]

QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)
BINS = np.linspace(-1.0, 1.0, 41)


@dataclass(frozen=True, slots=True)
class EmbeddingHealth:
    """What the vectors look like.

    Attributes:
        n: vectors.
        dim: their length.
        n_not_finite: vectors that hold NaN or infinity; all that follows leaves them out.
        n_zero: vectors of norm 0; similarities leave them out.
        n_repeated: vectors, not zero, that equal an earlier one.
        norms: quantiles .01, .25, .5, .75, .99 of the Euclidean norms.
        similarities: the same quantiles of the cosine of random pairs.
        histogram: share of these pairs by cosine, in 40 bins from -1 to 1.
        mean_cosine: mean of these cosines; near 0 where directions are spread, near 1 where all point one way.
        effective_rank: exponential of the entropy of the normalised singular values, from 1 to `dim` (Roy &
            Vetterli, EUSIPCO 2007, equation 3); of the vectors as they are, not centred.
        warnings: what is likely wrong, in words.
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


def embedding_health(vectors: NDArray[np.floating], *, seed: int = 0) -> EmbeddingHealth:
    """Look at vectors, floats (n, dim).

    Raises:
        RequestError: it is no such array, or fewer than two vectors are finite and not zero.
    """
    _check(vectors)
    finite = np.isfinite(vectors).all(axis=1)
    whole = vectors[finite].astype(np.float64)
    norms = _norms(whole)
    units = whole[norms > 0] / norms[norms > 0, None]
    if len(units) < 2:
        raise RequestError("embeddings: fewer than two vectors are finite and not zero; there is nothing to compare")
    cosines = _random_cosines(units, seed)
    singular = np.linalg.svd(whole, compute_uv=False)
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


def similarity_plot(health: EmbeddingHealth, file: Path) -> None:
    """Draw the distribution of similarities into `file` (.png, .svg or .pdf).

    Raises:
        RequestError: matplotlib is not installed, or the file cannot be written.
    """
    figure = new_figure(7, 3.6)
    axes = figure.subplots()
    axes.bar(BINS[:-1], health.histogram, np.diff(BINS), align="edge", color=COLOURS[0])
    axes.axvline(health.mean_cosine, color="#111111", linewidth=1.2)
    axes.annotate(
        f"mean {health.mean_cosine:.2f}",
        (health.mean_cosine, max(health.histogram)),
        (6, -4),
        textcoords="offset points",
    )
    axes.set(xlabel="cosine of a random pair", ylabel="share of pairs", xlim=(-1, 1))
    _saved(figure, file)


def embedding_map(
    vectors: NDArray[np.floating],
    categories: Sequence[Any] | NDArray[Any],
    file: Path,
    *,
    method: Method = "pca",
    seed: int = 0,
) -> None:
    """Draw vectors (n, dim) on a plane, coloured by category, into `file` (.png, .svg or .pdf).

    Args:
        vectors: floats; those that are not finite or zero are left out. Unit vectors are what is laid out.
        categories: one for each vector; the most frequent ones get a colour, the rest are grey.
        file: where to.
        method: `pca`, the two directions of largest variance; or `tsne` (van der Maaten & Hinton, JMLR 2008),
            which needs multirecall[tsne].
        seed: of the draw of up to 5,000 vectors, and of t-SNE.

    Raises:
        MissingExtra: matplotlib or, for `tsne`, scikit-learn is not installed.
        RequestError: the arrays do not fit, or the file cannot be written.
    """
    _check(vectors)
    if vectors.shape[1] < 2:
        raise RequestError("embeddings: the vectors have one dimension; a map needs two or more")
    if method not in get_args(Method):
        raise RequestError(f"embeddings: method {method!r} is unknown; choose one of {', '.join(get_args(Method))}")
    labels = np.array([str(one) for one in categories])
    if len(labels) != len(vectors):
        raise RequestError(f"embeddings: {len(vectors)} vectors and {len(labels)} categories; pass one for each")
    norms = _norms(np.where(np.isfinite(vectors), vectors, 0.0).astype(np.float64))
    usable = np.flatnonzero(np.isfinite(vectors).all(axis=1) & (norms > 0))
    if usable.size < 3:
        raise RequestError("embeddings: fewer than three vectors are finite and not zero; there is nothing to map")
    if usable.size > MAPPED:
        usable = np.sort(np.random.default_rng(seed).choice(usable, MAPPED, replace=False))
    points = _laid_out(vectors[usable] / norms[usable, None], method, seed)
    labels = labels[usable]
    names, counts = np.unique(labels, return_counts=True)
    shown = names[np.argsort(-counts, kind="stable")][: len(COLOURS) - 1].tolist()
    figure = new_figure(8, 6.5)
    axes = figure.subplots()
    rest = ~np.isin(labels, shown)
    axes.scatter(
        points[rest, 0], points[rest, 1], s=5, color="#cccccc", label="others" if rest.any() else None, linewidths=0
    )
    for name, colour in zip(shown, COLOURS, strict=False):
        own = points[labels == name]
        shown_as = f"\u200b{name}"  # matplotlib leaves out labels that begin with an underscore
        axes.scatter(own[:, 0], own[:, 1], s=7, color=colour, label=shown_as, linewidths=0)
    legend = axes.legend(frameon=False, markerscale=3, loc="center left", bbox_to_anchor=(1, 0.5))
    for text in legend.get_texts():
        text.set_parse_math(False)
    axes.set_axis_off()
    _saved(figure, file)


def _norms(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """The Euclidean norm of each row, by its largest entry first, so that no square overflows."""
    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0.0)
    scaled = np.divide(vectors, largest, out=np.zeros_like(vectors), where=largest > 0)
    norms: NDArray[np.float64] = largest[:, 0] * np.linalg.norm(scaled, axis=1)
    return norms


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
        found.append(f"{health.n_not_finite:,} of {health.n:,} vectors hold NaN or infinity")
    if health.n_zero:
        found.append(f"{health.n_zero:,} vectors are zero: they are near to nothing")
    if health.n_repeated:
        found.append(f"{health.n_repeated:,} vectors equal an earlier one")
    if health.mean_cosine > 0.5:
        found.append(f"random pairs have a mean cosine of {health.mean_cosine:.2f}: most vectors point one way")
    if health.effective_rank < health.dim / 8:
        found.append(f"the effective rank is {health.effective_rank:.1f} of {health.dim}: few directions are used")
    if health.norms[-1] > 20 * max(health.norms[0], 1e-12) and not health.n_zero:
        found.append("norms differ by more than a factor of 20: an inner product will rank by norm")
    return found


def _laid_out(units: NDArray[np.floating], method: str, seed: int) -> NDArray[np.float64]:
    centred = units.astype(np.float64) - units.mean(axis=0)
    if method == "pca":
        points: NDArray[np.float64] = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
        return points
    import_extra("sklearn", "method='tsne'")
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(units) - 1) / 3)
    laid_out: NDArray[np.float64] = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(centred)
    return laid_out


def _saved(figure: Any, file: Path) -> None:
    try:
        figure.savefig(file, dpi=150)
    except (OSError, ValueError) as fault:
        raise RequestError(f"{file}: cannot be written ({fault}); name a .png, .svg or .pdf in a folder") from None

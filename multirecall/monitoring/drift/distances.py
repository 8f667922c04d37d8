"""How far two samples are apart: population stability index and Jensen-Shannon distance, free of what chance adds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from multirecall.learning.products import product

SHUFFLES = 20
"""Shuffles that the part of chance is the mean of. More make it steadier and take longer."""

FEWEST = 5
"""Cells in which fewer values than this would be expected in either sample are thrown together."""

BINS = 10
"""Bins of numbers, at the quantiles of both samples together."""


class Distance(NamedTuple):
    """How far two samples are apart, without the part of chance.

    Attributes:
        psi: population stability index; near 0, and now and then below it, for two samples of one distribution.
        js: Jensen-Shannon distance, from 0 to 1.
    """

    psi: float
    js: float


@dataclass(frozen=True, slots=True)
class Values:
    """Values of a sample, and whose they are: a user's values come together, so that they are no independent draws.

    Attributes:
        content: categories ≥ 0, int64 (n,), or numbers, float64 (n,), NaN for null.
        owners: the user row of each value, int32 (n,).
    """

    content: NDArray[np.int64] | NDArray[np.float64]
    owners: NDArray[np.int32]


def stability_index(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """The population stability index of two rows of counts (n_cells,): `Σ (p - q) · ln(p / q)`.

    It is the symmetric divergence of Jeffreys (1946). Half a value is added to each cell, so that none is empty.
    """
    p, q = _shares(first + 0.5), _shares(second + 0.5)
    return float(((p - q) * np.log(p / q)).sum())


def divergence(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """The Jensen-Shannon divergence of two rows of counts (n_cells,), in bits, from 0 to 1 (Lin 1991, equation 3.1)."""
    p, q = _shares(first), _shares(second)
    middle = (p + q) / 2
    return (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2


def distance(first: Values, second: Values, seed: int = 0) -> Distance:
    """How far two samples are apart.

    Numbers are put into bins at the deciles of both samples together; null is a cell of its own. Rare cells are thrown
    together. What two samples of this size show by chance alone is the mean over shuffles, in which each user's values
    go to either sample as a whole; it is taken off.

    Args:
        first: a sample.
        second: another one, of the same kind.
        seed: the seed of the shuffles.
    """
    if not first.content.size or not second.content.size:
        return Distance(0.0, 0.0)
    cells = _cells(np.concatenate([first.content, second.content]))
    sizes = np.array([first.content.size, second.content.size])
    cells, n_cells = _without_rare(cells, float(sizes.min() / sizes.sum()))
    mine, n_mine = _dense(first.owners)
    others, n_others = _dense(second.owners)
    blocks = np.concatenate([mine, others + n_mine])
    counts = csr_array((np.ones(cells.size), (blocks, cells)), shape=(n_mine + n_others, n_cells))
    labels = np.zeros((SHUFFLES + 1, n_mine + n_others))
    labels[:, :n_mine] = 1.0
    rng = np.random.default_rng(seed)
    for number in range(1, SHUFFLES + 1):
        labels[number] = rng.permutation(labels[number])
    ones = product(labels, counts)
    rest = np.asarray(counts.sum(axis=0)).ravel() - ones
    usable = [number for number in range(SHUFFLES + 1) if ones[number].sum() > 0 and rest[number].sum() > 0]
    indexes = np.array([stability_index(ones[number], rest[number]) for number in usable])
    divergences = np.array([divergence(ones[number], rest[number]) for number in usable])
    if len(usable) < 2:
        return Distance(float(indexes[0]), float(np.sqrt(divergences[0])))
    return Distance(
        float(indexes[0] - indexes[1:].mean()),
        float(np.sqrt(max(0.0, divergences[0] - divergences[1:].mean()))),
    )


def bins_of(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """The bounds between bins at the quantiles of numbers (n,), float64 ascending; NaN is left out."""
    present = numbers[~np.isnan(numbers)]
    if not present.size:
        return np.empty(0)
    return np.unique(np.quantile(present, np.linspace(0, 1, BINS + 1)[1:-1]))


def _cells(content: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.int64]:
    if content.dtype.kind != "f":
        return content.astype(np.int64)
    bounds = bins_of(content.astype(np.float64))
    return np.where(np.isnan(content), bounds.size + 1, np.searchsorted(bounds, content)).astype(np.int64)


def _without_rare(cells: NDArray[np.int64], smaller: float) -> tuple[NDArray[np.int64], int]:
    """The cells renumbered, rare ones as one, and their number; `smaller`: the share of the smaller sample."""
    _, dense, counts = np.unique(cells, return_inverse=True, return_counts=True)
    common = counts * smaller >= FEWEST
    numbers = np.where(common, np.cumsum(common) - 1, int(common.sum()))
    return numbers[dense], int(common.sum()) + 1


def _dense(owners: NDArray[np.int32]) -> tuple[NDArray[np.int64], int]:
    distinct, dense = np.unique(owners, return_inverse=True)
    return dense, distinct.size


def _shares(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = counts / counts.sum()
    return shares


def _relative_entropy(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    present = p > 0
    return float((p[present] * np.log2(p[present] / q[present])).sum())

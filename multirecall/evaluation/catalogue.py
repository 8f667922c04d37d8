"""Catalogue metrics: how much of the catalogue the lists show, how evenly, and how popular the items are.

All metrics are computed from `exposure`: the number of times that each item is among the first k of a list.
`e_i` is the exposure of item `i`, `E` the sum of all exposures, and `s_i` the share of training users who chose item
`i`:

- `coverage`: the share of items with `e_i > 0`.
- `novelty`: `-Σ e_i log2(s_i) / E`, the mean self-information in bits (Zhou et al., PNAS 2010, equation 10).
- `gini`: the Gini index of `e` over the whole catalogue: 0 where all items are shown equally often, near 1 where only
  one item is shown.
- `long_tail`: the share of `E` on items outside the head. The head is the smallest set of most chosen items with
  80 % of the training choices (Abdollahpouri et al., RecSys 2017).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Interactions
from multirecall.kernels import Array, kernel

CATALOGUE_METRICS = ("coverage", "novelty", "gini", "long_tail")
"""The metrics of all lists together, in the order in which they are returned."""

HEAD = 0.8
"""The share of the training choices that the items of the head have together, as in Abdollahpouri et al."""


def exposure(
    offsets: NDArray[np.int64], items: NDArray[np.int32], n_items: int, ks: Sequence[int]
) -> NDArray[np.int64]:
    """The number of times that each item is among the first k of a list, int64 (n_ks, n_items); `ks` ascending."""
    return _exposure(offsets, items, n_items, np.asarray(ks, np.int64))


def catalogue_metrics(
    counts: NDArray[np.int64], shares: NDArray[np.float64], tail: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """The metrics of `CATALOGUE_METRICS`, float64 (4, n_ks).

    Args:
        counts: the result of `exposure`, int64 (n_ks, n_items).
        shares: the share of training users who chose each item, > 0, float64 (n_items,).
        tail: marks the items of the long tail, bool (n_items,).
    """
    shown = np.maximum(counts.sum(axis=1), 1)
    return np.stack(
        [
            (counts > 0).mean(axis=1),
            counts @ -np.log2(shares) / shown,
            [gini(row) for row in counts],
            counts[:, tail].sum(axis=1) / shown,
        ]
    )


def gini(counts: NDArray[np.integer]) -> float:
    """The Gini index of non-negative counts (n,): `Σ (2r - n - 1) c_r / (n Σ c)`, `c_r` the r-th smallest from 1."""
    n, total = counts.size, counts.sum()
    if not total:
        return 0.0
    return float((2.0 * np.arange(1, n + 1) - n - 1) @ np.sort(counts) / (n * total))


def choice_shares(log: Interactions) -> NDArray[np.float64]:
    """The share of training users who chose each item, float64 (n_items,); an item without users counts as having one.

    That keeps the logarithm of `novelty` finite.
    """
    active = max(int((np.diff(log.offsets) > 0).sum()), 1)
    return np.maximum(_choosers(log), 1) / active


def long_tail(log: Interactions) -> NDArray[np.bool_]:
    """Marks the items outside the head, bool (n_items,)."""
    choosers = _choosers(log)
    order = np.argsort(-choosers, kind="stable")
    before = np.cumsum(choosers[order]) - choosers[order]
    tail = np.ones(log.n_items, np.bool_)
    tail[order[before < HEAD * choosers.sum()]] = False
    return tail


def _choosers(log: Interactions) -> NDArray[np.int64]:
    return np.bincount(log.matrix.indices, minlength=log.n_items)


@kernel
def _exposure(offsets: Array, items: Array, n_items: int, ks: Array) -> Array:
    counts = np.zeros((ks.size, n_items), np.int64)
    for user in range(offsets.size - 1):
        start, column = offsets[user], 0
        for entry in range(start, min(offsets[user + 1], start + ks[-1])):
            while entry - start >= ks[column]:
                column += 1
            counts[column, items[entry]] += 1
    for column in range(1, ks.size):
        counts[column] += counts[column - 1]
    return counts

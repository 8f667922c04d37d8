"""Intra-list diversity: how different the items of a list are from each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack

from multirecall.data import Categorical, Feature, Numeric, Table, Tags
from multirecall.data.words import Words
from multirecall.kernels import Array, kernel


def feature_rows(items: Table) -> csr_array | None:
    """A sparse unit vector of categories, tags and words for each item, float64; None where no feature has any.

    Each feature is scaled to unit length first, so that a long text does not outweigh a category. An item without any
    value has an empty row.
    """
    blocks = [block for feature in items.features.values() if (block := _block(feature)) is not None]
    return _unit(hstack(blocks, format="csr")) if blocks else None


def vector_rows(vectors: NDArray[np.floating]) -> csr_array:
    """Scale dense vectors (n_items, dim) to sparse unit rows; a zero vector has an empty row."""
    return _unit(csr_array(vectors.astype(np.float64)))


def diversity(
    offsets: NDArray[np.int64], items: NDArray[np.int32], rows: csr_array, ks: Sequence[int]
) -> NDArray[np.float64]:
    """The mean of `1 - cosine` over all pairs among the first k items of each list, float64 (n_users, n_ks).

    Items with an empty row are left out; a list with fewer than two other items has NaN. One pass computes it from
    `Σ_{i≠j} x_i·x_j = |Σ x_i|² - n` (Ziegler et al., WWW 2005, section 3.3, with the cosine of unit rows).

    Args:
        offsets: int64 (n_users + 1,), where the ranked list of each user begins in `items`.
        items: ranked item rows, best first within a user.
        rows: unit rows of all items.
        ks: list lengths, ascending.
    """
    return _diversity(
        offsets,
        items,
        rows.indptr.astype(np.int64),
        rows.indices.astype(np.int64),
        rows.data,
        rows.shape[1],
        np.asarray(ks, np.int64),
    )


def _block(feature: Feature) -> csr_array | None:
    if isinstance(feature, Numeric):
        return None
    if isinstance(feature, Categorical):
        owners = np.flatnonzero(feature.codes >= 0)
        return _one_hot(owners, feature.codes[owners], feature.codes.size, len(feature.categories))
    if isinstance(feature, Tags):
        n = feature.offsets.size - 1
        owners = np.repeat(np.arange(n), np.diff(feature.offsets))
        return _one_hot(owners, feature.codes, n, len(feature.categories))
    words = Words.of(feature)
    owners = np.repeat(np.arange(len(feature)), np.diff(words.offsets))
    return _one_hot(owners, words.numbers, len(feature), len(words.distinct))


def _one_hot(owners: NDArray[np.integer], codes: NDArray[np.integer], n: int, n_codes: int) -> csr_array | None:
    if not owners.size:
        return None
    block = csr_array((np.ones(owners.size), (owners, codes)), shape=(n, n_codes))
    block.data[:] = 1.0
    return _unit(block)


def _unit(rows: csr_array) -> csr_array:
    rows.sum_duplicates()
    norms = np.sqrt(np.add.reduceat(np.append(rows.data**2, 0.0), np.minimum(rows.indptr[:-1], rows.data.size)))
    rows.data /= np.repeat(norms, np.diff(rows.indptr))
    rows.eliminate_zeros()
    return rows


@kernel
def _diversity(
    offsets: Array, items: Array, indptr: Array, indices: Array, values: Array, n_columns: int, ks: Array
) -> Array:
    out = np.full((offsets.size - 1, ks.size), np.nan)
    total = np.zeros(n_columns)
    for user in range(offsets.size - 1):
        start = offsets[user]
        size = min(offsets[user + 1] - start, ks[-1])
        n, square, rank = 0, 0.0, 0
        for column in range(ks.size):
            while rank < min(size, ks[column]):
                item = items[start + rank]
                begin, end = indptr[item], indptr[item + 1]
                for entry in range(begin, end):
                    square += values[entry] * (2.0 * total[indices[entry]] + values[entry])
                    total[indices[entry]] += values[entry]
                n += end > begin
                rank += 1
            if n > 1:
                out[user, column] = 1.0 - (square - n) / (n * (n - 1.0))
        for position in range(rank):
            item = items[start + position]
            for entry in range(indptr[item], indptr[item + 1]):
                total[indices[entry]] = 0.0
    return out

"""Vectors for items without interactions, from items of like features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Dataset
from multirecall.topk import NO_ROWS

from ._postings import FieldTerms, Postings
from ._terms import Lexicon
from ._units import unit_rows

N_BUCKETS = 10
K1, B = 1.2, 0.75
MOST_TERMS, MOST_POSTINGS = 64, 50_000


def with_cold_items(
    vectors: NDArray[np.float32], data: Dataset, n_similar: int, learnt: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """`vectors` (n_items, dim), in which an item that is not `learnt`, by default one without events, has its like's.

    That is the mean of the unit vectors of the `n_similar` learnt items that share the heaviest terms
    with it, weighted by BM25, times the average length of vectors. It stays a zero vector where there are no
    features, or none in common.
    """
    warm = np.bincount(data.interactions.items, minlength=data.n_items) > 0 if learnt is None else learnt
    filled = np.where(warm[:, None], vectors, np.float32(0.0))
    if warm.all() or not warm.any() or not n_similar or not data.items.features:
        return filled
    index = _indexed(data)
    units = unit_rows(filled) * np.linalg.norm(filled[warm], axis=1).mean()
    for item in np.flatnonzero(~warm):
        terms, weights = index.profile(np.array([item], np.int32), np.ones(1, np.float32), MOST_TERMS, MOST_POSTINGS)
        like, scores = index.search(*index.ordered(terms, weights), n_similar, NO_ROWS, warm)
        if like.size:
            filled[item] = scores @ units[like] / scores.sum()
    return filled


def _indexed(data: Dataset) -> Postings:
    fields = []
    for field, feature in data.items.features.items():
        lexicon, counts = Lexicon.of(field, feature, N_BUCKETS)
        listed = feature.kind in ("text", "list")
        fields.append(FieldTerms(counts, len(lexicon), 1.0, B if listed else 0.0, not listed))
    return Postings.of(fields, data.n_items, K1)

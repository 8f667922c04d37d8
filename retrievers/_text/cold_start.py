"""Vectors for items without interactions (cold start), from items with similar features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Dataset, Table
from multirecall.storage import read_component, write_component
from multirecall.vocabulary import Vocabulary

from .._vector_table import VectorTable, unit_rows
from .postings import FieldTerms, Postings, Statistics
from .terms import Lexicon, TermCounts

N_BUCKETS = 10
"""Buckets of a number or datetime, as by default in `content`."""

K1, B = 1.2, 0.75
"""The parameters of BM25, as by default in `content`."""

N_SIMILAR = 10
"""Items with similar features whose mean vector an item without one of its own gets, unless a setting says more."""

MOST_TERMS, MOST_POSTINGS = 64, 50_000
"""Most terms of an item that a search for similar items uses, and most postings that it reads: bounds its time."""


@dataclass(frozen=True, slots=True)
class ColdRule:
    """The cold-start rule: an item without a learnt vector gets the mean unit vector of similar items with one.

    The similar items are the `n_similar` of highest BM25 score for the terms of the item. Their unit vectors are
    averaged with these scores as weights, and the mean is multiplied by the mean length of learnt vectors. Terms and
    their statistics stay those of the fit, so that an item that is added later gets the same vector as in the fit.

    Attributes:
        learnt: bool (n_items of the fit,), whether each item has a learnt vector.
        n_similar: the number of similar items; with 0, the rule gives zero vectors.
        length: the mean length of the learnt vectors.
        lexicons: the terms of each field.
        rows: int32 (n_learnt,), the rows of the items with a learnt vector.
        postings: the terms of these items, numbered in the order of `rows`.
    """

    learnt: NDArray[np.bool_]
    n_similar: int
    length: float
    lexicons: Mapping[str, Lexicon]
    rows: NDArray[np.int32]
    postings: Postings

    def without_vector(self, rows: NDArray[np.int32]) -> NDArray[np.int32]:
        """The item rows among `rows` that have no learnt vector."""
        unlearnt: NDArray[np.int32] = rows[~np.append(self.learnt, False)[np.minimum(rows, self.learnt.size)]]
        return unlearnt

    def vectors(self, items: Table, rows: NDArray[np.int32], table: VectorTable) -> NDArray[np.float32]:
        """The vectors by this rule for `rows` of `items`, float32 (n, dim); zero where no item is similar.

        `table` holds the learnt vectors.
        """
        vectors = np.zeros((rows.size, table.dim), np.float32)
        if not self.lexicons:
            return vectors
        own = _index_items(self.lexicons, items, rows, self.postings.statistics)
        for item in range(rows.size):
            like, scores = self.like(own, item)
            if like.size:
                vectors[item] = self._mean(scores, unit_rows(table.take(like)))
        return vectors

    def like(self, postings: Postings, item: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The rows, int32, and scores, float32, of the items with a learnt vector that are most similar to an item.

        The item is number `item` of `postings`, which have the statistics of the fit.
        """
        one = np.array([item], np.int32), np.ones(1, np.float32)
        terms, weights = postings.profile(*one, MOST_TERMS, MOST_POSTINGS)
        places, scores = self.postings.search(*self.postings.order(terms, weights), self.n_similar)
        return self.rows[places], scores

    def save(self, folder: Path) -> None:
        """Write the rule into `folder`, which is created."""
        arrays: dict[str, NDArray[Any]] = {
            "learnt": self.learnt,
            **self.postings.statistics.arrays(),
            **self.postings.arrays(),
        }
        for number, lexicon in enumerate(self.lexicons.values()):
            arrays |= {f"words{number}": lexicon.words.ids(), f"edges{number}": lexicon.edges}
        kinds = [[field, lexicon.kind] for field, lexicon in self.lexicons.items()]
        write_component(folder, arrays, {"fields": kinds, "length": self.length, "n_similar": self.n_similar})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the rule that `save` wrote."""
        arrays, meta = read_component(folder)
        lexicons = {
            field: Lexicon(kind, Vocabulary(arrays[f"words{number}"], field), arrays[f"edges{number}"])
            for number, (field, kind) in enumerate(meta["fields"])
        }
        statistics = Statistics(**{one.name: arrays[one.name] for one in fields(Statistics)})
        postings = Postings.of_arrays(statistics, arrays)
        rows = np.flatnonzero(arrays["learnt"]).astype(np.int32)
        return cls(arrays["learnt"], meta["n_similar"], meta["length"], lexicons, rows, postings)

    def _mean(self, scores: NDArray[np.float32], units: NDArray[np.float32]) -> NDArray[np.float32]:
        mean: NDArray[np.float32] = np.float32(self.length) * (scores @ units) / scores.sum()
        return mean


def with_cold_items(
    vectors: NDArray[np.float32], data: Dataset, n_similar: int, learnt: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.float32], ColdRule]:
    """Vectors with those of cold items filled in, float32 (n_items, dim), and the rule for items that are added later.

    Args:
        vectors: float32 (n_items, dim), the learnt vectors; those of cold items are ignored.
        data: the items and their features.
        n_similar: the number of similar items whose mean a cold item gets.
        learnt: bool (n_items,), whether each item has a learnt vector; None: whether it has events.

    A cold item gets a zero vector if there are no features, or no item shares a term with it.
    """
    warm = np.bincount(data.interactions.items, minlength=data.n_items) > 0 if learnt is None else learnt
    filled = np.where(warm[:, None], vectors, np.float32(0.0))
    length = float(np.linalg.norm(filled[warm], axis=1).mean()) if warm.any() else 0.0
    found = {field: Lexicon.of(field, column, N_BUCKETS) for field, column in data.items.features.items() if n_similar}
    lexicons = {field: lexicon for field, (lexicon, _) in found.items()}
    counts = {field: own for field, (_, own) in found.items()}
    statistics = Statistics.of(_fields(lexicons, counts), data.n_items, K1)
    rows, cold = (np.flatnonzero(part).astype(np.int32) for part in (warm, ~warm))
    rule = ColdRule(warm, n_similar, length, lexicons, rows, _index_items(lexicons, data.items, rows, statistics))
    filled[cold] = rule.vectors(data.items, cold, VectorTable.of(filled))
    return filled, rule


def _index_items(
    lexicons: Mapping[str, Lexicon], items: Table, rows: NDArray[np.int32], statistics: Statistics
) -> Postings:
    """The postings of the items `rows`, numbered in the order of `rows`."""
    counts = {field: lexicon.counts(items.features[field].take(rows)) for field, lexicon in lexicons.items()}
    return Postings.under(statistics, _fields(lexicons, counts), rows.size, K1)


def _fields(lexicons: Mapping[str, Lexicon], counts: Mapping[str, TermCounts]) -> list[FieldTerms]:
    return [
        FieldTerms(counts[field], len(lexicon), 1.0, 0.0 if lexicon.single else B, lexicon.single)
        for field, lexicon in lexicons.items()
    ]

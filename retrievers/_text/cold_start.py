"""Vectors for items without interactions, from items of like features."""

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
K1, B = 1.2, 0.75
MOST_TERMS, MOST_POSTINGS = 64, 50_000


@dataclass(frozen=True, slots=True)
class ColdRule:
    """An item that is not learnt has the mean unit vector of the learnt items most like it, times their mean length.

    Those are the `n_similar` that share the heaviest terms with it, weighted by BM25. What a term is and weighs is
    what it was in the fit, so that an item that joins later gets what it would have got there.

    Attributes:
        learnt: bool (n_items of the fit,), which items have a vector of their own.
        n_similar: how many give their mean; with 0 the rule gives nothing.
        length: the mean length of their vectors.
        lexicons: the terms of each field.
        rows: int32 (n_learnt,), which these are.
        postings: of them, in this order.
    """

    learnt: NDArray[np.bool_]
    n_similar: int
    length: float
    lexicons: Mapping[str, Lexicon]
    rows: NDArray[np.int32]
    postings: Postings

    def unlearnt(self, rows: NDArray[np.int32]) -> NDArray[np.int32]:
        """Those of the item rows that the rule is for."""
        unlearnt: NDArray[np.int32] = rows[~np.append(self.learnt, False)[np.minimum(rows, self.learnt.size)]]
        return unlearnt

    def vectors(self, items: Table, rows: NDArray[np.int32], table: VectorTable) -> NDArray[np.float32]:
        """The vectors of unlearnt rows of `items`, float32 (n, dim), zero where nothing is like them.

        `table` holds those of the learnt.
        """
        vectors = np.zeros((rows.size, table.dim), np.float32)
        if not self.lexicons:
            return vectors
        own = _indexed(self.lexicons, items, rows, self.postings.statistics)
        for item in range(rows.size):
            like, scores = self.like(own, item)
            if like.size:
                vectors[item] = self._mean(scores, unit_rows(table.take(like)))
        return vectors

    def like(self, postings: Postings, item: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The learnt items most like `item` of `postings`, which are under the statistics of the fit, and how much."""
        one = np.array([item], np.int32), np.ones(1, np.float32)
        terms, weights = postings.profile(*one, MOST_TERMS, MOST_POSTINGS)
        places, scores = self.postings.search(*self.postings.ordered(terms, weights), self.n_similar)
        return self.rows[places], scores

    def save(self, folder: Path) -> None:
        """Write it into `folder`, which is made."""
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
        """Read what `save` wrote."""
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
    """`vectors` (n_items, dim), in which an item that is not `learnt`, by default one without events, has its like's.

    It stays a zero vector where there are no features, or none in common. The rule is for items that join later.
    """
    warm = np.bincount(data.interactions.items, minlength=data.n_items) > 0 if learnt is None else learnt
    filled = np.where(warm[:, None], vectors, np.float32(0.0))
    length = float(np.linalg.norm(filled[warm], axis=1).mean()) if warm.any() else 0.0
    found = {field: Lexicon.of(field, column, N_BUCKETS) for field, column in data.items.features.items() if n_similar}
    lexicons = {field: lexicon for field, (lexicon, _) in found.items()}
    counts = {field: own for field, (_, own) in found.items()}
    statistics = Statistics.of(_fields(lexicons, counts), data.n_items, K1)
    rows, cold = (np.flatnonzero(part).astype(np.int32) for part in (warm, ~warm))
    rule = ColdRule(warm, n_similar, length, lexicons, rows, _indexed(lexicons, data.items, rows, statistics))
    filled[cold] = rule.vectors(data.items, cold, VectorTable.of(filled))
    return filled, rule


def _indexed(
    lexicons: Mapping[str, Lexicon], items: Table, rows: NDArray[np.int32], statistics: Statistics
) -> Postings:
    """The postings of some items, numbered in the order of `rows`."""
    counts = {field: lexicon.counts(items.features[field].take(rows)) for field, lexicon in lexicons.items()}
    return Postings.under(statistics, _fields(lexicons, counts), rows.size, K1)


def _fields(lexicons: Mapping[str, Lexicon], counts: Mapping[str, TermCounts]) -> list[FieldTerms]:
    return [
        FieldTerms(counts[field], len(lexicon), 1.0, 0.0 if lexicon.single else B, lexicon.single)
        for field, lexicon in lexicons.items()
    ]

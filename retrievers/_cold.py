"""Vectors for items without interactions, from items of like features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Dataset, Table
from multirecall.storage import read_component, write_component
from multirecall.topk import NO_ROWS, top_k
from multirecall.vocabulary import Vocabulary

from ._gather import SparseRows, Sums
from ._postings import Postings
from ._terms import Lexicon
from ._units import unit_rows
from ._vector_table import VectorTable

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
        lexicons: by field, with the number of its first term.
        impacts: term × item, the BM25 scores.
    """

    learnt: NDArray[np.bool_]
    n_similar: int
    length: float
    lexicons: Mapping[str, tuple[int, Lexicon]]
    impacts: SparseRows

    def unlearnt(self, rows: NDArray[np.int32]) -> NDArray[np.int32]:
        """Those of the item rows that the rule is for."""
        unlearnt: NDArray[np.int32] = rows[~np.append(self.learnt, False)[np.minimum(rows, self.learnt.size)]]
        return unlearnt

    def vectors(self, items: Table, rows: NDArray[np.int32], table: VectorTable) -> NDArray[np.float32]:
        """The vectors of unlearnt rows of `items`, float32 (n, dim), zero where nothing is like them.

        `table` holds those of the learnt.
        """
        vectors = np.zeros((rows.size, table.dim), np.float32)
        for position, row in enumerate(rows.tolist()):
            like, scores = self._like(*self._profile(items.values(row)))
            if like.size:
                vectors[position] = self._mean(scores, unit_rows(table.take(like)))
        return vectors

    def save(self, folder: Path) -> None:
        """Write it into `folder`, which is made."""
        arrays: dict[str, NDArray[Any]] = {"learnt": self.learnt, **self.impacts.arrays()}
        fields = []
        for number, (field, (first, lexicon)) in enumerate(self.lexicons.items()):
            arrays |= {f"words{number}": lexicon.words.ids(), f"edges{number}": lexicon.edges}
            fields.append([field, lexicon.kind, first])
        write_component(folder, arrays, {"fields": fields, "length": self.length, "n_similar": self.n_similar})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        arrays, meta = read_component(folder)
        lexicons = {
            field: (first, Lexicon(kind, Vocabulary(arrays[f"words{number}"], field), arrays[f"edges{number}"]))
            for number, (field, kind, first) in enumerate(meta["fields"])
        }
        impacts = SparseRows.of_arrays(arrays, arrays["learnt"].size)
        return cls(arrays["learnt"], meta["n_similar"], meta["length"], lexicons, impacts)

    def _profile(self, values: Mapping[str, Any]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The heaviest terms of an item with these features, by `count · idf`; those that the fit lacked are not."""
        terms, weights = [NO_ROWS], [np.empty(0, np.float32)]
        n_items = self.learnt.size
        for field, value in values.items():
            if field in self.lexicons:
                first, lexicon = self.lexicons[field]
                own, counts, _ = lexicon.lookup(value)
                own += np.int32(first)
                holders = self.impacts.offsets[own + 1] - self.impacts.offsets[own]
                terms.append(own)
                weights.append((np.log1p((n_items - holders + 0.5) / (holders + 0.5)) * counts).astype(np.float32))
        best, best_weights = top_k(np.concatenate(terms), np.concatenate(weights), MOST_TERMS)
        n_kept = self.impacts.affordable(best, MOST_POSTINGS)
        return best[:n_kept], best_weights[:n_kept]

    def _like(
        self, terms: NDArray[np.int32], weights: NDArray[np.float32]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The learnt items most like one with these terms, and how much."""
        sums = Sums(self.learnt.size)
        self.impacts.add(terms, weights, sums)
        return sums.top_among(self.n_similar, NO_ROWS, self.learnt)

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
    lexicons, index = _indexed(data, n_similar)
    rule = ColdRule(warm, n_similar, length, lexicons, index.impacts)
    units = unit_rows(filled)
    for item in np.flatnonzero(~warm) if lexicons else ():
        terms, weights = index.profile(np.array([item], np.int32), np.ones(1, np.float32), MOST_TERMS, MOST_POSTINGS)
        like, scores = rule._like(terms, weights)
        if like.size:
            filled[item] = rule._mean(scores, units[like])
    return filled, rule


def _indexed(data: Dataset, n_similar: int) -> tuple[dict[str, tuple[int, Lexicon]], Postings]:
    counts, lexicons = [], {}
    n_terms = 0
    for field, feature in data.items.features.items() if n_similar else ():
        lexicon, own = Lexicon.of(field, feature, N_BUCKETS)
        lexicons[field] = n_terms, lexicon
        counts.append((own, n_terms, 1.0, B if feature.kind in ("text", "list") else 0.0))
        n_terms += len(lexicon)
    return lexicons, Postings.of(counts, n_terms, data.n_items, K1)

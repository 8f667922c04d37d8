"""Vectors for items without interactions (cold start), from items with similar features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.blocks import run_here
from multirecall.data import Dataset, Table
from multirecall.storage import read_component, write_component
from multirecall.vocabulary import Vocabulary

from .._sparse.rows import SparseRows
from .._vector_table import VectorTable
from .postings import FieldTerms, Postings, Statistics, score_terms
from .similar import plan_searches, search_planned
from .terms import Lexicon, TermCounts

N_BUCKETS = 10
"""Buckets of a number or datetime, as by default in `content`."""

K1, B = 1.2, 0.75
"""The parameters of BM25, as by default in `content`."""

N_SIMILAR = 10
"""Items with similar features whose mean vector an item without one of its own gets, unless a setting says more."""

MOST_TERMS, MOST_POSTINGS = 64, 50_000
"""Most terms of an item that a search for similar items uses, and most postings that it reads: bounds its time."""


BLOCK = 4096
"""Items in one task of a thread. Changes speed only."""


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

    def vectors(
        self, items: Table, rows: NDArray[np.int32], table: VectorTable, threads: int = 1
    ) -> NDArray[np.float32]:
        """The vectors by this rule for `rows` of `items`, float32 (n, dim); zero where no item is similar.

        `table` holds the learnt vectors. The number of threads does not change results.
        """
        if not self.lexicons or not rows.size or not self.rows.size:
            return np.zeros((rows.size, table.dim), np.float32)
        statistics = self.postings.statistics
        offsets, terms, _, weights = score_terms(statistics, _terms_of(self.lexicons, items, rows), rows.size, K1)
        profiles = SparseRows(offsets, terms, weights, statistics.idf.size)
        *plan, order = plan_searches(profiles, self.postings, MOST_TERMS, MOST_POSTINGS)
        places, vectors = table.locate(self.rows)
        filled = np.zeros((rows.size, table.dim), np.float32)
        arguments = order, *plan, self.postings, self.n_similar, places, vectors, np.float32(self.length)
        bounds = [(start, min(start + BLOCK, rows.size)) for start in range(0, rows.size, BLOCK)]
        for (start, stop), (means,) in zip(bounds, run_here(_means_of_block, arguments, bounds, threads), strict=True):
            filled[order[start:stop]] = means
        return filled

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


def with_cold_items(
    vectors: NDArray[np.float32],
    data: Dataset,
    n_similar: int,
    learnt: NDArray[np.bool_] | None = None,
    threads: int = 1,
) -> tuple[NDArray[np.float32], ColdRule]:
    """Vectors with those of cold items filled in, float32 (n_items, dim), and the rule for items that are added later.

    Args:
        vectors: float32 (n_items, dim), the learnt vectors; those of cold items are ignored.
        data: the items and their features.
        n_similar: the number of similar items whose mean a cold item gets.
        learnt: bool (n_items,), whether each item has a learnt vector; None: whether it has events.
        threads: of the search for similar items. It does not change results.

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
    del found, counts
    postings = Postings.under(statistics, _terms_of(lexicons, data.items, rows), rows.size, K1)
    rule = ColdRule(warm, n_similar, length, lexicons, rows, postings)
    filled[cold] = rule.vectors(data.items, cold, VectorTable.of(filled), threads)
    return filled, rule


def _means_of_block(
    start: int,
    stop: int,
    order: NDArray[np.int64],
    plan_offsets: NDArray[np.int64],
    plan_terms: NDArray[np.int32],
    plan_weights: NDArray[np.float32],
    rare: NDArray[np.int32],
    postings: Postings,
    n_similar: int,
    places: NDArray[np.int32],
    vectors: NDArray[np.float32],
    length: np.float32,
) -> tuple[NDArray[np.float32]]:
    """The vectors of the items `order[start:stop]` by the rule; those of learnt items are `vectors[places]`."""
    near, scores = search_planned(start, stop, order, plan_offsets, plan_terms, plan_weights, rare, postings, n_similar)
    like = vectors[places[near]]
    lengths = np.linalg.norm(like, axis=2, keepdims=True)
    np.divide(like, lengths, out=like, where=lengths > 0)
    totals = scores.sum(axis=1, keepdims=True)
    means = length * (scores[:, None] @ like)[:, 0]
    return (np.divide(means, totals, out=np.zeros_like(means), where=totals > 0),)


def _terms_of(lexicons: Mapping[str, Lexicon], items: Table, rows: NDArray[np.int32]) -> list[FieldTerms]:
    """The terms of the items `rows`, numbered in the order of `rows`."""
    return _fields(
        lexicons, {field: lexicon.counts(items.features[field].take(rows)) for field, lexicon in lexicons.items()}
    )


def _fields(lexicons: Mapping[str, Lexicon], counts: Mapping[str, TermCounts]) -> list[FieldTerms]:
    return [
        FieldTerms(counts[field], len(lexicon), 1.0, 0.0 if lexicon.single else B, lexicon.single)
        for field, lexicon in lexicons.items()
    ]

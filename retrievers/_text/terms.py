"""The terms of feature values, for an inverted index over items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Categorical, Feature, Numeric, Tags, Text
from multirecall.data.words import Words
from multirecall.kernels import Array, kernel
from multirecall.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class TermCounts:
    """The count of each term in each item: `items`, `terms` and `counts`, int32, int32 and float32 (n,)."""

    items: NDArray[np.int32]
    terms: NDArray[np.int32]
    counts: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The terms of one field, and the look-up of values among them.

    Attributes:
        kind: the kind of the feature.
        words: the categories or words; empty for a number or datetime.
        edges: ascending bucket edges of a number or datetime, float64 (n_buckets - 1,).
    """

    kind: str
    words: Vocabulary
    edges: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.kind == "text":
            self.lookup("")  # compile the kernels before the first request

    @classmethod
    def of(cls, field: str, feature: Feature, n_buckets: int) -> tuple[Self, TermCounts]:
        """The lexicon of a feature, and the terms of its items."""
        no_words, no_edges = Vocabulary.of([], field), np.empty(0)
        if isinstance(feature, Text):
            words, counts = _count_words(feature, field)
            return cls(feature.kind, words, no_edges), counts
        if isinstance(feature, Numeric):
            edges = _edges(feature.values, n_buckets)
            return cls(feature.kind, no_words, edges), _bucket_terms(feature.values, edges)
        return cls(feature.kind, feature.categories, no_edges), _category_terms(feature)

    def counts(self, feature: Feature) -> TermCounts:
        """The terms of other items of the field; values that the lexicon does not have are ignored."""
        if isinstance(feature, Numeric):
            return _bucket_terms(feature.values, self.edges)
        if isinstance(feature, Text):
            words, counts = _count_words(feature, self.words.what)
        else:
            words, counts = feature.categories, _category_terms(feature)
        used, places = np.unique(counts.terms, return_inverse=True)
        terms = self.words.rows(words.ids(used))[places] if used.size else counts.terms
        known = terms >= 0
        return TermCounts(counts.items[known], terms[known], counts.counts[known])

    @property
    def single(self) -> bool:
        """Whether an item holds at most one term of the field."""
        return self.kind not in ("text", "list")

    def __len__(self) -> int:
        return self.edges.size + 1 if self.kind in ("number", "datetime") else len(self.words)

    def lookup(self, value: Any) -> tuple[NDArray[np.int32], NDArray[np.float32], int]:
        """The terms of a search value, int32, their counts, float32, and the number of unknown words or categories.

        The value is a str for a text, a float for a number or datetime, else a category or a list of categories.
        """
        if self.kind == "text":
            words = Words.of(Text.of([value]))
            rows = self.words.rows(words.distinct)[words.numbers]
        elif self.kind in ("number", "datetime"):
            rows = np.searchsorted(self.edges, [value], side="right").astype(np.int32)
        else:
            rows = self.words.rows(value if isinstance(value, list) else [value])
        terms, counts = np.unique(rows[rows >= 0], return_counts=True)
        return terms, counts.astype(np.float32), int((rows < 0).sum())


def count_terms(offsets: NDArray[np.int64], terms: NDArray[np.int32], n_terms: int) -> TermCounts:
    """Count the terms of each item; item `i` holds `terms[offsets[i]:offsets[i + 1]]`, in any order."""
    return TermCounts(*_count_terms(offsets, terms, n_terms))


def _count_words(texts: Text, field: str) -> tuple[Vocabulary, TermCounts]:
    words = Words.of(texts, single=True)
    vocabulary = Vocabulary(np.array(words.distinct, np.str_), field)
    return vocabulary, count_terms(words.offsets, words.numbers, len(words.distinct))


@kernel
def _count_terms(offsets: Array, terms: Array, n_terms: int) -> tuple[Array, Array, Array]:
    """The arrays of `TermCounts`.

    `places` holds the position of each term's last entry. An entry before the current item's first belongs to an
    earlier item, so that `places` needs no clearing between items.
    """
    places = np.full(n_terms, -1, np.int64)
    items = np.empty(terms.size, np.int32)
    distinct = np.empty(terms.size, np.int32)
    counts = np.empty(terms.size, np.float32)
    size = 0
    for item in range(offsets.size - 1):
        first = size
        for position in range(offsets[item], offsets[item + 1]):
            term = terms[position]
            if places[term] < first:
                places[term] = size
                items[size], distinct[size], counts[size] = item, term, 1.0
                size += 1
            else:
                counts[places[term]] += 1.0
    return items[:size], distinct[:size], counts[:size]


def _edges(values: NDArray[np.float64], n_buckets: int) -> NDArray[np.float64]:
    """The inner edges of `n_buckets` buckets with about equally many values (quantiles), float64, ascending."""
    present = values[~np.isnan(values)]
    if not present.size:
        return np.empty(0)
    return np.unique(np.quantile(present, np.linspace(0, 1, n_buckets + 1)[1:-1], method="higher"))


def _bucket_terms(values: NDArray[np.float64], edges: NDArray[np.float64]) -> TermCounts:
    items = np.flatnonzero(~np.isnan(values)).astype(np.int32)
    buckets = np.searchsorted(edges, values[items], side="right").astype(np.int32)
    return TermCounts(items, buckets, np.ones(items.size, np.float32))


def _category_terms(feature: Categorical | Tags) -> TermCounts:
    if isinstance(feature, Tags):
        items = np.repeat(np.arange(feature.offsets.size - 1, dtype=np.int32), np.diff(feature.offsets))
        return TermCounts(items, feature.codes, np.ones(items.size, np.float32))
    items = np.flatnonzero(feature.codes >= 0).astype(np.int32)
    return TermCounts(items, feature.codes[items], np.ones(items.size, np.float32))

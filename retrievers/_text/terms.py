"""From feature values to terms: the units that an inverted index over items is made of."""

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
    """How often each item holds each term: `items`, `terms`, `counts`, int32 / int32 / float32 (n,)."""

    items: NDArray[np.int32]
    terms: NDArray[np.int32]
    counts: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The terms of one field and how a value is looked up among them.

    Attributes:
        kind: kind of the feature.
        words: categories or tokens, for the kinds that have them.
        edges: ascending bucket edges of a number or datetime, float64 (n_buckets - 1,).
    """

    kind: str
    words: Vocabulary
    edges: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.kind == "text":
            self.lookup("")  # what it compiles, no request waits for

    @classmethod
    def of(cls, field: str, feature: Feature, n_buckets: int) -> tuple[Self, TermCounts]:
        """The lexicon of a feature column, and the terms of its items."""
        no_words, no_edges = Vocabulary.of([], field), np.empty(0)
        if isinstance(feature, Text):
            words, counts = _tokenised(feature, field)
            return cls(feature.kind, words, no_edges), counts
        if isinstance(feature, Numeric):
            edges = _edges(feature.values, n_buckets)
            return cls(feature.kind, no_words, edges), _bucketed(feature.values, edges)
        return cls(feature.kind, feature.categories, no_edges), _categorised(feature)

    def counts(self, feature: Feature) -> TermCounts:
        """The terms of another column of the field; values that the lexicon does not know are passed over."""
        if isinstance(feature, Numeric):
            return _bucketed(feature.values, self.edges)
        if isinstance(feature, Text):
            words, counts = _tokenised(feature, self.words.what)
        else:
            words, counts = feature.categories, _categorised(feature)
        terms = self.words.rows(words.ids())[counts.terms] if len(words) else counts.terms
        known = terms >= 0
        return TermCounts(counts.items[known], terms[known], counts.counts[known])

    @property
    def single(self) -> bool:
        """Whether an item holds one term of the field at most."""
        return self.kind not in ("text", "list")

    def __len__(self) -> int:
        return self.edges.size + 1 if self.kind in ("number", "datetime") else len(self.words)

    def lookup(self, value: Any) -> tuple[NDArray[np.int32], NDArray[np.float32], int]:
        """The terms that `value` asks for, with their counts, and how many words or categories are unknown.

        A text is a str, a number or datetime a float, anything else a category or a list of them.
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


def counted(offsets: NDArray[np.int64], terms: NDArray[np.int32], n_terms: int) -> TermCounts:
    """How often each item holds each term; item `i` holds `terms[offsets[i]:offsets[i + 1]]`, in any order."""
    return TermCounts(*_counted(offsets, terms, n_terms))


def _tokenised(texts: Text, field: str) -> tuple[Vocabulary, TermCounts]:
    words = Words.of(texts, single=True)
    vocabulary = Vocabulary(np.array(words.distinct, np.str_), field)
    return vocabulary, counted(words.offsets, words.numbers, len(words.distinct))


@kernel
def _counted(offsets: Array, terms: Array, n_terms: int) -> tuple[Array, Array, Array]:
    """A term's place among those of the current item is found where the item before left its own: no clearing."""
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
    """Inner edges of buckets with about equally many values."""
    present = values[~np.isnan(values)]
    if not present.size:
        return np.empty(0)
    return np.unique(np.quantile(present, np.linspace(0, 1, n_buckets + 1)[1:-1], method="higher"))


def _bucketed(values: NDArray[np.float64], edges: NDArray[np.float64]) -> TermCounts:
    items = np.flatnonzero(~np.isnan(values)).astype(np.int32)
    buckets = np.searchsorted(edges, values[items], side="right").astype(np.int32)
    return TermCounts(items, buckets, np.ones(items.size, np.float32))


def _categorised(feature: Categorical | Tags) -> TermCounts:
    if isinstance(feature, Tags):
        items = np.repeat(np.arange(feature.offsets.size - 1, dtype=np.int32), np.diff(feature.offsets))
        return TermCounts(items, feature.codes, np.ones(items.size, np.float32))
    items = np.flatnonzero(feature.codes >= 0).astype(np.int32)
    return TermCounts(items, feature.codes[items], np.ones(items.size, np.float32))

"""Texts as sequences of words, and words as bags of tokens: what a tower reads of titles and of search terms."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Categorical, Feature, Tags, Text
from multirecall.data.words import Words
from multirecall.errors import CannotFit
from multirecall.validation import nearest

from .bags import Bags
from .mlp import Vectors
from .pooling import pool
from .tokenisers import TOKENISERS, TokeniserName


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts as sequences of words.

    Attributes:
        words: the tokens of each distinct word, of weight 1.
        sequences: the words of each text, in their order, as numbers into `words`; the `n` words of a text have the
            weight `n ** -0.5`.
    """

    words: Bags
    sequences: Bags

    def __len__(self) -> int:
        return len(self.sequences)

    def take(self, rows: NDArray[np.integer]) -> Texts:
        """The texts of the given rows, with the words that they use."""
        return Texts.of_words(self.words, self.sequences.take(rows))

    @classmethod
    def of_words(cls, words: Bags, sequences: Bags) -> Self:
        """The same sequences, with those among `words` that they use."""
        used, places = np.unique(sequences.tokens, return_inverse=True)
        return cls(words.take(used), Bags(sequences.offsets, places.astype(np.int32), sequences.weights))


@dataclass(frozen=True, slots=True)
class TextRule:
    """The rule that turns the values of some fields into one text, and each word of a text into tokens.

    The text has the values of the fields in their order. Categories and lists of categories are read as words.

    Attributes:
        fields: the item features that are read.
        tokeniser: its name.
        n_buckets: the number of hash buckets for tokens.
    """

    fields: tuple[str, ...]
    tokeniser: TokeniserName
    n_buckets: int

    @classmethod
    def of(
        cls,
        features: Mapping[str, Feature],
        fields: Sequence[str] | None,
        tokeniser: TokeniserName,
        n_buckets: int,
        name: str,
    ) -> Self:
        """The rule for these fields; None: all that have words. `name` is that of the retriever, for messages.

        Raises:
            CannotFit: a field does not exist or has no words, or no field has any.
        """
        able = fields_with_words(features)
        for field in fields or ():
            if field not in able:
                fault = "has no words" if field in features else "is no item feature"
                raise CannotFit(f"{name}: {field!r} {fault}; {nearest(field, able)}")
        if not able:
            raise CannotFit(f"{name}: no item feature has words; pass an item table with a text, or leave the path out")
        return cls(tuple(able if fields is None else fields), tokeniser, n_buckets)

    def columns(self, features: Mapping[str, Feature]) -> Text:
        """The text of every row."""
        columns = [_strings(features[field]) for field in self.fields]
        return Text.of(columns[0] if len(columns) == 1 else map("\n".join, zip(*columns, strict=True)))

    def text(self, values: Mapping[str, Any]) -> str:
        """The text of one row, or of search terms, with these values by field; others are ignored."""
        return "\n".join(_joined(values[field]) for field in self.fields if values.get(field) is not None)

    def of_texts(self, texts: Text) -> tuple[list[str], Texts]:
        """The distinct words, and the sequences of all of them."""
        words = Words.of(texts)
        lengths = np.diff(words.offsets)
        weights = np.repeat(np.maximum(lengths, 1) ** -0.5, lengths).astype(np.float32)
        return words.distinct, Texts(self.bags(words.distinct), Bags(words.offsets, words.numbers, weights))

    def bags(self, words: Sequence[str]) -> Bags:
        """The tokens of each word, of weight 1."""
        offsets, tokens = TOKENISERS[self.tokeniser](Text.of(words), self.n_buckets)
        return Bags(offsets, tokens, np.ones(tokens.size, np.float32))

    def rows(self, values: Mapping[str, Any], table: Vectors) -> tuple[Vectors, Vectors]:
        """The weight, float32 (n_words,), and the embedding, float32 (n_words, dim), of each word of one text.

        Args:
            values: the values by field.
            table: float32 (n_buckets, dim), the embeddings of tokens; that of a word is their sum.
        """
        text = self.text(values)
        if not text:
            return np.empty(0, np.float32), np.empty((0, table.shape[1]), np.float32)
        _, texts = self.of_texts(Text.of([text]))
        words, sequence = texts.words, texts.sequences
        sums: Vectors = pool(table, words.tokens.astype(np.int64), words.offsets, words.weights[None])
        return sequence.weights, sums[sequence.tokens]

    def meta(self) -> dict[str, Any]:
        """The JSON values from which `of_meta` restores the rule."""
        return {"fields": list(self.fields), "tokeniser": self.tokeniser, "n_buckets": self.n_buckets}

    @classmethod
    def of_meta(cls, meta: Mapping[str, Any]) -> Self:
        """The rule whose `meta()` is given."""
        return cls(tuple(meta["fields"]), meta["tokeniser"], meta["n_buckets"])


def fields_with_words(features: Mapping[str, Feature]) -> list[str]:
    """The names of the texts, and of the categories and lists of categories that are words."""
    return [name for name, feature in features.items() if _has_words(feature)]


def _has_words(feature: Feature) -> bool:
    if isinstance(feature, Categorical | Tags):
        return feature.categories.ids().dtype.kind == "U"
    return isinstance(feature, Text)


def _strings(feature: Feature) -> list[str]:
    if isinstance(feature, Text):
        return feature.strings()
    assert isinstance(feature, Categorical | Tags)
    names: list[str] = [*feature.categories.ids().tolist(), ""]
    if isinstance(feature, Categorical):
        return [names[code] for code in feature.codes.tolist()]
    bounds, codes = feature.offsets.tolist(), feature.codes.tolist()
    return [" ".join(names[code] for code in codes[a:b]) for a, b in itertools.pairwise(bounds)]


def _joined(value: Any) -> str:
    values: Iterable[Any] = value if isinstance(value, list) else [value]
    return " ".join(map(str, values))

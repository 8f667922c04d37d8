"""Features as weighted tokens; a missing value and an unseen value have tokens of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.csr import offsets_of
from multirecall.data import Categorical, Feature, Numeric, Tags, Text
from multirecall.kernels import Array, kernel
from multirecall.vocabulary import Id

from .bags import Bags
from .tokenisers import TOKENISERS, TokeniserName

MISSING, UNSEEN, FIRST = 0, 1, 2
"""Token numbers within a field: no value, a value that training did not have, and the first known value."""

EXTREME = 4.0
"""Standard deviations from the mean at which a standardised number is clipped."""

LARGEST = 1e150
"""The absolute value at which numbers are clipped, since the squares of larger ones overflow float64."""

SECONDS_PER_YEAR, SECONDS_PER_WEEK = 31_556_952, 604_800

Tokens = tuple[list[int], list[float]]
"""The tokens and weights of one value. A request has few, and lists are then faster than arrays."""


@dataclass(frozen=True, slots=True)
class Field:
    """The rule that turns the values of one feature into tokens.

    A category gives one token. A list of `n` categories gives `n` tokens of weight `n ** -0.5`. A number gives one
    token, whose weight is the standardised value. A datetime also gives four tokens, whose weights are the sine and
    cosine of its phase in the year and in the week. A text gives the `n` tokens of its tokeniser, of weight
    `n ** -0.5`.

    Attributes:
        kind: the kind of the feature.
        size: the number of tokens of the field.
        mean: the mean of a number or datetime.
        scale: the standard deviation of a number or datetime, > 0.
        categories: the token of each category of a categorical or list-valued field.
        tokeniser: the tokeniser of a text field.
    """

    kind: str
    size: int
    mean: float
    scale: float
    categories: Mapping[Id, int]
    tokeniser: TokeniserName = "words"

    @classmethod
    def of(cls, feature: Feature, tokeniser: TokeniserName, text_buckets: int) -> Self:
        """The rule for a feature, from its values in the training data."""
        if isinstance(feature, Text):
            return cls("text", FIRST + text_buckets, 0.0, 1.0, {}, tokeniser)
        if isinstance(feature, Numeric):
            present = np.clip(feature.values[~np.isnan(feature.values)], -LARGEST, LARGEST)
            mean, deviation = (float(present.mean()), float(present.std())) if present.size else (0.0, 0.0)
            size = FIRST + (5 if feature.kind == "datetime" else 1)
            return cls(feature.kind, size, mean, deviation or 1.0, {})
        return cls(feature.kind, FIRST + len(feature.categories), 0.0, 1.0, _category_tokens(feature.categories.ids()))

    def bags(self, feature: Feature) -> Bags:
        """The tokens of every row of the training data."""
        if isinstance(feature, Categorical):
            tokens = np.where(feature.codes < 0, MISSING, feature.codes + FIRST)
            return _singles(tokens.astype(np.int32), np.ones(tokens.size))
        if isinstance(feature, Tags):
            return _equal_weights(feature.offsets, feature.codes + FIRST)
        if isinstance(feature, Text):
            return _equal_weights(*self._tokenise(feature))
        missing = np.isnan(feature.values)
        columns = numbers(feature.values[~missing], self.mean, self.scale, self.kind == "datetime")
        offsets = offsets_of(np.where(missing, 1, columns.shape[1]))
        tokens, weights = np.full(offsets[-1], MISSING, np.int32), np.ones(offsets[-1], np.float32)
        places = offsets[:-1][~missing][:, None] + np.arange(columns.shape[1])
        tokens[places], weights[places] = FIRST + np.arange(columns.shape[1]), columns
        return Bags(offsets, tokens, weights)

    def tokens(self, value: Any) -> Tokens:
        """The tokens of one value (None: no value), equal to those of `bags` for a row with that value."""
        if value is None:
            return [MISSING], [1.0]
        if self.kind == "categorical":
            return [self.categories.get(value, UNSEEN)], [1.0]
        if self.kind == "number":
            return [FIRST], [standardised(float(value), self.mean, self.scale)]
        if self.kind == "datetime":
            weights = numbers(np.array([value], np.float64), self.mean, self.scale, True)[0].tolist()
            return list(range(FIRST, FIRST + len(weights))), weights
        if self.kind == "text":
            tokens = self._tokenise(Text.of([value]))[1].tolist()
        else:
            tokens = [self.categories.get(one, UNSEEN) for one in (value if isinstance(value, list) else [value])]
        return (tokens, [len(tokens) ** -0.5] * len(tokens)) if tokens else ([MISSING], [1.0])

    def _tokenise(self, texts: Text) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """The CSR offsets, int64 (n + 1,), and the hashed tokens, int32, of texts."""
        offsets, tokens = TOKENISERS[self.tokeniser](texts, self.size - FIRST)
        return offsets, tokens + np.int32(FIRST)


@dataclass(frozen=True, slots=True)
class Profile:
    """The rule that turns the id and the features of items, or of users, into tokens of one table.

    Token 0 stands for an unknown id. The next `n_ids` tokens are the ids, and then follow the tokens of each field.

    Attributes:
        n_ids: the number of rows whose id has a token.
        fields: the first token and the rule of each field, by name.
    """

    n_ids: int
    fields: Mapping[str, tuple[int, Field]]

    @classmethod
    def of(cls, features: Mapping[str, Feature], n_ids: int, tokeniser: TokeniserName, text_buckets: int) -> Self:
        """The rule for `n_ids` ids and these features, from the training data."""
        fields = {}
        first = 1 + n_ids
        for name, feature in features.items():
            fields[name] = first, Field.of(feature, tokeniser, text_buckets)
            first += fields[name][1].size
        return cls(n_ids, fields)

    @property
    def size(self) -> int:
        """The number of tokens."""
        return 1 + self.n_ids + sum(field.size for _, field in self.fields.values())

    def bags(self, features: Mapping[str, Feature], known: NDArray[np.bool_]) -> Bags:
        """The bag of every row, id first; `known`, bool (n,), is True for each row whose id has a token."""
        ids = np.where(known, 1 + np.arange(known.size), 0).astype(np.int32)
        parts = [_singles(ids, np.ones(known.size))]
        for name, (first, field) in self.fields.items():
            own = field.bags(features[name])
            parts.append(replace(own, tokens=own.tokens + np.int32(first)))
        return Bags.concat(parts, known.size)

    def tokens(self, row: int, values: Mapping[str, Any]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The bag of one row (-1: unknown) with these feature values: tokens, int32, and weights, float32."""
        tokens, weights = [1 + row if row < self.n_ids else 0], [1.0]
        for name, (first, field) in self.fields.items():
            own, shares = field.tokens(values.get(name))
            tokens += [first + token for token in own]
            weights += shares
        return np.array(tokens, np.int32), np.array(weights, np.float32)

    def unknown_tokens(self) -> NDArray[np.int32]:
        """For each token the token of an unknown value of the same field, int32 (size,); for a number, itself."""
        instead = np.arange(self.size, dtype=np.int32)
        instead[: 1 + self.n_ids] = 0
        for first, field in self.fields.values():
            if field.kind not in ("number", "datetime"):
                instead[first + FIRST : first + field.size] = first + UNSEEN
        return instead

    def meta(self) -> dict[str, Any]:
        """The JSON values from which `of_meta` restores the profile, together with `arrays()`."""
        fields = [[name, field.kind, field.size, field.mean, field.scale] for name, (_, field) in self.fields.items()]
        return {"n_ids": self.n_ids, "fields": fields}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The categories of each field."""
        return {
            f"categories{number}": np.array(list(field.categories))
            for number, (_, field) in enumerate(self.fields.values())
        }

    @classmethod
    def of_meta(cls, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], tokeniser: TokeniserName) -> Self:
        """The profile whose `meta()` and `arrays()` are given."""
        fields = {}
        first = 1 + meta["n_ids"]
        for number, (name, kind, size, mean, scale) in enumerate(meta["fields"]):
            fields[name] = (
                first,
                Field(kind, size, mean, scale, _category_tokens(arrays[f"categories{number}"]), tokeniser),
            )
            first += size
        return cls(meta["n_ids"], fields)


def _category_tokens(categories: NDArray[Any]) -> dict[Id, int]:
    return {category: FIRST + code for code, category in enumerate(categories.tolist())}


def _singles(tokens: NDArray[np.int32], weights: NDArray[Any]) -> Bags:
    return Bags(np.arange(tokens.size + 1, dtype=np.int64), tokens, weights.astype(np.float32))


def _equal_weights(offsets: NDArray[np.int64], tokens: NDArray[np.int32]) -> Bags:
    """Bags with equal weights whose squares sum to 1; an empty bag gets the token for no value."""
    lengths = np.diff(offsets)
    filled = offsets_of(np.maximum(lengths, 1))
    every = np.full(filled[-1], MISSING, np.int32)
    every[np.arange(tokens.size) + np.repeat(filled[:-1] - offsets[:-1], lengths)] = tokens
    sizes = np.maximum(lengths, 1)
    return Bags(filled, every, np.repeat(sizes**-0.5, sizes).astype(np.float32))


def standardised(value: float, mean: float, scale: float) -> float:
    """The weight of the token of a number: deviations from the mean, clipped."""
    return min(max((value - mean) / scale, -EXTREME), EXTREME)


_standardised = kernel(standardised)


@kernel
def numbers(values: Array, mean: float, scale: float, is_datetime: bool) -> Array:
    """The weights of the tokens of each value: float32 (n, 1), or (n, 5) for datetimes in epoch seconds."""
    weights = np.empty((values.size, 5 if is_datetime else 1), np.float32)
    for row in range(values.size):
        weights[row, 0] = _standardised(values[row], mean, scale)
        if is_datetime:
            for place, period in ((1, SECONDS_PER_YEAR), (3, SECONDS_PER_WEEK)):
                phase = 2 * np.pi * (values[row] / period % 1)
                weights[row, place], weights[row, place + 1] = np.sin(phase), np.cos(phase)
    return weights

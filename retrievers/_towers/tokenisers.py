"""Tokenisers from texts to hashed tokens: words, letter trigrams, or both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from multirecall.csr import offsets_of, take_runs
from multirecall.data import Text
from multirecall.data.words import FNV_PRIME, Words
from multirecall.kernels import Array, kernel

TokeniserName = Literal["words", "letters", "words_and_letters"]

EDGE = "#"
"""The mark before and after a word, so that trigrams at its edges differ from those inside."""

HashedTexts = tuple[NDArray[np.int64], NDArray[np.int32]]
"""The CSR offsets of the texts, int64 (n + 1,), and the tokens, int32, each below the number of hash buckets."""


def word_tokens(texts: Text, n_buckets: int) -> HashedTexts:
    """The words of each text and its pairs of neighbouring words, hashed into buckets."""
    words = Words.of(texts)
    offsets, tokens = _hash_words(words.offsets, words.hashes[words.numbers], n_buckets)
    return offsets, tokens


def letter_tokens(texts: Text, n_buckets: int) -> HashedTexts:
    """The letter trigrams of `#word#`, for each word of each text, hashed into buckets.

    Huang et al., CIKM 2013, "Learning Deep Structured Semantic Models for Web Search", section 3.2.
    """
    words = Words.of(texts)
    marked = "".join(f"{EDGE}{word}{EDGE}" for word in words.distinct)
    letters = np.array(list(marked), "U1").view(np.uint32).astype(np.uint64)
    lengths = np.fromiter(map(len, words.distinct), np.int64, len(words.distinct))
    ends = np.cumsum(lengths + 2)
    begins = np.ones(letters.size, np.bool_)
    begins[ends - 1] = begins[ends - 2] = False
    starts = np.flatnonzero(begins)
    prime = np.uint64(FNV_PRIME)
    hashes = ((letters[starts] * prime ^ letters[starts + 1]) * prime ^ letters[starts + 2]) * prime
    buckets = (hashes % np.uint64(n_buckets)).astype(np.int32)
    offsets, places = take_runs(offsets_of(lengths), words.numbers)
    return offsets[words.offsets], buckets[places]


def word_and_letter_tokens(texts: Text, n_buckets: int) -> HashedTexts:
    """The tokens of `word_tokens`, then those of `letter_tokens`, for each text; both share the buckets."""
    parts = word_tokens(texts, n_buckets), letter_tokens(texts, n_buckets)
    n_texts = parts[0][0].size - 1
    both = np.concatenate([parts[0][0], parts[0][0][-1] + parts[1][0][1:]])
    offsets, places = take_runs(both, np.arange(2 * n_texts).reshape(2, n_texts).T.ravel())
    return offsets[::2], np.concatenate([tokens for _, tokens in parts])[places]


TOKENISERS: Mapping[TokeniserName, Callable[[Text, int], HashedTexts]] = {
    "words": word_tokens,
    "letters": letter_tokens,
    "words_and_letters": word_and_letter_tokens,
}


@kernel
def _hash_words(offsets: Array, words: Array, n_buckets: int) -> tuple[Array, Array]:
    """The tokens of each text: its words and pairs of neighbouring words, hashed into buckets.

    `words`, uint64, are the hashes of the words of all texts, with CSR offsets `offsets`, int64 (n + 1,). Returns
    offsets, int64 (n + 1,), and tokens, int32.
    """
    tokens = np.empty(2 * words.size, np.int32)
    ends = np.zeros(offsets.size, np.int64)
    size = 0
    for text in range(offsets.size - 1):
        for place in range(offsets[text], offsets[text + 1]):
            tokens[size] = np.int64(words[place] % np.uint64(n_buckets))
            size += 1
            if place > offsets[text]:
                pair = (words[place - 1] * np.uint64(FNV_PRIME)) ^ words[place]
                tokens[size] = np.int64(pair % np.uint64(n_buckets))
                size += 1
        ends[text + 1] = size
    return ends, tokens[:size]

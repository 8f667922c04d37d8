"""Searches with and without typos over the titles of a catalogue, and BM25 over words or letters to answer them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.csr import offsets_of
from multirecall.data import Text
from multirecall.data.words import Words
from multirecall.metrics import METRICS, user_metrics
from multirecall.query import Query
from multirecall.retrievers._text.postings import FieldTerms, Postings
from multirecall.retrievers._text.terms import count_terms

FORMS = ("clean", "one typo", "every word")
"""How a search is spelt: as in the titles, with a typo in one word, or with one in every word."""

MOST_WORDS, LEAST_LETTERS, K = 4, 3, 10
ALPHABET = "abcdefghijklmnopqrstuvwxyz"

GRID = tuple(product((0.1, 0.3, 0.6, 1.2, 2.0), (0.0, 0.3, 0.75, 0.9)))
"""The values of k1 and b that a BM25 index chooses from."""

Ask = Callable[[str], NDArray[np.int32]]
"""A function from a search to the rows of the best items, best first."""


@dataclass(frozen=True)
class Searches:
    """Searches of 1 to 4 different words of a title, in the order of the title, and the items whose titles have all.

    Only words of three letters or more are drawn, and no numbers.

    Attributes:
        spelt: for each form of `FORMS`, the searches.
        n_words: the number of words of each, int64 (n,).
        offsets, relevant: CSR offsets, int64 (n + 1,), and item rows, int32, ascending.
    """

    spelt: dict[str, list[str]]
    n_words: NDArray[np.int64]
    offsets: NDArray[np.int64]
    relevant: NDArray[np.int32]

    @classmethod
    def draw(cls, titles: Sequence[str], n: int, seed: int) -> Searches:
        """`n` searches; the title, the number of words and the words are drawn uniformly."""
        rng = np.random.default_rng(seed)
        words = Words.of(Text.of(titles))
        able = np.array([word.isalpha() and len(word) >= LEAST_LETTERS for word in words.distinct])
        own = [words.numbers[a:b] for a, b in zip(words.offsets, words.offsets[1:], strict=False)]
        holders: dict[int, set[int]] = {}
        for row, numbers in enumerate(own):
            for word in numbers.tolist():
                holders.setdefault(word, set()).add(row)
        spelt: dict[str, list[str]] = {form: [] for form in FORMS}
        sizes: list[int] = []
        relevant: list[list[int]] = []
        while len(sizes) < n:
            distinct = [word for word in dict.fromkeys(own[rng.integers(len(own))].tolist()) if able[word]]
            if not distinct:
                continue
            size = int(rng.integers(1, min(MOST_WORDS, len(distinct)) + 1))
            chosen = [distinct[place] for place in np.sort(rng.permutation(len(distinct))[:size])]
            clean = [words.distinct[word] for word in chosen]
            wrong = [misspell(word, rng) for word in clean]
            place = int(rng.integers(size))
            spelt["clean"].append(" ".join(clean))
            spelt["one typo"].append(" ".join([*clean[:place], wrong[place], *clean[place + 1 :]]))
            spelt["every word"].append(" ".join(wrong))
            sizes.append(size)
            relevant.append(sorted(set.intersection(*(holders[word] for word in chosen))))
        offsets = offsets_of([len(rows) for rows in relevant])
        return cls(spelt, np.array(sizes), offsets, np.concatenate(relevant).astype(np.int32))

    def ndcg(self, ask: Ask, form: str) -> NDArray[np.float64]:
        """NDCG@10 of each search in this form, float64 (n,); an item is relevant or not."""
        return ndcg([ask(search) for search in self.spelt[form]], self.offsets, self.relevant)


def ndcg(
    answers: Sequence[NDArray[np.int32]], offsets: NDArray[np.int64], relevant: NDArray[np.int32]
) -> NDArray[np.float64]:
    """NDCG@10 of each answer with binary relevance, float64 (n,)."""
    bounds = offsets_of([answer.size for answer in answers])
    found = user_metrics(bounds, np.concatenate(answers).astype(np.int32), offsets, relevant, (K,))
    values: NDArray[np.float64] = found[METRICS.index("ndcg"), :, 0]
    return values


def misspell(word: str, rng: np.random.Generator) -> str:
    """Insert, remove, replace or swap letters at one place, so that the word changes."""
    while True:
        place, letter = int(rng.integers(len(word))), ALPHABET[rng.integers(26)]
        rest = word[place + 1 :]
        changed = (
            word[:place] + letter + word[place:],
            word[:place] + rest,
            word[:place] + letter + rest,
            word[:place] + rest[:1] + word[place] + rest[1:],
        )[rng.integers(4)]
        if changed != word:
            return changed


class BM25:
    """Our inverted index over the words of texts, or over the letter n-grams of `#word#`."""

    def __init__(self, texts: Sequence[str], letters: int | None, k1: float, b: float) -> None:
        self.letters, self.settings = letters, {"k1": k1, "b": b}
        self.numbers: dict[str, int] = {}
        documents = [self._terms(text) for text in texts]
        numbers = [[self.numbers.setdefault(term, len(self.numbers)) for term in terms] for terms in documents]
        offsets = offsets_of([len(terms) for terms in numbers])
        flat = np.array([number for terms in numbers for number in terms], np.int32)
        counts = count_terms(offsets, flat, len(self.numbers))
        self.index = Postings.of([FieldTerms(counts, len(self.numbers), 1.0, b, False)], len(texts), k1)

    @classmethod
    def chosen(cls, texts: Sequence[str], letters: int | None, quality: Callable[[BM25], float]) -> BM25:
        """The index of `GRID` with the best quality."""
        return max((cls(texts, letters, k1, b) for k1, b in GRID), key=quality)

    def __call__(self, search: str) -> NDArray[np.int32]:
        """The rows of the ten best texts."""
        known = [self.numbers[term] for term in self._terms(search) if term in self.numbers]
        terms, counts = np.unique(np.array(known, np.int32), return_counts=True)
        rows: NDArray[np.int32] = self.index.search(*self.index.order(terms, counts.astype(np.float32)), K)[0]
        return rows

    def _terms(self, text: str) -> list[str]:
        words = Words.of(Text.of([text]))
        spelt = [words.distinct[number] for number in words.numbers.tolist()]
        if self.letters is None:
            return spelt
        size = self.letters
        return [f"#{word}#"[at : at + size] for word in spelt for at in range(len(word) + 3 - size)]


def answers_of(path: Any, **query: Any) -> Ask:
    """What a fitted retriever answers to a search for words of the title."""
    nobody = -1, np.empty(0, np.int32), np.empty(0, np.float32)

    def ask(search: str) -> NDArray[np.int32]:
        rows: NDArray[np.int32] = path.retrieve(Query(*nobody, terms={"title": search}, **query), K).items
        return rows

    return ask

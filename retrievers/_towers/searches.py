"""Search terms for training, drawn from the texts of items: a log of choices has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from multirecall.csr import offsets_of
from multirecall.data import Feature
from multirecall.validation import Count, StrictModel

from .bags import Bags
from .texts import TextRule, Texts

LEAST_LETTERS = 3
"""The length of the shortest word that gets a typo; little is left of a shorter one."""


class SearchesConfig(StrictModel):
    """How training draws search terms from the text of an item. Changes results."""

    share: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.5
    """Share of the training examples whose user asks with search terms."""

    most_words: Count = 4
    """Most words of a search. Their number is drawn from 1 to this, and so are the words of the item's text, whose
    order they keep."""

    typos: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.9
    """Probability that a word of three letters or more has a typo: a letter too much, too few or wrong, or two letters
    in the wrong order."""


@dataclass(frozen=True, slots=True)
class Searches:
    """Draws searches that items should answer.

    Attributes:
        words: the distinct words of all items.
        texts: the texts of all items.
        rule: the rule that turns words into tokens.
        letters: the letters of all words, from which typos take theirs.
        config: the settings.
    """

    words: Sequence[str]
    texts: Texts
    rule: TextRule
    letters: str
    config: SearchesConfig

    @classmethod
    def of(cls, rule: TextRule, features: Mapping[str, Feature], config: SearchesConfig) -> Self:
        """The searches that can be drawn from these features of the items."""
        words, texts = rule.of_texts(rule.columns(features))
        return cls(words, texts, rule, "".join(sorted(set("".join(words)))), config)

    @property
    def items(self) -> NDArray[np.int32]:
        """The items that have words, int32."""
        return np.flatnonzero(np.diff(self.texts.sequences.offsets)).astype(np.int32)

    def draw_some(self, items: NDArray[np.int32], rng: np.random.Generator) -> Texts:
        """A search for a random `share` of `items`, and an empty one for the others."""
        return self.draw(np.where(rng.random(items.size) < self.config.share, items, np.int32(-1)), rng)

    def draw(self, items: NDArray[np.integer], rng: np.random.Generator) -> Texts:
        """A search for each of `items`; row -1, and an item without words, gives an empty one."""
        own = self.texts.sequences.take(items)
        lengths = np.diff(own.offsets)
        sizes = np.minimum(rng.integers(1, self.config.most_words + 1, lengths.size), lengths)
        owners = np.repeat(np.arange(lengths.size), lengths)
        shuffled = np.lexsort((rng.random(owners.size), owners))
        ranks = np.arange(owners.size) - np.repeat(own.offsets[:-1], lengths)
        chosen = np.sort(shuffled[ranks < np.repeat(sizes, lengths)])
        spelt = [self.words[word] for word in own.tokens[chosen].tolist()]
        _misspell(spelt, self.letters, self.config.typos, rng)
        numbers = {word: number for number, word in enumerate(dict.fromkeys(spelt))}
        sequence = np.fromiter(map(numbers.__getitem__, spelt), np.int32, len(spelt))
        weights = np.repeat(np.maximum(sizes, 1) ** -0.5, sizes).astype(np.float32)
        return Texts(self.rule.bags(list(numbers)), Bags(offsets_of(sizes), sequence, weights))


def _misspell(words: list[str], letters: str, share: float, rng: np.random.Generator) -> None:
    """Give a random share of the words, those of a few letters aside, one typo each, in place."""
    n = len(words)
    hit = rng.random(n) < share
    kinds, places, drawn = rng.integers(0, 4, n), rng.random(n), rng.integers(0, max(len(letters), 1), n)
    for number in np.flatnonzero(hit).tolist():
        if len(words[number]) >= LEAST_LETTERS:
            words[number] = typo(words[number], int(kinds[number]), float(places[number]), letters[drawn[number]])


def typo(word: str, kind: int, place: float, letter: str) -> str:
    """The word with one typo.

    Args:
        word: at least two letters.
        kind: 0: `letter` too much, 1: a letter too few, 2: `letter` instead of another, 3: two letters swapped.
        place: where it happens, from 0 (the first place) to 1 (behind the last).
        letter: the letter of kinds 0 and 2.
    """
    at = int(place * (len(word) + (1, 0, 0, -1)[kind]))
    if kind == 0:
        return word[:at] + letter + word[at:]
    if kind == 1:
        return word[:at] + word[at + 1 :]
    if kind == 2:
        return word[:at] + letter + word[at + 1 :]
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]

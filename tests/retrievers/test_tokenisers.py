"""Texts as hashed tokens, beside slow ones in plain Python."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multirecall.data import Text
from multirecall.retrievers._towers.features import FIRST, Field
from multirecall.retrievers._towers.tokenisers import TOKENISERS, TokeniserName, letter_tokens, word_tokens

PRIME, WORD = 0x100000001B3, 2**64
BUCKETS = 1_000_003
TEXTS = st.lists(st.text(alphabet="ab cé日本", max_size=12), max_size=5)


def runs(offsets: np.ndarray, tokens: np.ndarray) -> list[list[int]]:
    return [tokens[start:stop].tolist() for start, stop in pairwise(offsets)]


def trigram(letters: str) -> int:
    first, second, third = (ord(letter) for letter in letters)
    return (((first * PRIME ^ second) % WORD * PRIME ^ third) % WORD * PRIME) % WORD % BUCKETS


def test_letters_by_hand() -> None:
    found = runs(*letter_tokens(Text.of(["Red a", "", "red"]), BUCKETS))
    red = [trigram(letters) for letters in ("#re", "red", "ed#")]
    assert found == [[*red, trigram("#a#")], [], red]


def test_a_misspelt_word_shares_most_letters() -> None:
    right, wrong = runs(*letter_tokens(Text.of(["chocolate", "chocolte"]), BUCKETS))
    assert len(set(right) & set(wrong)) >= 6
    right, wrong = runs(*word_tokens(Text.of(["chocolate", "chocolte"]), BUCKETS))
    assert not set(right) & set(wrong)


@given(TEXTS)
def test_a_text_has_the_tokens_it_has_alone(texts: list[str]) -> None:
    for tokeniser in TOKENISERS.values():
        together = runs(*tokeniser(Text.of(texts), BUCKETS))
        assert together == [runs(*tokeniser(Text.of([text]), BUCKETS))[0] for text in texts]


@given(TEXTS)
def test_both_are_words_then_letters(texts: list[str]) -> None:
    given_texts = Text.of(texts)
    words, letters = runs(*word_tokens(given_texts, 97)), runs(*letter_tokens(given_texts, 97))
    both = runs(*TOKENISERS["words_and_letters"](given_texts, 97))
    assert both == [[*first, *second] for first, second in zip(words, letters, strict=True)]


@pytest.mark.parametrize("name", TOKENISERS)
def test_a_field_has_the_tokens_of_its_tokeniser(name: TokeniserName) -> None:
    feature: Any = Text.of(["warm red coat", None, "red"])
    field = Field.of(feature, name, 64)
    bags = field.bags(feature)
    for row, text in enumerate(["warm red coat", None, "red"]):
        tokens, weights = field.tokens(text)
        run = slice(bags.offsets[row], bags.offsets[row + 1])
        assert bags.tokens[run].tolist() == tokens
        assert bags.weights[run].tolist() == pytest.approx(weights)
    assert bags.tokens.max() < FIRST + 64

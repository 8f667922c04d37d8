from __future__ import annotations

import re
from itertools import pairwise

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from multirecall.retrievers._words import SLOTS, Words

TEXTS = st.lists(st.one_of(st.text(), st.text("aB9 _-é½ßΣσİ日本\U0001d7d8\u0301", max_size=12)), max_size=20)


def spelt(words: Words) -> list[list[str]]:
    bounds = words.offsets.tolist()
    numbers = words.numbers.tolist()
    return [[words.distinct[number] for number in numbers[start:stop]] for start, stop in pairwise(bounds)]


@given(TEXTS)
def test_words_are_lower_cased_runs_of_letters_and_digits(texts: list[str]) -> None:
    lowered = pl.Series(texts, dtype=pl.String).str.to_lowercase().to_list()
    expected = [re.findall(r"[^\W_]+", text) for text in lowered]
    words = Words.of(texts)
    assert spelt(words) == expected
    assert words.distinct == sorted({word for one in expected for word in one})


def test_what_ends_a_word() -> None:
    words = Words.of(["Self-made 2nd_best, naïve café.", "", "  ", "ÉTÉ été"])
    assert spelt(words) == [["self", "made", "2nd", "best", "naïve", "café"], [], [], ["été", "été"]]


def test_more_distinct_words_than_the_table_has_room_for_at_first() -> None:
    texts = [f"w{number} v{number} w{number // 2}" for number in range(3 * SLOTS)]
    assert spelt(Words.of(texts)) == [text.split() for text in texts]

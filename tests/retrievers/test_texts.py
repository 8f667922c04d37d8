"""Texts as words and words as tokens, and the searches that training draws from them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import polars as pl
import pytest

from multirecall import Dataset
from multirecall.data import Text
from multirecall.errors import CannotFit
from multirecall.retrievers._towers.searches import Searches, SearchesConfig, typo
from multirecall.retrievers._towers.texts import TextRule
from multirecall.testing import small_shop

TITLES = ["Red tea pot", "Blue cup", "", "Red red cup of tea"]


def rule_for(**features: list[Any]) -> tuple[TextRule, Dataset]:
    n = len(next(iter(features.values())))
    items = pl.DataFrame({"item_id": range(n), **features})
    data = Dataset.from_frames(pl.DataFrame({"user_id": [1], "item_id": [0]}), items, kinds={"title": "text"})
    return TextRule.of(data.items.features, None, "words_and_letters", 512, "dssm"), data


def searches_of(titles: list[str], **settings: Any) -> Searches:
    rule, data = rule_for(title=titles)
    return Searches.of(rule, data.items.features, SearchesConfig(**settings))


def words_of(searches: Searches, drawn: Any) -> list[list[str]]:
    """The words of searches without typos, found by their tokens."""
    spelt = {tuple(searches.texts.words.take(np.array([row])).tokens): word for row, word in enumerate(searches.words)}
    bags = [tuple(drawn.words.take(np.array([row])).tokens) for row in range(len(drawn.words))]
    own, offsets = drawn.sequences.tokens.tolist(), drawn.sequences.offsets.tolist()
    return [[spelt[bags[word]] for word in own[a:b]] for a, b in itertools.pairwise(offsets)]


def test_texts_categories_and_lists_of_words_are_read_in_the_order_of_the_fields() -> None:
    rule, data = rule_for(
        colour=["red", None], title=["Tea pot", "Cup"], size=[1, 2], tags=[["old", "new"], []], price=[1.5, 2.5]
    )
    assert rule.fields == ("colour", "title", "tags")
    assert [text.split() for text in rule.columns(data.items.features).strings()] == [
        ["red", "Tea", "pot", *data.items.values(0)["tags"]],
        ["Cup"],
    ]
    for row in range(2):
        assert rule.text(data.items.values(row)).split() == rule.columns(data.items.features).strings()[row].split()


def test_a_text_is_the_sequence_of_its_words() -> None:
    rule, data = rule_for(title=TITLES)
    words, texts = rule.of_texts(rule.columns(data.items.features))
    assert words == ["blue", "cup", "of", "pot", "red", "tea"]
    part = texts.take(np.array([3, 1]))
    assert [words[number] for number in texts.sequences.take(np.array([3])).tokens] == [
        "red",
        "red",
        "cup",
        "of",
        "tea",
    ]
    assert len(part.words) == 5
    assert part.sequences.weights.tolist() == pytest.approx([5**-0.5] * 5 + [2**-0.5] * 2)
    assert len(texts.take(np.array([2])).words) == 0


def test_a_word_is_the_sum_of_its_tokens() -> None:
    rule = TextRule(("title",), "words_and_letters", 512)
    table = np.random.default_rng(0).normal(size=(512, 3)).astype(np.float32)
    weights, rows = rule.rows({"title": "tea cups Tea", "other": "not read"}, table)
    bags = rule.bags(["tea", "cups"])
    tea, cups = (table[bags.take(np.array([row])).tokens].sum(axis=0) for row in range(2))
    assert np.diff(bags.offsets).tolist() == [1 + 3, 1 + 4]
    np.testing.assert_allclose(rows, [tea, cups, tea], rtol=1e-5)
    assert weights.tolist() == pytest.approx([3**-0.5] * 3)


@pytest.mark.parametrize("values", [{}, {"title": ""}, {"title": None}, {"title": "?!"}, {"other": "tea"}])
def test_a_text_without_words_has_no_rows(values: dict[str, Any]) -> None:
    rule = TextRule(("title",), "words_and_letters", 16)
    weights, rows = rule.rows(values, np.ones((16, 3), np.float32))
    assert weights.shape == (0,)
    assert rows.shape == (0, 3)


def test_a_field_without_words_is_refused() -> None:
    features = small_shop().items.features
    for field, message in (("price", "'price' has no words"), ("titel", "'titel' is no item feature.*'title'")):
        with pytest.raises(CannotFit, match=message):
            TextRule.of(features, (field,), "words", 16, "dssm")
    with pytest.raises(CannotFit, match="no item feature has words"):
        TextRule.of({"price": features["price"]}, None, "words", 16, "dssm")


def test_a_search_has_words_of_its_item_in_their_order() -> None:
    searches = searches_of(TITLES, typos=0.0, most_words=2)
    rows = np.tile(np.arange(4, dtype=np.int32), 50)
    drawn = words_of(searches, searches.draw(rows, np.random.default_rng(0)))
    assert {tuple(search) for search, row in zip(drawn, rows, strict=True) if row == 1} == {
        ("blue",),
        ("cup",),
        ("blue", "cup"),
    }
    assert all(not search for search, row in zip(drawn, rows, strict=True) if row == 2)
    title = TITLES[0].lower().split()
    for search, row in zip(drawn, rows, strict=True):
        if row == 0:
            places = [title.index(word) for word in search]
            assert 1 <= len(search) <= 2
            assert places == sorted(set(places))


def test_searches_are_for_items_with_words() -> None:
    searches = searches_of(TITLES)
    assert searches.items.tolist() == [0, 1, 3]
    assert len(searches.draw(np.array([-1, 2]), np.random.default_rng(0)).words) == 0


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_a_share_of_the_examples_has_a_search(share: float) -> None:
    searches = searches_of(TITLES, share=share)
    drawn = searches.draw_some(np.zeros(4_000, np.int32), np.random.default_rng(0))
    assert (np.diff(drawn.sequences.offsets) > 0).mean() == pytest.approx(share, abs=0.03)


def test_typos_change_words_of_three_letters_or_more() -> None:
    clean, wrong = (
        searches_of(["teapot of mine"], typos=typos, most_words=3).draw(
            np.zeros(300, np.int32), np.random.default_rng(1)
        )
        for typos in (0.0, 1.0)
    )
    assert len(clean.words) == 3
    assert len(wrong.words) > 50
    of = searches_of(["teapot of mine"]).rule.bags(["of"]).tokens.tolist()
    assert any(wrong.words.take(np.array([row])).tokens.tolist() == of for row in range(len(wrong.words)))


@pytest.mark.parametrize(
    ("kind", "place", "expected"),
    [
        (0, 0.0, "xcup"),
        (0, 0.99, "cupx"),
        (1, 0.0, "up"),
        (1, 0.99, "cu"),
        (2, 0.5, "cxp"),
        (3, 0.0, "ucp"),
        (3, 0.99, "cpu"),
    ],
)
def test_typos_by_hand(kind: int, place: float, expected: str) -> None:
    assert typo("cup", kind, place, "x") == expected


def test_letters_of_typos_are_those_of_the_catalogue() -> None:
    assert searches_of(["abba", "bad"]).letters == "abd"


def test_a_catalogue_without_words_has_nothing_to_draw() -> None:
    rule = TextRule(("title",), "words", 16)
    searches = Searches.of(rule, {"title": Text.of(["", "?"])}, SearchesConfig())
    assert searches.items.size == 0
    assert len(searches.draw(np.array([0, 1]), np.random.default_rng(0)).words) == 0

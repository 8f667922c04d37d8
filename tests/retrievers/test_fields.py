from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multirecall.data import Dataset, Text
from multirecall.retrievers._towers.bags import Bags
from multirecall.retrievers._towers.features import FIRST, MISSING, UNSEEN, Field, Profile
from multirecall.testing import small_shop


def column(values: list[Any], name: str = "x") -> Any:
    """The feature column that a dataset makes of `values`."""
    ids = [f"i{row:03}" for row in range(len(values))]
    log = pl.DataFrame({"user_id": ["u"] * len(ids), "item_id": ids})
    return Dataset.from_frames(log, pl.DataFrame({"item_id": ids, name: values})).items.features[name]


def bag(bags: Bags, row: int) -> list[tuple[int, float]]:
    run = slice(bags.offsets[row], bags.offsets[row + 1])
    return list(zip(bags.tokens[run].tolist(), bags.weights[run].tolist(), strict=True))


def test_categories() -> None:
    feature = column(["b", "a", None])
    field = Field.of(feature, "words", 8)
    bags = field.bags(feature)
    assert [bag(bags, row) for row in range(3)] == [[(FIRST + 1, 1.0)], [(FIRST, 1.0)], [(MISSING, 1.0)]]
    assert field.tokens("never")[0] == [UNSEEN]


def test_lists_have_length_one_together() -> None:
    feature = column([["a", "b", "c", "d"], ["c"], []])
    bags = Field.of(feature, "words", 8).bags(feature)
    assert bag(bags, 0) == [(FIRST + code, 0.5) for code in range(4)]
    assert bag(bags, 1) == [(FIRST + 2, 1.0)]
    assert bag(bags, 2) == [(MISSING, 1.0)]


def test_numbers_are_standardised_and_cut() -> None:
    feature = column([2.0, 4.0, None, 6.0])
    field = Field.of(feature, "words", 8)
    deviation = (8 / 3) ** 0.5
    assert bag(field.bags(feature), 0)[0] == (FIRST, float(np.float32(-2 / deviation)))
    assert bag(field.bags(feature), 2) == [(MISSING, 1.0)]
    assert field.tokens(1e9)[1] == [4.0]


def test_numbers_that_are_all_equal_weigh_nothing() -> None:
    feature = column([3.0, 3.0])
    assert bag(Field.of(feature, "words", 8).bags(feature), 1) == [(FIRST, 0.0)]


def test_datetimes_have_a_place_in_year_and_week() -> None:
    feature = column([datetime(2024, 1, 1), datetime(2024, 7, 1), None])
    bags = Field.of(feature, "words", 8).bags(feature)
    tokens, weights = zip(*bag(bags, 0), strict=True)
    assert tokens == tuple(range(FIRST, FIRST + 5))
    assert weights[1] ** 2 + weights[2] ** 2 == pytest.approx(1)
    assert weights[3] ** 2 + weights[4] ** 2 == pytest.approx(1)
    assert len(bag(bags, 2)) == 1


def test_texts_hash_words_and_pairs() -> None:
    feature = Text.of(["Red  shoe, red SHOE!", "shoe", "...", None, "Ärger"])
    field = Field.of(feature, "words", 1_000_003)
    bags = field.bags(feature)
    first = [token for token, _ in bag(bags, 0)]
    red, shoe, red_shoe, again, shoe_red = first[0], first[1], first[2], first[3], first[4]
    assert first == [red, shoe, red_shoe, red, shoe_red, shoe, red_shoe]
    assert again == red
    assert len({red, shoe, red_shoe, shoe_red}) == 4
    assert bag(bags, 0)[0][1] == pytest.approx(7**-0.5)
    assert bag(bags, 1) == [(shoe, 1.0)]
    assert bag(bags, 2) == bag(bags, 3) == [(MISSING, 1.0)]
    assert bag(bags, 4)[0][0] == field.tokens("äRGER")[0][0]


def test_texts_have_the_words_of_the_one_tokeniser() -> None:
    feature = Text.of(["Café\u2014bar", "cafe\u0301 BAR", "大学", "在大学里"])
    bags = Field.of(feature, "words", 1_000_003).bags(feature)
    assert bag(bags, 0) == bag(bags, 1)
    assert len(bag(bags, 0)) == 3, "two words and their pair, with no word between them"
    assert bag(bags, 2)[0][0] in [token for token, _ in bag(bags, 3)]


@pytest.mark.parametrize("name", ["group", "tags", "title", "price", "arrival"])
def test_one_value_has_the_tokens_of_its_row(name: str) -> None:
    table = small_shop().items
    field = Field.of(table.features[name], "words", 64)
    bags = field.bags(table.features[name])
    for row in range(len(table)):
        tokens, weights = field.tokens(table.features[name].value(row))
        assert [token for token, _ in bag(bags, row)] == tokens
        assert [weight for _, weight in bag(bags, row)] == pytest.approx(weights)


@given(
    st.lists(st.one_of(st.none(), st.text(st.characters(), max_size=30), st.just("\ud800x")), min_size=1, max_size=6)
)
def test_any_text_has_tokens_of_its_field(texts: list[str | None]) -> None:
    feature = Text.of(texts)
    field = Field.of(feature, "words", 16)
    bags = field.bags(feature)
    assert len(bags) == len(texts)
    assert (np.diff(bags.offsets) >= 1).all()
    assert ((bags.tokens >= 0) & (bags.tokens < field.size)).all()
    for row, text in enumerate(texts):
        assert field.tokens(text)[0] == [token for token, _ in bag(bags, row)]


def test_a_profile_puts_ids_first_and_fields_behind_one_another() -> None:
    table = small_shop().items
    known = np.arange(len(table)) % 3 > 0
    profile = Profile.of(table.features, len(table), "words", 64)
    bags = profile.bags(table.features, known)
    assert bags.tokens.max() < profile.size
    for row in (0, 1, 64):
        tokens, weights = profile.tokens(row if known[row] else -1, table.values(row))
        assert bag(bags, row) == list(zip(tokens.tolist(), weights.tolist(), strict=True))
        assert tokens[0] == (1 + row if known[row] else 0)


def test_what_stands_for_the_unknown() -> None:
    table = small_shop().items
    profile = Profile.of(table.features, len(table), "words", 64)
    unseen = profile.unknown_tokens()
    assert (unseen[: 1 + len(table)] == 0).all()
    first, group = profile.fields["group"]
    assert unseen[first : first + group.size].tolist() == [
        first + MISSING,
        first + UNSEEN,
        first + UNSEEN,
        first + UNSEEN,
    ]
    price, _ = profile.fields["price"]
    assert unseen[price + FIRST] == price + FIRST


def test_a_profile_survives_its_files() -> None:
    table = small_shop("str").items
    profile = Profile.of(table.features, 0, "words", 64)
    again = Profile.of_meta(profile.meta(), profile.arrays(), "words")
    for row in range(5):
        for first, second in zip(
            profile.tokens(-1, table.values(row)), again.tokens(-1, table.values(row)), strict=True
        ):
            assert first.tolist() == second.tolist()

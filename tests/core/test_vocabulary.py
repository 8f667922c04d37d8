from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multirecall.errors import DataError, IdTypeError
from multirecall.vocabulary import Vocabulary

INTS = st.lists(st.integers(-(2**63), 2**63 - 1), unique=True)
TEXTS = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30), unique=True)


@given(st.one_of(INTS, TEXTS))
def test_round_trip(ids: list[Any]) -> None:
    vocabulary = Vocabulary.of(ids)
    rows = vocabulary.rows(ids)
    assert sorted(rows.tolist()) == list(range(len(ids)))
    assert vocabulary.ids(rows).tolist() == ids
    assert vocabulary.ids().tolist() == sorted(ids)


@given(INTS, INTS)
def test_unknown_is_minus_one(known: list[int], asked: list[int]) -> None:
    vocabulary = Vocabulary.of(known)
    rows = vocabulary.rows(asked)
    assert [(row >= 0) for row in rows] == [(id_ in set(known)) for id_ in asked]


@given(TEXTS, TEXTS)
def test_later_ids_are_appended(first: list[str], later: list[str]) -> None:
    vocabulary = Vocabulary.of(first or ["x"])
    longer = vocabulary.extended(later)
    new = [id_ for id_ in later if vocabulary.row(id_) < 0]
    assert longer.ids().tolist() == [*vocabulary.ids().tolist(), *new]
    assert longer.ids(longer.rows(later)).tolist() == later
    assert len(vocabulary) == len(first or ["x"]), "the shorter one is unchanged"


def test_keeps_the_callers_integer_type() -> None:
    vocabulary = Vocabulary.of(np.array([9, 3, 3], np.uint16))
    assert vocabulary.ids().dtype == np.uint16
    assert vocabulary.rows(np.array([3, -3, 2**40], np.int64)).tolist() == [0, -1, -1]


def test_longer_text_than_any_known_is_unknown() -> None:
    assert Vocabulary.of(["ab", "abc"]).rows(["abcd", "ab"]).tolist() == [-1, 0]


@pytest.mark.parametrize(
    ("known", "asked", "message"),
    [
        ([7, 8], ["7"], "item ids are int, got '7' (str): pass int ids"),
        (["7"], [7], "item ids are str, got 7 (int): pass str ids"),
        ([7], [True], "must be all int or all str, got True"),
        ([7], [7.0], "must be all int or all str, got 7.0"),
        ([7], [7, "7"], "must be all int or all str"),
    ],
)
def test_types_are_never_mixed(known: list[Any], asked: list[Any], message: str) -> None:
    with pytest.raises(IdTypeError) as fault:
        Vocabulary.of(known, "item").rows(asked)
    assert message in str(fault.value)


@pytest.mark.parametrize("bad", ["a\0", "x" * 257])
def test_unstorable_text_is_refused(bad: str) -> None:
    with pytest.raises(DataError, match="shorten ids to 256 characters"):
        Vocabulary.of([bad], "item")


def test_text_of_a_number_is_parsed_only_for_int_ids() -> None:
    assert Vocabulary.of([7]).parse("7") == 7
    assert Vocabulary.of(["7"]).parse("7") == "7"
    with pytest.raises(IdTypeError, match="pass a whole number"):
        Vocabulary.of([7]).parse("seven")

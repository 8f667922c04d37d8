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


@given(st.one_of(st.tuples(*[INTS] * 4), st.tuples(*[TEXTS] * 4)))
def test_any_extensions_are_a_list_with_an_index(parts: tuple[list[Any], ...]) -> None:
    first, *later, asked = parts
    known, vocabulary = sorted(first), Vocabulary.of(first)
    for ids in later:
        before, vocabulary = vocabulary, vocabulary.with_ids(ids)
        known += [id_ for id_ in ids if id_ not in known]
        assert (vocabulary is before) == (len(vocabulary) == len(before))
    again = Vocabulary(vocabulary.ids(), vocabulary.what)
    expected = [known.index(id_) if id_ in known else -1 for id_ in asked]
    for one in (vocabulary, again):
        assert one.ids().tolist() == known
        assert one.ids(slice(1, None, 2)).tolist() == known[1::2]
        assert [one.id(row) for row in range(len(one))] == known
        assert one.rows(known).tolist() == [*range(len(known))]
        assert one.rows(asked).tolist() == expected
        assert [one.row(id_) for id_ in asked] == expected
        assert one.ids(np.arange(len(one))[::-1]).tolist() == known[::-1]


def test_what_joins_keeps_the_integer_type_where_it_can() -> None:
    vocabulary = Vocabulary.of(np.array([9, 3], np.uint16))
    assert vocabulary.with_ids([7]).dtype == np.uint16
    assert vocabulary.with_ids([2**40]).ids().dtype == np.int64
    longest = vocabulary.with_ids([2**63])
    assert longest.ids().dtype == np.uint64
    assert longest.ids().tolist() == [3, 9, 2**63]
    with pytest.raises(IdTypeError, match=f"ids -1 and {2**63} do not fit one integer type: pass such ids as str"):
        longest.with_ids([-1])


def test_vocabulary_without_ids_takes_either_type() -> None:
    for ids in ([4, 2], ["b", "a"]):
        vocabulary = Vocabulary.of([]).with_ids(ids)
        assert vocabulary.ids().tolist() == ids
        assert vocabulary.rows(ids).tolist() == [0, 1]
        assert vocabulary.holds_text == isinstance(ids[0], str)


@pytest.mark.parametrize("asked", [True, 7.0, "7", None, np.float64(7)])
def test_one_id_of_the_wrong_type(asked: Any) -> None:
    with pytest.raises(IdTypeError):
        Vocabulary.of([7]).row(asked)


def test_one_id_of_numpy_type() -> None:
    assert Vocabulary.of([7]).row(np.int32(7)) == 0  # type: ignore[arg-type]
    assert Vocabulary.of(["7"]).row(np.str_("7")) == 0


@given(TEXTS, TEXTS)
def test_later_ids_are_appended(first: list[str], later: list[str]) -> None:
    vocabulary = Vocabulary.of(first or ["x"])
    longer = vocabulary.with_ids(later)
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


@pytest.mark.parametrize("odd", ["a\0", "b" * 257, "\0", "\ud800"])
def test_text_that_no_vocabulary_holds_is_unknown(odd: str) -> None:
    vocabulary = Vocabulary.of(["a", "b" * 256]).with_ids(["?"])
    assert vocabulary.row(odd) == -1
    assert vocabulary.rows([odd, "a", odd, "?"]).tolist() == [-1, 0, -1, 2]
    assert Vocabulary.of([]).rows([odd]).tolist() == [-1]
    assert vocabulary.rows(np.array([odd, "b" * 256])[1:]).tolist() == [1]


def test_text_of_a_number_is_parsed_only_for_int_ids() -> None:
    assert Vocabulary.of([7]).parse("7") == 7
    assert Vocabulary.of(["7"]).parse("7") == "7"
    with pytest.raises(IdTypeError, match="pass a whole number"):
        Vocabulary.of([7]).parse("seven")

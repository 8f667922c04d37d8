from __future__ import annotations

import re
from itertools import pairwise
from unicodedata import category, normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multirecall.data import Text
from multirecall.data.words import KEPT, LONGEST, SLOTS, Words

TEXTS = st.lists(
    st.one_of(st.text(), st.text("aB9 _-é½ßΣσςİıI日本々のเรกี\u0323\u0301\u200d\ud800", max_size=12)), max_size=20
)


def words_of(texts: list[str], *, single: bool = False) -> list[list[str]]:
    words = Words.of(Text.of(texts), single=single)
    bounds = words.offsets.tolist()
    numbers = words.numbers.tolist()
    return [[words.distinct[number] for number in numbers[start:stop]] for start, stop in pairwise(bounds)]


def of(text: str) -> list[str]:
    return words_of([text])[0]


def unspaced(letter: str) -> bool:
    """Whether a letter is of a script without spaces, by the ranges in which Unicode has the common ones."""
    return (
        any(first <= letter <= last for first, last in ("一鿿", "ぁヿ", "々〇", "กໟ", "က႟", "កឳ"))
        and not letter.isdecimal()
    )


def words_by_loop(text: str) -> list[str]:
    """The words of a text, by a loop over its characters with their marks."""
    plain = normalize("NFKC", re.sub("[\u00ad\u200d]", "", text)).casefold().replace("i\u0307", "i").replace("ı", "i")
    characters: list[str] = []
    for letter in normalize("NFKC", plain):
        if category(letter)[0] == "M" and characters and characters[-1][0].isalnum():
            characters[-1] += letter
        else:
            characters.append(letter)
    kinds = ["s" if not one[0].isalnum() else "u" if unspaced(one[0]) else "w" for one in characters]
    words = []
    for run in re.finditer("w+|u+", "".join(kinds)):
        own = characters[run.start() : run.end()]
        if run[0][0] == "w" or len(own) == 1:
            words.append("".join(own))
        else:
            words += [first + second for first, second in pairwise(own)]
    return words


@given(TEXTS)
def test_words_are_those_of_a_loop_over_characters(texts: list[str]) -> None:
    known = [
        text.encode(errors="replace").decode()
        for text in texts
        if re.fullmatch("[\0-\u024f\u0300-\u0345ͰϿΣσς日本々のเรกี\u200d\ud800]*", text)
    ]
    assert words_of(known) == [words_by_loop(text) for text in known]


@given(TEXTS)
def test_distinct_words_are_sorted_and_stand_once(texts: list[str]) -> None:
    words = Words.of(Text.of(texts))
    assert words.distinct == sorted({word for one in words_of(texts) for word in one})
    assert words.hashes.size == len(words.distinct)
    assert all(len(word) <= LONGEST for word in words.distinct)


@given(st.text(max_size=20))
def test_composed_and_decomposed_texts_of_either_case_are_equal(text: str) -> None:
    assert of(normalize("NFC", text)) == of(normalize("NFD", text))
    assert of(normalize("NFKC", text)) == of(normalize("NFKD", text))


def test_what_ends_a_word() -> None:
    assert of("Self-made 2nd_best, naïve café.") == ["self", "made", "2nd", "best", "naïve", "café"]
    assert of("wait\u2014what\u2026 a\0b “quoted”") == ["wait", "what", "a", "b", "quoted"]
    assert of("cut\ud83dhere \udc00") == ["cut", "here"]
    assert of("zero\u200bwidth no\u00a0break") == ["zero", "width", "no", "break"]
    assert of("") == of("  ") == of("\u0301 \u0301") == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Cafe\u0301", "CAFÉ"),
        ("Straße", "STRASSE"),
        ("ΟΔΟΣ", "οδος"),
        ("İstanbul", "istanbul"),
        ("IŞIK", "ışık"),
        ("Ｆｕｌｌ", "full"),
        ("ﬁne", "fine"),
        ("m²", "M2"),
        ("ﾊﾟﾝﾀﾞ", "パンダ"),
        ("Donau\u00addampfer", "donaudampfer"),
        ("می\u200cخواهم", "میخواهم"),
        ("क्\u200dष", "क्ष"),
        ("葛\U000e0100城", "葛城"),
    ],
)
def test_what_is_equal(one: str, other: str) -> None:
    assert of(one) == of(other) != []


def test_marks_stay_in_words() -> None:
    assert of("किताब की दुकान") == ["किताब", "की", "दुकान"]
    assert of("שָׁלוֹם עולם") == [normalize("NFKC", "שָׁלוֹם"), "עולם"]
    assert of("தமிழ்") == ["தமிழ்"]
    assert of("ક") != of("કે")


def test_scripts_without_spaces_are_cut_into_pairs() -> None:
    assert of("北京大学 iPhone手机3") == ["北京", "京大", "大学", "iphone", "手机", "3"]
    assert of("食べる") == ["食べ", "べる"]
    assert of("ที่นี่๑๒") == ["ที่นี่", "๑๒"], "a mark belongs to its letter, and digits are no letters"
    assert of("ລາວ") == ["ລາ", "າວ"]
    assert of("ភាសា") == ["ភាសា"]
    assert of("茶、酒") == ["茶", "酒"]
    assert of("한국어 책") == ["한국어", "책"], "Korean puts spaces between words"


def test_a_word_within_a_run_is_found() -> None:
    assert set(of("大学")) <= set(of("在北京大学学习"))
    assert set(of("กาแฟ")) <= set(of("ร้านกาแฟสด"))
    assert set(of("茶")) <= set(words_of(["绿茶很好"], single=True)[0])
    assert words_of(["绿茶 a茶"], single=True) == [["绿", "绿茶", "茶", "a", "茶"]]
    assert words_of(["かな"], single=True) == [["かな"]]


def test_long_words_stand_for_themselves_alone() -> None:
    assert of("x" * LONGEST) == ["x" * LONGEST]
    [long] = of("x" * (LONGEST + 1))
    assert re.fullmatch("x{40}…[0-9a-f]{16}", long)
    assert of("X" * (LONGEST + 1)) == [long]
    others = {of("x" * (LONGEST + n))[0] for n in range(1, 500)}
    assert len(others) == 499
    [zalgo] = of("a" + "\u0316\u0317" * 200)
    assert len(zalgo) == KEPT + 17


def test_more_distinct_words_than_the_table_has_room_for_at_first() -> None:
    texts = [f"w{number} v{number} w{number // 2}" for number in range(3 * SLOTS)]
    assert words_of(texts) == [text.split() for text in texts]

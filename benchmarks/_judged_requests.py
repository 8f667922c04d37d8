"""Searches and filters whose right answer is known beforehand: plain Python says which items each must find."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from _judged_data import Rng, Wrong

from multirecall import Dataset, Engine, EngineConfig, PathConfig, User
from multirecall.engine.where import read_where

ASKED = 20
"""Searches, or filters, of one table."""

SPACED = (
    *("Straße", "ÉCOLE", "naïve", "Ångström", "İstanbul", "ılık", "Ελλάδα", "ΣΟΦΌΣ", "Москва", "ёлка", "हिन्दी", "कमल"),
    *("مدرسة", "שלום", "한국어", "ﬁlm", "Ⅷ", "co2", "x" * 90, "https" * 30, "q" * 300, "ⓐⓑⓒ", "zürich", "don", "fluß"),
)
UNSPACED = ("北京大学", "東京都庁", "絵文字", "カタカナ", "ひらがな", "กรงเทพ", "ขนมไทย")
BETWEEN = (" ", ", ", " — ", "/", "\u200b", " … ", "\u3000", ". ")


def words(rng: Rng, folder: Path) -> Iterator[str]:
    """Titles of many scripts, some of items that join live; a search for a word in any spelling finds its items."""
    titles = [_title(rng) for _ in range(25)]
    table = pl.DataFrame({"item_id": range(25), "title": titles})
    log = pl.DataFrame({"user_id": [1], "item_id": [0]})
    n_fitted = int(rng.integers(15, 26))
    data = Dataset.from_frames(log, table[:n_fitted], kinds={"title": "text"})
    with Engine(EngineConfig(paths=(PathConfig(retriever="content"),))).fit(data) as engine:
        known = set().union(*(_words(title) for title in titles[:n_fitted]))
        if n_fitted < 25:
            engine.add_items(table[n_fitted:])
        for _ in range(ASKED):
            asked = _word(rng)
            wanted = _words(asked) & known  # words that only joined items have are learnt by a refit
            ranked = engine.path_lists([User(terms={"title": _variant(asked, rng)})], seen=True)["content"][0]
            found = set(engine.data.items.ids.ids(ranked.items).tolist())
            expected = {item for item, title in enumerate(titles) if _words(title) & wanted}
            if found != expected:
                raise Wrong(f"a search for {asked!r} finds {found}, not {expected}; the titles: {titles!r}")
            yield "found" if found else "nothing"


def _title(rng: Rng) -> str:
    parts = [_word(rng) for _ in range(int(rng.integers(1, 5)))]
    title = parts[0]
    for part in parts[1:]:
        title += str(rng.choice(BETWEEN)) + part
    return unicodedata.normalize("NFC" if rng.random() < 0.5 else "NFD", title)


def _word(rng: Rng) -> str:
    if rng.random() < 0.7:
        return str(rng.choice(SPACED))
    run = str(rng.choice(UNSPACED))
    start = int(rng.integers(len(run) - 1))
    return run[start : start + int(rng.integers(2, 4))]


def _variant(word: str, rng: Rng) -> str:
    """Another spelling that a person would take for the same word."""
    forms = (
        word,
        word.upper() if len(word.upper().casefold()) == len(word.casefold()) else word,
        word.lower(),
        unicodedata.normalize("NFD", word),
        unicodedata.normalize("NFC", word),
        f" {word}!",
        "".join(chr(ord(letter) + 0xFEE0) if "!" <= letter <= "~" else letter for letter in word),
    )
    return str(forms[rng.integers(len(forms))])


def _words(text: str) -> set[str]:
    """The words of a text, character by character: runs of letters, digits and marks; pairs where none are spaced."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    plain = unicodedata.normalize("NFKC", plain.replace("i\u0307", "i").replace("ı", "i"))
    found: set[str] = set()
    run = ""
    for letter in [*plain, " "]:
        kept = bool(run) and unicodedata.category(letter)[0] == "M"
        if kept or (letter.isalnum() and (not run or _is_unspaced(run[0]) == _is_unspaced(letter))):
            run += letter
            continue
        found |= _of_run(run)
        run = letter if letter.isalnum() else ""
    return found


def _of_run(run: str) -> set[str]:
    if not run or not _is_unspaced(run[0]):
        return {run} - {""}
    characters: list[str] = []
    for letter in run:
        if characters and unicodedata.category(letter)[0] == "M":
            characters[-1] += letter
        else:
            characters.append(letter)
    pairs = {first + second for first, second in pairwise(characters)}
    return pairs or set(characters)


def _is_unspaced(letter: str) -> bool:
    names = ("CJK", "HIRAGANA", "KATAKANA", "THAI")
    return unicodedata.name(letter, "").startswith(names)


def filters(rng: Rng, folder: Path) -> Iterator[str]:
    """Prices in several types and arrivals: a filter in any form finds what arithmetic says."""
    n = 15
    cents = rng.integers(0, 3_000, n).tolist()
    days = [date(2024, 1, 1) + timedelta(days=int(day)) for day in rng.integers(0, 20, n)]
    moments = [datetime(day.year, day.month, day.day) + timedelta(seconds=int(rng.integers(86_400))) for day in days]
    dtype = (pl.Float32, pl.Float64, pl.Decimal(10, 2))[rng.integers(3)]
    prices = pl.Series("price", [Decimal(cent) / 100 for cent in cents], pl.Decimal(10, 2)).cast(dtype)
    table = pl.DataFrame([pl.Series("item_id", range(n)), prices, pl.Series("arrival", moments)])
    items = Dataset.from_frames(pl.DataFrame({"user_id": [1], "item_id": [0]}), table).items
    for _ in range(ASKED):
        if rng.random() < 0.5:
            where, expected = _price(rng, cents)
        else:
            where, expected = _arrival(rng, moments)
        found = np.flatnonzero(read_where(where, items)[0]).tolist()
        if found != expected:
            raise Wrong(f"where={where!r} finds {found}, not {expected}; prices {cents} ({dtype}), arrivals {moments}")
        yield "found" if found else "nothing"


def _price(rng: Rng, cents: list[int]) -> tuple[dict[str, Any], list[int]]:
    asked = int(rng.choice(cents)) if rng.random() < 0.7 else int(rng.integers(3_000))
    forms = (asked / 100, Decimal(asked) / 100, np.float64(asked / 100), np.float32(asked / 100))
    value = forms[rng.integers(len(forms))]
    containers = ([value], (value,), np.array([float(asked) / 100]), pl.Series([asked / 100]), value)
    how = rng.integers(3)
    if how == 0:
        same = [item for item, cent in enumerate(cents) if cent == asked]
        return {"price": containers[rng.integers(len(containers))]}, same
    if how == 1:
        return {"price": {"max": value}}, [item for item, cent in enumerate(cents) if cent <= asked]
    return {"price": {"min": value}}, [item for item, cent in enumerate(cents) if cent >= asked]


def _arrival(rng: Rng, moments: list[datetime]) -> tuple[dict[str, Any], list[int]]:
    moment = moments[rng.integers(len(moments))]
    is_day = rng.random() < 0.6
    day = moment.date()
    shifted = (moment + timedelta(minutes=330)).strftime("%Y-%m-%dT%H:%M:%S+05:30")
    forms: tuple[Any, ...] = (
        (day, day.isoformat()) if is_day else (moment, moment.isoformat(), str(moment), shifted, np.datetime64(moment))
    )
    value = forms[rng.integers(len(forms))]
    start = datetime(day.year, day.month, day.day) if is_day else moment
    end = start + timedelta(days=1) if is_day else moment + timedelta(microseconds=1)
    how = rng.integers(3)
    if how == 0:
        return {"arrival": value}, [item for item, one in enumerate(moments) if start <= one < end]
    if how == 1:
        return {"arrival": {"max": value}}, [item for item, one in enumerate(moments) if one < end]
    return {"arrival": {"min": value}}, [item for item, one in enumerate(moments) if one >= start]

"""Logs and tables whose right reading is known beforehand: plain Python says what each input must give."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from multirecall import Dataset
from multirecall.data.apply import apply_change
from multirecall.data.read_change import read_change
from multirecall.errors import DataError
from multirecall.progress import SILENT
from multirecall.query import Query
from multirecall.registry import retriever_class

Rng = np.random.Generator
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
OFFSETS = (0, 60, -300, 330, -210, 345, 765, 840, -720)
"""Minutes east of Greenwich, half hours and three quarters among them."""

WORDS = (
    *("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "haven"),
    *("ivory", "jade", "koala", "lotus", "maple", "north", "olive", "pearl"),
)
HAN = "山水火木金土日月天地人心手足耳目口花鸟鱼虫"
YEAR_S = 365 * 86_400


class Wrong(AssertionError):  # noqa: N818 - not an error of the input's
    """What was read is not what the input says."""


def check(what: str, found: Any, expected: Any, told: Any) -> None:
    """Raise `Wrong` where the two differ; `told` describes the input."""
    if found != expected:
        raise Wrong(f"{what}: found {found!r}, expected {expected!r}; the input: {told!r}")


def refusal(read: Any, mentions: Sequence[str], told: Any) -> str:
    """`refused`, where `read` raises an error of ours that mentions all that it should."""
    try:
        read()
    except DataError as fault:
        missing = [part for part in mentions if part not in str(fault)]
        if missing:
            raise Wrong(f"the error {str(fault)!r} does not mention {missing}; the input: {told!r}") from None
        return "refused"
    raise Wrong(f"it was read, but should have been refused; the input: {told!r}")


def write(frame: pl.DataFrame, file: Path) -> Path:
    """The frame as CSV or parquet, by the name of the file."""
    frame.write_csv(file) if file.suffix == ".csv" else frame.write_parquet(file)
    return file


def times(rng: Rng, folder: Path) -> str:
    """Moments in a form that Python, pandas, PostgreSQL or a spreadsheet writes; one in three columns has a bad one."""
    n = int(rng.integers(2, 7))
    moments = [_moment(rng) for _ in range(n)]
    cells: list[Any] = [_spelt(moment, rng) for moment in moments]
    form = rng.integers(5)
    if form == 0:
        cells = [str(moment // 1_000_000) for moment in moments]
        moments = [moment // 1_000_000 * 1_000_000 for moment in moments]
    bad = int(rng.integers(n)) if rng.random() < 0.33 else -1
    if bad >= 0:
        cells[bad] = _no_time(rng) if form else str(int(rng.integers(10**11 + 1, 10**15)))
    frame = pl.DataFrame({"user_id": range(n), "item_id": range(n), "when": cells})
    file = write(frame, folder / f"times{'.csv' if rng.random() < 0.6 else '.parquet'}")

    def read() -> Dataset:
        return Dataset.load(file, columns={"timestamp": "when"})

    if bad >= 0:
        return refusal(read, ["'when'", f"row {bad} "], cells)
    log = read().interactions
    micros = np.zeros(n, np.int64) if log.micros is None else log.micros
    assert log.times is not None
    check("times", (log.times * 1_000_000 + micros).tolist(), moments, cells)
    return "read"


def _moment(rng: Rng) -> int:
    """A time of the years 1950 to 2080, in microseconds; whole seconds and milliseconds often."""
    step = int(rng.choice([60_000_000, 1_000_000, 1_000, 1]))
    return int(rng.integers(-630_720_000, 3_471_292_800)) * 1_000_000 // step * step


def _spelt(moment: int, rng: Rng) -> str:
    offset = int(rng.choice(OFFSETS))
    local = EPOCH + timedelta(microseconds=moment, minutes=offset)
    text = local.strftime(f"%Y-%m-%d{rng.choice(['T', ' '])}%H:%M:%S")
    if local.microsecond or rng.random() < 0.3:
        digits = f"{local.microsecond:06}"
        is_short = local.microsecond % 1_000 == 0 and rng.random() < 0.5
        text += "." + (digits[:3] if is_short else digits + str(rng.choice(["", "000"])))
    elif local.second == 0 and rng.random() < 0.3:
        text = text[:-3]
    if offset == 0 and rng.random() < 0.7:
        return text + str(rng.choice(["", "Z", "+00:00", "+00"]))
    sign, hours, minutes = "-" if offset < 0 else "+", abs(offset) // 60, abs(offset) % 60
    colon = "" if rng.random() < 0.3 else ":"
    short = minutes == 0 and rng.random() < 0.3
    return f"{text}{sign}{hours:02}" + ("" if short else f"{colon}{minutes:02}")


def _no_time(rng: Rng) -> str:
    day = EPOCH + timedelta(days=int(rng.integers(25_000)))
    forms = (
        f"{day.isocalendar().year}-W{day.isocalendar().week:02}-{day.isocalendar().weekday}",
        day.strftime("%Y-%j"),
        day.strftime("%Y%m%dT%H%M%S"),
        day.strftime("%d/%m/%Y"),
        day.strftime("%Y-%m-%dT24:00:00"),
        day.strftime("%Y-%m-%dT23:59:60"),
        day.strftime("%Y-13-%d"),
        day.strftime("%Y-02-30"),
        day.strftime("%Y-%m-%dT10:00:00+25:00"),
        "yesterday",
    )
    return str(forms[rng.integers(len(forms))])


INTEGER = re.compile(r"-?[1-9]\d*|0")
STYLES = {
    "int": lambda rng: str(rng.integers(-(10**6), 10**6)),
    "large": lambda rng: str(2**62 + int(rng.integers(1000))),
    "beyond": lambda rng: str(2**64 + int(rng.integers(1000))),
    "padded": lambda rng: f"{rng.integers(1000):06}",
    "text": lambda rng: f"item-{rng.integers(1000)}",
    "signed": lambda rng: f"+{rng.integers(1, 1000)}",
}


def ids(rng: Rng, folder: Path) -> str:
    """Item ids of a log and of its table, each in CSV or typed, in several spellings, under every option."""
    parts: list[tuple[list[str], str]] = []
    for _ in range(2):
        styles = rng.choice(list(STYLES), int(rng.integers(1, 3)))
        cells = [STYLES[str(rng.choice(styles))](rng) for _ in range(int(rng.integers(1, 6)))]
        fits = all(INTEGER.fullmatch(cell) and -(2**63) <= int(cell) < 2**63 for cell in cells)
        typed = str(rng.choice(["csv", "Int64", "String"] if fits else ["csv", "String"]))
        parts.append((cells, typed))
    parts[1] = list(dict.fromkeys(parts[1][0])), parts[1][1]
    wanted = rng.choice(["auto", "auto", "text", "int"]).item()
    files = []
    for name, (cells, typed) in zip(("log", "table"), parts, strict=True):
        column = pl.Series("item_id", cells if typed != "Int64" else list(map(int, cells)))
        frame = pl.DataFrame([column])
        rows = pl.int_range(frame.height, eager=True)
        frame = frame.with_columns(user_id=rows) if name == "log" else frame.with_columns(shelf=rows)
        files.append(write(frame, folder / f"{name}{'.csv' if typed == 'csv' else '.parquet'}"))

    def read() -> Dataset:
        return Dataset.load(files[0], files[1], ids=wanted)

    expected = _ids(parts, wanted)
    if expected is None:
        return refusal(read, ["item_id", "ids"], (parts, wanted))
    data, n_events = read(), len(parts[0][0])
    vocabulary = data.items.ids
    check("ids of the log", vocabulary.ids(data.interactions.items).tolist(), expected[:n_events], (parts, wanted))
    shelves = [data.items.values(vocabulary.row(item)).get("shelf") for item in expected[n_events:]]
    check("ids of the table", shelves, list(range(len(shelves))), (parts, wanted))
    check("number of ids", len(vocabulary), len(set(expected)), (parts, wanted))
    return "read"


def _ids(parts: Sequence[tuple[list[str], str]], wanted: str) -> list[Any] | None:
    """The ids that the tables hold, or None where they cannot be read without changing one."""
    cells = [cell for part, _ in parts for cell in part]
    whole = all(INTEGER.fullmatch(cell) and -(2**63) <= int(cell) < 2**63 for cell in cells)
    types = {typed for _, typed in parts}
    if wanted == "text":
        return cells
    if wanted == "int":
        return list(map(int, cells)) if whole else None
    if {"Int64", "String"} <= types:
        return None
    if "String" in types:
        return cells
    if whole:
        return list(map(int, cells))
    return None if "Int64" in types else cells


def kinds(rng: Rng, folder: Path) -> str:
    """Columns that a person would call text, lists, categories, numbers, codes, times, vectors or an index."""
    n = int(rng.integers(4, 80))
    intent = str(rng.choice(["title", "han", "list", "category", "number", "code", "time", "vector", "index"]))
    in_csv = intent == "index" or (intent != "vector" and rng.random() < 0.7)
    cells, expected = _column(intent, n, rng)
    name = "Unnamed: 0" if intent == "index" else "field"
    column = pl.Series(name, list(map(str, cells)) if in_csv and intent != "vector" else cells)
    table = pl.DataFrame([pl.Series("item_id", range(n)), column])
    log = write(pl.DataFrame({"user_id": [1], "item_id": [0]}), folder / "log.csv")
    file = write(table, folder / f"table{'.csv' if in_csv else '.parquet'}")
    if intent == "vector":
        return refusal(lambda: Dataset.load(log, file), ["'field'", "vector"], cells)
    data = Dataset.load(log, file)
    found = {one.field: one.kind for one in data.kinds}
    if intent in ("number", "code", "time") and not in_csv and intent != "number":
        expected = "datetime" if intent == "time" else "categorical"
    check("kind", found[name], expected, cells)
    if intent in ("title", "han", "category", "code"):
        check("values", [data.items.values(row)["field"] for row in range(n)], cells, cells)
    elif intent == "list":
        tags = [sorted(data.items.values(row).get("field", [])) for row in range(n)]
        check("tags", tags, [sorted(set(cell.split("|"))) for cell in cells], cells)
    return "read"


def _column(intent: str, n: int, rng: Rng) -> tuple[list[Any], str]:
    if intent == "title":
        titles = [" ".join(rng.choice(WORDS, int(rng.integers(2, 6)))) + f" {row}" for row in range(n)]
        for row in range(n // 25):
            titles[row] = titles[row].replace(" ", " | ", 1)
        return titles, "text"
    if intent == "han":
        return [
            "".join(rng.choice(list(HAN), int(rng.integers(5, 12)))) + HAN[row % len(HAN)] for row in range(n)
        ], "text"
    if intent == "list":
        sizes = [int(rng.integers(2, 5)) if row % 4 else 1 for row in range(n)]
        return ["|".join(rng.choice(WORDS[:8], size, replace=False)) for size in sizes], "list"
    if intent == "category":
        return [WORDS[int(rng.integers(5))] for _ in range(n)], "categorical"
    if intent == "number":
        return [round(float(rng.normal() * 100), 3) for _ in range(n)], "number"
    if intent == "code":
        return [f"0{rng.integers(10_000):04}" for _ in range(n)], "categorical"
    if intent == "time":
        return [_spelt(_moment(rng), rng) for _ in range(n)], "datetime"
    if intent == "vector":
        return rng.normal(size=(n, 4)).tolist(), ""
    return list(range(n)), "ignore"


def future(rng: Rng, folder: Path) -> str:
    """A log with or without one event decades beyond the others, read or taken live; popularity keeps its order."""
    n, n_items = int(rng.integers(5, 80)), int(rng.integers(2, 12))
    end = int(rng.integers(10**9, 1_700_000_000))
    seconds = (end - rng.integers(0, 300 * 86_400, n)).tolist()
    items = rng.integers(0, n_items, n).tolist()
    is_far, live = rng.random() < 0.6, rng.random() < 0.5
    rule = rng.choice(["keep", "clamp", "refuse"]).item()
    now = max(seconds)
    beyond = {"user_id": n, "item_id": items[0], "timestamp": now + int(rng.integers(20, 80)) * YEAR_S}
    rows = [{"user_id": row, "item_id": items[row], "timestamp": seconds[row]} for row in range(n)]
    told = (rows, beyond if is_far else None, rule, live)
    early = rows if live or not is_far else [*rows, beyond]
    log = pl.DataFrame(early)

    def read() -> Dataset:
        data = Dataset.from_frames(log, future=rule)
        if live and is_far:
            data = apply_change(data, read_change(data, "add_interactions", [beyond])).data
        return data

    if is_far and rule == "refuse":
        return refusal(read, ["'timestamp'", "far beyond"], told)
    data = read()
    check("now", data.now, now, told)
    check("a note", any("far beyond" in note for note in data.notes), is_far, told)
    half_life = float(rng.choice([0.5, 5.0, 180.0]))
    weights: dict[int, list[float]] = defaultdict(list)
    for row in [*rows, *([beyond] if is_far else [])]:
        weights[row["item_id"]].append(max(0.0, (now - row["timestamp"]) / (half_life * 86_400)))
    ages = {item: _log_sum(own) for item, own in weights.items()}
    plugin = retriever_class("popularity")
    path = plugin(plugin.Config.model_validate({"half_life_days": half_life}))
    path.fit(data, rng=rng, progress=SILENT)
    query = Query(-1, np.empty(0, np.int32), np.empty(0, np.float32))
    ranked = [int(item) for item in data.items.ids.ids(path.retrieve(query, data.n_items).items)]
    logs = [ages[item] for item in ranked]
    if any(after > before + 1e-6 for before, after in pairwise(logs)):
        raise Wrong(f"popularity ranks {ranked} with logarithms {logs}; the input: {told!r}")
    return "read"


def _log_sum(halvings: list[float]) -> float:
    """The binary logarithm of a sum of `2 ** -halvings`, without underflow."""
    least = min(halvings)
    return math.log2(math.fsum(2.0 ** (least - one) for one in halvings)) - least

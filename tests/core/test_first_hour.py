"""The first hour on the command line, at several widths and on consoles that show little."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import polars as pl
import pytest

from multirecall import Dataset, Engine, EngineConfig
from multirecall.data.config import Column

PATHS = ["item_cf", "content", "popularity", "ease", "user_cf", "sequence", "next_item"]
USERS, ITEMS = 60, 40


def run(*arguments: str | Path, **environment: str) -> tuple[str, str]:
    """Standard output and standard error of `multirecall …` in a pipe."""
    command = [sys.executable, "-m", "multirecall", *map(str, arguments)]
    cleaned = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "PYTHONIOENCODING")}
    done = subprocess.run(command, capture_output=True, timeout=120, env={**cleaned, **environment}, check=False)
    assert done.returncode == 0, done.stderr.decode()
    encoding = "latin-1" if environment.get("PYTHONIOENCODING") == "latin-1" else "utf-8"
    return done.stdout.decode(encoding), done.stderr.decode(encoding)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV log with columns of its own names, and titles that many consoles cannot show."""
    folder = tmp_path_factory.mktemp("hour")
    events = [
        (user, (user * 7 + step * step) % ITEMS, 1_700_000_000 + 60 * step)
        for user in range(USERS)
        for step in range(9)
    ]
    log = pl.DataFrame(events, schema=["customer", "sku", "at"], orient="row")
    log.write_csv(folder / "log.csv")
    titles = [f"Käse № {item} ☕ from a long way off, with care" for item in range(ITEMS)]
    pl.DataFrame({"sku": range(ITEMS), "title": titles}).write_csv(folder / "items.csv")
    (folder / "shop.toml").write_text("".join(f'[[paths]]\nretriever = "{name}"\n' for name in PATHS))
    return folder


@pytest.fixture(scope="module")
def reading(shop: Path) -> list[str | Path]:
    columns = ["--columns", "user_id=customer", "--columns", "item_id=sku", "--columns", "timestamp=at"]
    files: list[str | Path] = [
        "--interactions",
        shop / "log.csv",
        "--items",
        shop / "items.csv",
        "--config",
        shop / "shop.toml",
    ]
    return [*files, *columns, "--kinds", "title=text", "--ids", "text"]


@pytest.fixture(scope="module")
def said_by_fit(shop: Path, reading: list[str | Path]) -> str:
    return run("fit", *reading, "--out", shop / "bundle")[1]


@pytest.fixture(scope="module")
def bundle(shop: Path, said_by_fit: str) -> Path:
    return shop / "bundle"


def test_fit_says_kinds_seconds_memory_and_what_is_next(bundle: Path, said_by_fit: str) -> None:
    for name in PATHS:  # one of them is the fallback, too
        assert re.search(rf"^{name} fitted in \d+\.\d s \(\d of \d\)$", said_by_fit, re.MULTILINE)
    for name in [*PATHS, "fallback"]:
        assert re.search(rf"^ {name} +\d+\.\d s +[\d.,]+ [KM]iB +[\d.,]+ [KM]iB *$", said_by_fit, re.MULTILINE)
    assert re.search(r"^ items +title +text +given", said_by_fit, re.MULTILINE)
    assert f"Next: multirecall retrieve {bundle} --user 0" in said_by_fit
    engine = Engine.load(bundle)
    assert engine.data.items.ids.holds_text, "--ids text"
    assert engine.config.data.columns == {"user_id": "customer", "item_id": "sku", "timestamp": "at"}


@pytest.mark.parametrize("columns", [None, "50", "80", "120", "200"])
def test_no_number_is_ever_cut(bundle: Path, columns: str | None) -> None:
    width = {} if columns is None else {"COLUMNS": columns}
    shown, errors = run("retrieve", bundle, "--user", "7", "-k", "12", **width)
    answer = json.loads(run("retrieve", bundle, "--user", "7", "-k", "12", "--json")[0])
    assert errors == ""
    lines = shown.splitlines()
    assert max(map(len, lines)) <= int(columns or 80)
    table = " ".join(shown.partition("of 12 shown")[0].split())
    for one in answer["candidates"][:10]:
        assert f" {one['score']:.4f} " in table
    if columns in ("120", "200"):
        heads = next(line for line in lines if "score" in line).split()
        assert heads == ["item", "score", *PATHS]
    else:
        compact = re.sub(r"\s+", " ", shown.replace("\xa0", " "))
        for one in answer["candidates"][:10]:
            for path, rank in one["provenance"].items():
                assert f"{path} {rank}" in compact
    assert "10 of 12 shown; --rows 12 shows all" in " ".join(shown.split())


def test_all_rows_on_demand(bundle: Path) -> None:
    shown, _ = run("retrieve", bundle, "--user", "7", "-k", "12", "--rows", "12")
    assert "shown" not in shown
    few, _ = run("retrieve", bundle, "--user", "7", "-k", "3")
    assert "shown" not in few


def test_csv_is_the_json_to_the_last_digit(bundle: Path) -> None:
    arguments: list[str | Path] = ["retrieve", bundle, "--user", "11", "-k", "30"]
    answer = json.loads(run(*arguments, "--json")[0])["candidates"]
    rows = list(csv.DictReader(io.StringIO(run(*arguments, "--csv", PYTHONIOENCODING="ascii")[0])))
    assert [row["item_id"] for row in rows] == [one["item_id"] for one in answer]
    assert [float(row["score"]) for row in rows] == [one["score"] for one in answer]
    assert [int(row["rank"]) for row in rows] == list(range(len(answer)))
    for row, one in zip(rows, answer, strict=True):
        ranks = {path: row[f"rank_{path}"] for path in PATHS}
        assert ranks == {path: str(one["provenance"].get(path, "")) for path in PATHS}


def test_unknown_ids_are_notes(bundle: Path) -> None:
    unknown = [part for number in range(7) for part in ("--exclude", f"no{number}")]
    shown, errors = run(
        "retrieve", bundle, "--user", "nobody", "--history", "3", "--history", "gone", *unknown, "--json"
    )
    notes = errors.splitlines()
    assert notes[0] == "note: user 'nobody' is unknown and gets what visitors get"
    assert notes[1].startswith("note: --history, --exclude: the catalogue does not have 'gone', 'no0', ")
    assert notes[1].endswith("'no3' and 3 more; passed over")
    assert len(notes) == 2
    answer = json.loads(shown)
    assert answer["known"] is False
    assert answer["unknown_items"] == ["gone", *(f"no{number}" for number in range(7))]
    assert run("retrieve", bundle, "--history", "3", "-k", "2")[1] == "", "a visitor is no unknown user"


@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "ascii"}, {"LANG": "C", "LC_ALL": "C"}, {"PYTHONIOENCODING": "latin-1"}]
)
def test_a_console_that_shows_little_gets_what_it_can_show(bundle: Path, environment: dict[str, str]) -> None:
    shown, _ = run("retrieve", bundle, "--user", "7", "-k", "2", **environment)
    assert "item_cf" in shown
    answer = json.loads(run("retrieve", bundle, "--user", "7", "-k", "2", "--json", **environment)[0])
    assert len(answer["candidates"]) == 2
    helped, _ = run("evaluate", "--help", **environment)
    assert "recall: share of" in helped


def test_evaluate_ends_with_what_fusing_is_worth(shop: Path, reading: list[str | Path]) -> None:
    shown, _ = run("evaluate", *reading, "--split", "last", "-k", "5", COLUMNS="160")
    text = " ".join(shown.split())
    assert re.search(r"best path \(\w+\) at k = 5 .*recall [\d.]+ against [\d.]+, [+-][\d.]+ \[.*\], 60 users\)", text)
    assert "Next: " in text
    assert re.search(r"ndcg@5 [\d.]+ \w+ [\d.]+ [+-][\d.]+ \[.*?\] (gains|loses|unclear)", text)
    narrow, _ = run("evaluate", *reading, "--split", "last", "-k", "5", "--value", "--json")
    figures = json.loads(narrow)
    assert figures["gain"]["n_users"] == 60
    assert "share of users with at least one target" in text
    alone, _ = run(
        "evaluate", "--interactions", shop / "log.csv", *reading[6:12], "--config", _one_path(shop), "--split", "last"
    )
    assert "There is one path only" in alone


def _one_path(shop: Path) -> Path:
    (shop / "one.toml").write_text('[[paths]]\nretriever = "popularity"\n')
    return shop / "one.toml"


def test_the_page_says_what_it_is_of(shop: Path, reading: list[str | Path]) -> None:
    pytest.importorskip("matplotlib")
    run("evaluate", *reading, "--split", "last", "--report", shop / "page.html")
    page = (shop / "page.html").read_text(encoding="utf-8")
    for part in ("log.csv: 540 interactions", "shop.toml", "each user&#39;s last", "written", "recall: share of"):
        assert part in page, part


def test_version_and_help() -> None:
    assert run("--version")[0] == f"multirecall {version('multirecall')}\n"
    helped, _ = run("--help", COLUMNS="100")
    assert "--version" in helped
    assert "Multi-path recall" in helped
    assert "the extra `plots`" in " ".join(run("evaluate", "--help", COLUMNS="200")[0].split())


def test_frames_read_with_the_same_options_are_the_same(shop: Path, bundle: Path) -> None:
    columns: dict[Column, str] = {"user_id": "customer", "item_id": "sku", "timestamp": "at"}
    data = Dataset.load(shop / "log.csv", shop / "items.csv", columns=columns, kinds={"title": "text"}, ids="text")
    config = EngineConfig.model_validate({"paths": [{"retriever": "popularity"}]})
    assert Engine(config).fit(data).data.items.ids.ids().tolist() == Engine.load(bundle).data.items.ids.ids().tolist()

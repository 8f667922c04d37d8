"""The command line, run as a person runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import polars as pl
import pytest

from multirecall import Engine
from multirecall.datasets import generate


def run(*arguments: str | Path, fails: bool = False) -> tuple[str, str]:
    """Standard output and standard error of `multirecall …`."""
    command = [sys.executable, "-m", "multirecall", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "140", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    for name, frame in generate(200, 300, 8_000)._asdict().items():
        frame.write_parquet(folder / f"{name}.parquet")
    return folder


@pytest.fixture(scope="module")
def options(files: Path) -> list[str | Path]:
    return [part for name in ("interactions", "items", "users") for part in (f"--{name}", files / f"{name}.parquet")]


@pytest.fixture(scope="module")
def bundle(files: Path, options: list[str | Path]) -> Path:
    _, errors = run("fit", *options, "--out", files / "bundle")
    assert "8,000 interactions" in errors
    assert "two_tower, item2vec, node2vec, item_cf, content, popularity, next_item, ease, als fitted" in errors
    assert "saved to" in errors
    return files / "bundle"


def test_from_log_to_json(bundle: Path) -> None:
    answer = json.loads(run("retrieve", bundle, "--user", "u00007", "-k", "4", "--json")[0])
    assert len(answer["candidates"]) == 4
    assert answer["candidates"][0].keys() == {"item_id", "score", "provenance"}
    assert {path: one["state"] for path, one in answer["status"].items()} == {
        "item_cf": "ok",
        "two_tower": "ok",
        "item2vec": "ok",
        "node2vec": "ok",
        "content": "ok",
        "popularity": "ok",
        "next_item": "ok",
        "ease": "ok",
        "als": "ok",
    }
    assert (answer["n_backfilled"], answer["shortfall"]) == (0, 0)
    assert (answer["known"], answer["unknown_items"]) == (True, [])


def test_filters_and_visitors(bundle: Path, files: Path) -> None:
    items = pl.read_parquet(files / "items.parquet")
    garden = set(items.filter(category="garden")["item_id"])
    history = ["--history", items["item_id"][0], "--history", items["item_id"][1]]
    where = ["--where", '{"category": "garden"}', "--exclude", min(garden)]
    answer = json.loads(run("retrieve", bundle, *history, *where, "-k", "5", "--json")[0])
    found = {one["item_id"] for one in answer["candidates"]}
    assert found <= garden - {min(garden)}
    terms = ["--terms", json.dumps({"category": "garden"})]
    asked = json.loads(run("retrieve", bundle, *terms, "-k", "5", "--json")[0])
    answering = {path for path, one in asked["status"].items() if one["count"]}
    assert answering == {"content", "popularity", "two_tower"}


def test_table_for_a_person(bundle: Path, files: Path) -> None:
    shown, errors = run("retrieve", bundle, "--user", "u00007", "-k", "4")
    first = json.loads(run("retrieve", bundle, "--user", "u00007", "-k", "4", "--json")[0])["candidates"][0]["item_id"]
    title = pl.read_parquet(files / "items.parquet").filter(item_id=first)["title"][0]
    assert first in shown
    assert title[:20] in shown
    assert "item_cf ok" in shown
    assert errors == "", "silent where no terminal is"


def test_similar(bundle: Path) -> None:
    with Engine.load(bundle) as engine:
        item = str(engine.data.items.ids.id(3))
        expected = engine.similar(item, 4, exclude=["i000001"])
    asked: list[str | Path] = ["similar", bundle, item, "-k", "4", "--exclude", "i000001"]
    answer = json.loads(run(*asked, "--json")[0])
    assert [one["item_id"] for one in answer["candidates"]] == expected.ids.tolist()
    assert answer["status"]["popularity"]["state"] == "skipped"
    shown, _ = run(*asked)
    assert str(expected.ids[0]) in shown
    assert "popularity skipped" in shown
    _, fault = run("similar", bundle, "nothing", fails=True)
    assert "no item has the id 'nothing'" in fault


def test_export(bundle: Path, tmp_path: Path) -> None:
    out, _ = run("export", bundle, "--out", tmp_path, "--path", "als", "--path", "item_cf", "-k", "5")
    assert sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.*")) == [
        "neighbours/als.parquet",
        "neighbours/item_cf.parquet",
        "vectors/als.parquet",
    ]
    with Engine.load(bundle) as engine:
        ids, vectors = engine.vectors("als")
        items, neighbours, scores = engine.neighbours("item_cf", 5)
    written = pl.read_parquet(tmp_path / "vectors" / "als.parquet")
    assert written["item_id"].to_list() == ids.tolist()
    assert written["vector"].to_numpy().tolist() == vectors.tolist()
    written = pl.read_parquet(tmp_path / "neighbours" / "item_cf.parquet")
    assert written.columns == ["item_id", "neighbour_id", "score"]
    assert written.rows() == list(zip(items.tolist(), neighbours.tolist(), scores.tolist(), strict=True))
    assert f"{len(items):,} rows" in out


def test_export_of_what_a_path_lacks_is_refused(bundle: Path, tmp_path: Path) -> None:
    _, fault = run("export", bundle, "--out", tmp_path, "--vectors", "--path", "item_cf", fails=True)
    assert "path 'item_cf' has no item vectors" in fault
    _, fault = run("export", bundle, "--out", tmp_path, "--neighbours", "--path", "nobody", fails=True)
    assert "no path is named 'nobody'" in fault
    _, fault = run("export", bundle, "--out", tmp_path, "--path", "nobody", fails=True)
    assert "no path is named 'nobody'" in fault


def test_explain(bundle: Path) -> None:
    with Engine.load(bundle) as engine:
        best = str(engine.retrieve("u00007", 4)[0].item_id)
        why = engine.explain("u00007", best, 4)
    asked: list[str | Path] = ["explain", bundle, best, "--user", "u00007", "-k", "4"]
    assert json.loads(run(*asked, "--json")[0]) == json.loads(json.dumps(asdict(why)))
    lines = [line.split() for line in run(*asked)[0].splitlines()]
    assert " ".join(lines[0]).startswith(f"{best} has rank 0, from 0, and score ")
    ranks = {words[0]: words[1] for words in lines if words and words[0] in why.paths}
    assert ranks == {path: "–" if one.rank is None else str(one.rank) for path, one in why.paths.items()}
    assert f"{best} is not among the candidates: it is in exclude." in run(*asked, "--exclude", best)[0]


def test_brackets_in_data_are_no_markup(tmp_path: Path) -> None:
    log = pl.DataFrame({"user_id": [1, 1, 2], "item_id": [1, 2, 3]})
    titles = [f"Great thing [/b] {number}" for number in range(3)]
    log.write_parquet(tmp_path / "log[1].parquet")
    pl.DataFrame({"item_id": [1, 2, 3], "title": titles}).write_parquet(tmp_path / "items.parquet")
    log_file, item_file = tmp_path / "log[1].parquet", tmp_path / "items.parquet"
    run("fit", "--interactions", log_file, "--items", item_file, "--out", tmp_path / "bundle")
    shown, _ = run("retrieve", tmp_path / "bundle", "--user", "2", "-k", "2")
    assert "Great thing [/b]" in shown
    _, errors = run("fit", "--interactions", "[/x].parquet", "--out", "x", fails=True)
    assert "error: interactions: " in errors
    assert "[/x].parquet" in errors


def test_a_former_name_in_a_config_is_noted(tmp_path: Path) -> None:
    (tmp_path / "old.toml").write_text('[fusion]\nstrategy = "cascade"\nparams = { on_duplicate = "refill" }\n')
    arguments: list[str | Path] = ["--interactions", "no.parquet", "--out", "x", "--config", tmp_path / "old.toml"]
    assert "note: on_duplicate = 'refill' is now called 'replace'" in run("fit", *arguments, fails=True)[1]


def test_evaluate(options: list[str | Path], tmp_path: Path) -> None:
    (tmp_path / "engine.toml").write_text('[[paths]]\nretriever = "item_cf"\n[fusion]\nstrategy = "cascade"\n')
    report = json.loads(run("evaluate", *options, "-k", "10", "-k", "50", "--json")[0])
    assert report["ks"] == [10, 50]
    assert [(one["metric"], one["k"]) for one in report["gains"]] == [
        (metric, k) for metric in ("recall", "ndcg") for k in (10, 50)
    ]
    assert report["gain"] == report["gains"][1]
    assert report["figures"].keys() == {
        "two_tower",
        "item2vec",
        "node2vec",
        "item_cf",
        "content",
        "popularity",
        "next_item",
        "ease",
        "als",
        "fused",
    }
    shown, _ = run("evaluate", *options, "--config", tmp_path / "engine.toml", "--seen")
    assert "at k = 20" in shown
    assert "last 10% of events by time, all items" in shown
    assert "content" not in shown


def test_evaluate_looks_at_item_vectors(options: list[str | Path], tmp_path: Path) -> None:
    paths = '[[paths]]\nretriever = "item_cf"\n[[paths]]\nretriever = "als"\nparams = { dim = 8 }\n'
    (tmp_path / "engine.toml").write_text(paths)
    fast: list[str | Path] = ["--config", tmp_path / "engine.toml", "-k", "20", "--embeddings"]
    shown, _ = run("evaluate", *options, *fast)
    assert " item vectors   vectors   dim   zero" in shown
    assert "how many directions are used, from 1 to dim" in shown
    report = json.loads(run("evaluate", *options, *fast, "--json", "--report", tmp_path / "page.html")[0])
    assert report["embeddings"].keys() == {"als"}
    assert report["embeddings"]["als"]["health"]["dim"] == 8
    page = (tmp_path / "page.html").read_text()
    assert '<canvas class="map" data-items="items-1">' in page
    (tmp_path / "engine.toml").write_text('[[paths]]\nretriever = "item_cf"\n')
    assert "No path has item vectors" in run("evaluate", *options, *fast)[0]


def test_evaluate_by_other_splits(options: list[str | Path], files: Path, tmp_path: Path) -> None:
    (tmp_path / "engine.toml").write_text('[[paths]]\nretriever = "item_cf"\n[[paths]]\nretriever = "popularity"\n')
    fast: list[str | Path] = ["--config", tmp_path / "engine.toml"]
    shown, _ = run("evaluate", *options, *fast, "--split", "last", "--last", "2", "--value", "-k", "30")
    for part in ("each user's last 2 events", "lost without it", "share that is also in", "heavy ("):
        assert part in shown
    shown, _ = run("evaluate", *options, *fast, "--split", "last", "--validation", "1", "-k", "30")
    assert "each user's last event, 1 more before them for validation" in shown.replace("\n", " ")
    log = pl.read_parquet(files / "interactions.parquet").sort("timestamp")
    log[:6_000].write_parquet(tmp_path / "train.parquet")
    log[6_000:].write_parquet(tmp_path / "test.parquet")
    given: list[str | Path] = ["--interactions", tmp_path / "train.parquet", "--test", tmp_path / "test.parquet"]
    report = json.loads(run("evaluate", *given, *fast, "--report", tmp_path / "page.html", "--json")[0])
    assert report["split"] == "given files, items new to the user"
    assert report["value"]["paths"].keys() == {"item_cf", "popularity"}
    assert "embeddings" not in report
    assert "data:image/svg+xml" in (tmp_path / "page.html").read_text()


def test_tune(options: list[str | Path], tmp_path: Path) -> None:
    (tmp_path / "engine.toml").write_text('[[paths]]\nretriever = "item_cf"\n[[paths]]\nretriever = "popularity"\n')
    tuned = tmp_path / "tuned.toml"
    arguments: list[str | Path] = ["--config", tmp_path / "engine.toml", "-k", "20", "--out", tuned, "--hold-out"]
    shown, errors = run("tune", *options, *arguments)
    for part in ("second slice", "test", "gain over equal", "Kept: ", f"written to {tuned}", "recall is the share of"):
        assert part in shown
    assert "item_cf fitted in " in errors
    assert tuned.read_text().startswith("# Fusion learned from ")
    evaluated, _ = run("evaluate", *options, "--config", tuned)
    assert "at k = 100" in evaluated
    again = json.loads(run("tune", *options, *arguments, "--json")[0])
    assert again["test"]["n_users"] > 30
    assert again["verdict"] in ("tuned", "plain", "single", "rrf")


def test_demo() -> None:
    shown, errors = run("demo", "--users", "150", "--items", "200", "--interactions", "5000", "--show", "1")
    for part in (
        "A made-up shop: 5,000 events",
        "proposes first",
        "What the fused list becomes",
        "at k = 100",
        "best path (",
        "Next: ",
        "long tail",
    ):
        assert part in shown
    assert "two_tower fitted in " in errors, "a line for each path where no terminal is"


def test_plugins_and_doctor(bundle: Path) -> None:
    listed, _ = run("plugins")
    for name in (
        "two_tower",
        "item_cf",
        "item2vec",
        "node2vec",
        "content",
        "popularity",
        "rrf",
        "weighted_sum",
        "cascade",
    ):
        assert name in listed
    report, _ = run("doctor", bundle)
    for part in (
        "numba",
        "usable of",
        "extra test",
        "whole; ",
        "paths two_tower, item2vec, node2vec, item_cf, content, popularity, next_item, ease, als",
    ):
        assert part in " ".join(report.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["retrieve", "nowhere", "--user", "1"], "nowhere: is not a bundle"),
        (["doctor", "nowhere"], "nowhere: is not a bundle"),
        (["retrieve", "BUNDLE", "--where", "{"], "--where: '{' is not JSON"),
        (["retrieve", "BUNDLE", "--where", '["x"]'], "is no JSON object"),
        (
            ["retrieve", "BUNDLE", "--where", '{"colour": 1}'],
            "where: no item feature is named 'colour'; known: ",
        ),
        (["retrieve", "BUNDLE", "-k", "0"], "k must be a whole number > 0, got 0"),
        (["fit", "--interactions", "no.parquet", "--out", "x"], "interactions: no.parquet: no such file"),
        (
            ["fit", "--interactions", "no.parquet", "--out", "x", "--threads", "0"],
            "--threads: '0' is neither a number of threads nor auto",
        ),
        (["evaluate", "--interactions", "no.parquet", "--config", "no.toml"], "no.toml: cannot be read"),
        (["evaluate", "--interactions", "LOG", "--split", "random", "--seen"], "cannot use seen"),
        (["evaluate", "--interactions", "LOG", "--report", "none/x.html"], "--report: none is no folder"),
        (["evaluate", "--interactions", "LOG", "--fraction", "2"], "must be a number between 0 and 1, got 2.0"),
        (["evaluate", "--interactions", "LOG", "--test", "no.parquet"], "interactions: no.parquet: no such file"),
        (["fit", "--interactions", "LOG", "--out", "LOG"], "--out: "),
        (["fit", "--interactions", "LOG", "--out", "FOLDER"], "is not empty and not a bundle; choose another folder"),
        (["fit", "--interactions", "LOG", "--out", "LOG/deep/er"], "is a file, so "),
        (
            ["fit", "--interactions", "LOG", "--out", "x", "--columns", "user_id"],
            "'user_id' is no pair; write --columns ",
        ),
        (["fit", "--interactions", "LOG", "--out", "x", "--kinds", "a=b=c"], "data.kinds.a: input should be"),
        (["fit", "--interactions", "LOG", "--out", "x", "--columns", "usr=u"], "data.columns.usr"),
        (
            ["evaluate", "--interactions", "LOG", "--columns", "user_id=a", "--columns", "user_id=b"],
            "--columns: 'user_id' is given twice",
        ),
        (["evaluate", "--interactions", "LOG", "--columns", "user_id=customer"], "customer"),
        (["retrieve", "BUNDLE", "--json", "--csv"], "only one can be printed"),
        (["tune", "--interactions", "LOG", "--out", "none/x.toml"], "--out: none is no folder"),
        (["tune", "--interactions", "LOG", "--out", "x", "--metric", "recal"], "did you mean 'recall'"),
        (
            ["tune", "--interactions", "LOG", "--out", "x", "--split", "day"],
            "split: input should be 'time', 'user-time'",
        ),
        (["tune", "--interactions", "LOG", "--out", "x", "--strategy", "rff"], "did you mean 'rrf'"),
        (["tune", "--interactions", "LOG", "--out", "x", "--budget-ms", "-1"], "budget_ms: input should be greater"),
    ],
)
def test_mistakes_get_one_message_and_no_traceback(
    bundle: Path, files: Path, arguments: list[str], message: str
) -> None:
    log = str(files / "interactions.parquet")
    places = {"BUNDLE": str(bundle), "LOG": log, "FOLDER": str(files), "LOG/deep/er": f"{log}/deep/er"}
    _, errors = run(*(places.get(word, word) for word in arguments), fails=True)
    assert "fitted" not in errors
    assert errors.startswith("error: ")
    assert message in errors
    assert "Traceback" not in errors


def test_notes_are_said_once(options: list[str | Path], files: Path, tmp_path: Path) -> None:
    log = pl.read_parquet(files / "interactions.parquet").with_columns(till=1)
    log.write_parquet(tmp_path / "log.parquet")
    _, errors = run("fit", "--interactions", tmp_path / "log.parquet", "--out", tmp_path / "bundle")
    notes = [line for line in errors.splitlines() if line.startswith("note: ")]
    assert notes == [
        f"note: {tmp_path / 'log.parquet'}: columns not used: till",
        "note: the log is too small to learn a fusion from it, so equal weights serve, or those of the config",
        "note: path 'content' is left out: content: the data have no item features; pass an item table, or leave the "
        "path out",
    ]

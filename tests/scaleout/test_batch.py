"""Candidates of many users in a folder: what one engine writes, whatever the workers; what a folder refuses."""

from __future__ import annotations

import json
import logging
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow.dataset
import pytest
from batches import CHUNK, USERS, InlineWorkers, K, contents, fill, frame_of_one, make_bundle, stamps
from faulty import Raises

from multirecall import Engine, User
from multirecall.errors import DataError, IdTypeError, MultirecallError, RequestError, UntrustedPlugin
from multirecall.scaleout import batch
from multirecall.scaleout.parts import MANIFEST


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("batch") / "bundle")


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "LocalWorkers", InlineWorkers)


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    return found


def test_parts_are_what_one_engine_writes(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    written = fill(bundle, out)
    expected = frame_of_one(bundle, tmp_path / "one.parquet")
    found = pl.concat([pl.read_parquet(file) for file in sorted(out.glob("*.parquet"))])
    assert found.equals(expected)
    assert found.schema == expected.schema
    assert found["user_id"].unique(maintain_order=True).to_list() == USERS
    assert written[:4] == (len(USERS), expected.height, 31, len(USERS))
    with Engine.load(bundle) as engine:
        first = engine.retrieve_batch(USERS[:CHUNK], K).to_polars()
    assert pl.read_parquet(out / "part-00000.parquet").equals(first)


def test_readers_take_the_folder_for_one_table(bundle: Path, tmp_path: Path, inline: None) -> None:
    """Spark, as Arrow here, passes over names that begin with `_` or `.`."""
    out = tmp_path / "out"
    fill(bundle, out)
    expected = frame_of_one(bundle, tmp_path / "one.parquet")
    assert pl.read_parquet(out / "*.parquet").equals(expected)
    assert pl.scan_parquet(out, hidden_file_prefix=["_", "."]).collect().equals(expected)
    table = pyarrow.dataset.dataset(out, format="parquet").to_table()
    assert pl.DataFrame(table).equals(expected)
    with duckdb.connect() as database:
        query = database.execute(f"SELECT user_id, item_id, score, rank FROM read_parquet('{out}/*.parquet')")
        read = query.fetchall()
    assert read == expected.select("user_id", "item_id", "score", "rank").rows()
    assert {file.name[0] for file in out.iterdir() if file.suffix != ".parquet"} == {"_"}


@pytest.mark.parametrize("workers", [1, 3, 8])
def test_bytes_do_not_depend_on_the_number_of_workers(bundle: Path, tmp_path: Path, inline: None, workers: int) -> None:
    fill(bundle, tmp_path / "one", workers=1)
    fill(bundle, tmp_path / "out", workers=workers)
    assert contents(tmp_path / "out") == contents(tmp_path / "one")
    assert (tmp_path / "out" / MANIFEST).read_bytes() == (tmp_path / "one" / MANIFEST).read_bytes()
    assert manifest(tmp_path / "out")["complete"] is True
    assert [*manifest(tmp_path / "out")["parts"]] == [*contents(tmp_path / "out")]


def test_filters_reach_the_workers(bundle: Path, tmp_path: Path, inline: None) -> None:
    where = {"group": {"even"}, "arrival": {"min": date(2023, 7, 1), "max": np.datetime64("2023-10-20T12:00:00")}}
    asked: dict[str, Any] = {"exclude": np.array([4, 8]), "where": where, "seen": True, "context": {"page": 1}}
    fill(bundle, tmp_path / "out", **asked)
    with Engine.load(bundle) as engine:
        engine.write_candidates(USERS, tmp_path / "one.parquet", K, chunk=CHUNK, **asked)
    assert pl.read_parquet(tmp_path / "out/*.parquet").equals(pl.read_parquet(tmp_path / "one.parquet"))


@pytest.mark.parametrize("ids", ["int", "str"])
def test_users_come_from_files_frames_and_lists(tmp_path: Path, inline: None, ids: str) -> None:
    from multirecall import EngineConfig
    from multirecall.testing import small_shop

    with Engine(EngineConfig.model_validate({"paths": [{"retriever": "popularity"}]})).fit(small_shop(ids)) as engine:
        engine.save(tmp_path / "bundle")
        users = [*engine.data.users.ids.ids().tolist()[:6], 77 if ids == "int" else "nobody"]
    frame = pl.DataFrame({"name": ["x"] * 7, "user_id": users})
    frame.write_parquet(tmp_path / "users.parquet")
    frame.write_csv(tmp_path / "users.csv")
    given = (users, np.array(users), frame, frame.to_pandas(), str(tmp_path / "users.parquet"), tmp_path / "users.csv")
    for number, one in enumerate(given):
        fill(tmp_path / "bundle", tmp_path / f"out{number}", users=one)
        assert contents(tmp_path / f"out{number}") == contents(tmp_path / "out0")
    assert pl.read_parquet(tmp_path / "out0/*.parquet")["user_id"].unique(maintain_order=True).to_list() == users


def test_users_that_cannot_be_read(bundle: Path, tmp_path: Path, inline: None) -> None:
    pl.DataFrame({"customer": [1]}).write_csv(tmp_path / "u.csv")
    cases: list[tuple[Any, type[Exception], str]] = [
        ([3, 4, 3], DataError, r"row 2 \(the first is 0\): 3 is there twice; keep one row for each user"),
        ([], RequestError, "there are no users"),
        ("none.parquet", DataError, "none.parquet"),
        (tmp_path / "u.csv", DataError, "u.csv: column 'user_id' is missing; known: customer. Rename yours"),
        (["7"], IdTypeError, "int"),
        ([User(7)], IdTypeError, "User"),
        (7, RequestError, "users: got 7; pass a list of ids"),
        (pl.DataFrame({"user_id": [1, None]}), DataError, "the id is null"),
    ]
    for users, kind, text in cases:
        with pytest.raises(kind, match=text):
            fill(bundle, tmp_path / "out", users=users)
    assert not (tmp_path / "out").exists()


def test_arguments_that_cannot_be(bundle: Path, tmp_path: Path, inline: None) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"chunk": 0}, "chunk must be a whole number > 0, got 0"),
        ({"workers": True}, "workers must be a whole number > 0, got True"),
        ({"k": 0}, "k must be a whole number > 0"),
        ({"where": {"colour": "red"}}, "no item feature is named 'colour'"),
        ({"context": {"page": object()}}, "context: .* has no form in JSON, and workers are told in JSON"),
        ({"plugins": [type("Local", (), {"__module__": "__main__"})]}, "workers cannot import Local; put it into"),
    ]
    for options, text in cases:
        with pytest.raises(RequestError, match=text):
            fill(bundle, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="is a file"):
        fill(bundle, tmp_path / "file")


def test_a_call_goes_on_where_one_stopped(
    bundle: Path, tmp_path: Path, inline: None, caplog: pytest.LogCaptureFixture
) -> None:
    class Stopping:
        """Is interrupted, as by Ctrl-C, once ten parts have been reported."""

        def task(self, name: str, total: int, *, steady: bool = True) -> Any:
            from contextlib import nullcontext

            assert (name, total) == ("candidates of users", len(USERS))
            seen = []

            def advance(steps: int, note: str = "") -> None:
                seen.append(steps)
                if len(seen) > 10:
                    raise KeyboardInterrupt

            return nullcontext(advance)

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        fill(bundle, out, progress=Stopping())
    assert f"{out}: stopped with 9 of 31 parts; the same call goes on from there" in caplog.text
    assert manifest(out)["complete"] is False
    before = stamps(out)
    (out / ".part-00030.parquet.1234.draft").touch()
    written = fill(bundle, out)
    assert written.new == len(USERS) - CHUNK * len(before)
    assert before.items() <= stamps(out).items()
    assert pl.read_parquet(out / "*.parquet").equals(frame_of_one(bundle, tmp_path / "one.parquet"))
    assert not list(out.glob(".*"))
    before = stamps(out)
    assert fill(bundle, out).new == 0
    assert stamps(out) == before


def test_other_runs_do_not_mix(bundle: Path, tmp_path: Path, inline: None) -> None:
    own, out = Path(shutil.copytree(bundle, tmp_path / "bundle")), tmp_path / "out"
    fill(own, out)
    before = contents(out)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"k": 9}, "request.k is 12 there and 9 now"),
        ({"users": USERS[:-1]}, f"users.n is {len(USERS)} there and {len(USERS) - 1} now; users.sha256 is"),
        ({"users": USERS[::-1]}, "users.sha256 is"),
        ({"chunk": 5}, "chunk is 4 there and 5 now"),
        ({"seen": True}, "request.seen is false there and true now"),
        ({"where": {"group": "odd"}}, "request.where is null there and"),
    ]
    for options, text in cases:
        with pytest.raises(RequestError, match=f"{out}: holds candidates of another run: {text}") as fault:
            fill(own, out, **options)
        assert str(fault.value).endswith("Name another folder, or remove this one")
    with pytest.raises(RequestError, match=r"state\.bundle is"):
        fill(make_bundle(tmp_path / "other", "popularity"), out)
    with Engine.load(own) as engine:
        engine.add_interactions([{"user_id": 1, "item_id": 2, "timestamp": 1_710_000_000}])
    with pytest.raises(RequestError, match=r"state\.last_change is 0 there and 1 now"):
        fill(own, out)
    assert contents(out) == before


def test_folders_of_something_else(bundle: Path, tmp_path: Path, inline: None) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").touch()
    with pytest.raises(RequestError, match=f"{out}: has 'notes.txt' but no _manifest.json"):
        fill(bundle, out)
    (out / "notes.txt").unlink()
    fill(bundle, out)
    shutil.copy(out / "part-00000.parquet", out / "part-99999.parquet")
    with pytest.raises(RequestError, match=r"part-99999.parquet: is no part of this run; remove it"):
        fill(bundle, out)
    (out / "part-99999.parquet").unlink()
    (out / "part-00007.parquet").write_bytes(b"PAR1")
    with pytest.raises(RequestError, match=r"part-00007.parquet: cannot be read .* remove it and run again"):
        fill(bundle, out)
    (out / "part-00007.parquet").unlink()
    assert fill(bundle, out).new == CHUNK
    (out / MANIFEST).write_text("{")
    with pytest.raises(RequestError, match=r"_manifest.json: is damaged; name another folder"):
        fill(bundle, out)


def test_all_workers_answer_from_the_state_of_the_first_call(
    bundle: Path, tmp_path: Path, inline: None, caplog: pytest.LogCaptureFixture
) -> None:
    own, out = Path(shutil.copytree(bundle, tmp_path / "bundle")), tmp_path / "out"
    with Engine.load(own) as engine:
        engine.add_interactions([{"user_id": 1, "item_id": 2, "timestamp": 1_710_000_000}])
        expected = frame_of_one(own, tmp_path / "one.parquet")
        fill(own, out)
        for name in sorted(contents(out))[3:]:
            (out / name).unlink()
        noted = manifest(out)
        (out / MANIFEST).write_text(json.dumps({**noted, "complete": False}))
        engine.add_interactions([{"user_id": user, "item_id": 4, "timestamp": 1_720_000_000} for user in USERS])
        fill(own, out)
        assert f"{out}: goes on as begun, without the 1 live changes since" in caplog.text
        assert pl.read_parquet(out / "*.parquet").equals(expected)
        (out / "part-00003.parquet").unlink()
        (out / MANIFEST).write_text(json.dumps({**noted, "complete": False}))
        engine.save(own)
    with pytest.raises(RequestError, match=r'state\.version is "000001" there and "000002" now'):
        fill(own, out)


def test_two_runs_do_not_write_one_folder(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"

    class Doubled(InlineWorkers):
        """Begins when the same run is begun once more."""

        def __init__(self, n: int | None, job: bytes) -> None:
            super().__init__(n, job)
            with pytest.raises(RequestError, match="another run writes it; wait for its end"):
                fill(bundle, out)

    monkeypatch.setattr(batch, "LocalWorkers", Doubled)
    assert fill(bundle, out).parts == 31


def test_a_state_that_the_bundle_has_lost(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Path(shutil.copytree(bundle, tmp_path / "bundle"))

    class Late(InlineWorkers):
        """Begins after the bundle has lost the version that the driver saw."""

        def __init__(self, n: int | None, job: bytes) -> None:
            super().__init__(n, job)
            shutil.rmtree(own / "000001")

    monkeypatch.setattr(batch, "LocalWorkers", Late)
    with pytest.raises(MultirecallError, match="has no version '000001'"):
        fill(own, tmp_path / "out")


def test_a_path_that_fails_for_some_is_told(tmp_path: Path, inline: None, caplog: pytest.LogCaptureFixture) -> None:
    bundle = make_bundle(tmp_path / "bundle", "popularity", Raises)
    caplog.set_level(logging.WARNING)
    with pytest.raises(UntrustedPlugin):
        fill(bundle, tmp_path / "out")
    fill(bundle, tmp_path / "out", plugins=[Raises])
    told = [one for one in caplog.messages if "parquet: path 'Raises'" in one]
    assert len(told) == 1

"""The request log: what stands in it is what was answered, and nobody waits for it."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from logged import PATHS, frame_of, logging, shop_engine
from patience import eventually
from typer.testing import CliRunner

from multirecall import Dataset, Engine, User
from multirecall.chance import share_of
from multirecall.cli import app
from multirecall.engine.variants import Interleaving
from multirecall.errors import ConfigError, DataError
from multirecall.monitoring.request_log import LogSettings, RequestLog, UserNames, forget
from multirecall.monitoring.request_log.layout import day_folder, days_of, remove_old
from multirecall.monitoring.request_log.parts import flat
from multirecall.monitoring.request_log.table_reader import TableReader
from multirecall.online import Exploration
from multirecall.testing import small_shop

SALT = "a salt that nobody guesses"


def has_written(log: RequestLog, rows: int) -> bool:
    return log.health.written == rows


@pytest.fixture(scope="module")
def engine() -> Engine:
    return shop_engine()


def test_a_row_is_what_was_asked_and_answered(engine: Engine, tmp_path: Path) -> None:
    with logging(engine, tmp_path) as log:
        answer = engine.retrieve(3, 9, exclude=[4, 999], where={"group": "odd"}, request_id="first")
        trace = engine.trace(3, 9, exclude=[4], where={"group": "odd"})
    assert (log.health.seen, log.health.written) == (1, 1)
    (row,) = frame_of(tmp_path).to_dicts()
    assert (row["id"], row["call"], row["user"], row["k"], row["known"]) == ("first", "retrieve", "3", 9, True)
    assert abs(row["time"] - datetime.now(UTC)) < timedelta(minutes=5)
    assert row["items"] == answer.ids.tolist(), "the ids of this shop are its rows"
    assert row["scores"] == answer.scores.tolist()
    assert np.reshape(row["ranks"], (-1, len(PATHS))).tolist() == answer.ranks.tolist()
    history = engine.data.history(engine.data.users.ids.row(3)).items
    assert row["length"] == history.size
    assert row["excluded"] == sorted({*history.tolist(), 4})
    assert row["asked"] == '{"exclude": [4, 999], "where": {"group": "odd"}}'
    assert row["where"] == '{"group": ["odd"]}'
    assert (row["seen"], row["cached"], row["salt"], row["propensity"]) == (False, False, None, None)
    assert [one["path"] for one in row["paths"]] == list(PATHS)
    for path in row["paths"]:
        assert path["items"] == trace.lists[path["path"]].items.tolist()
        assert (path["state"], path["quota"]) == ("ok", 12)


def test_users_of_a_batch_visitors_and_similar_items(engine: Engine, tmp_path: Path) -> None:
    with logging(engine, tmp_path):
        batch = engine.retrieve_batch([5, User(history=[8]), 777], 6, request_id="many")
        alike = engine.similar(2, 5, request_id="alike")
    rows = frame_of(tmp_path).to_dicts()
    assert [row["id"] for row in rows] == ["many/0", "many/1", "many/2", "alike"]
    assert [row["user"] for row in rows] == ["5", None, "777", None]
    assert [row["visitor"] for row in rows] == [False, True, False, False]
    assert [row["known"] for row in rows] == [True, False, False, True]
    assert [row["item"] for row in rows] == [None, None, None, 2]
    for row, own in zip(rows, [*batch, alike], strict=True):
        assert row["items"] == own.ids.tolist()
        assert row["scores"] == own.scores.tolist()
        assert row["n_backfilled"] == own.n_backfilled


def test_the_id_of_a_request_decides_whether_it_is_kept(engine: Engine, tmp_path: Path) -> None:
    ids = [f"request {number}" for number in range(60)]
    for process in ("one", "other"):
        with logging(engine, tmp_path / process, share=0.3) as log:
            for one in ids:
                engine.retrieve(1, 3, request_id=one)
            engine.retrieve_batch([1] * 40, 3, request_id="batch")
        assert log.health.seen == 40 + sum(share_of(one, "log") < 0.3 for one in ids)
    kept = {f"batch/{number}" for number in range(40)} | set(ids)
    kept = {one for one in kept if share_of(one, "log") < 0.3}
    assert 10 < len(kept) < 50
    for process in ("one", "other"):
        assert set(frame_of(tmp_path / process)["id"]) == kept


def test_chance_is_kept_with_what_it_decided(engine: Engine, tmp_path: Path) -> None:
    class Everyone:
        def choose(self, user: Any, context: Any, request_id: str) -> str:
            return "both"

    with logging(engine, tmp_path):
        engine.use_exploration(Exploration(slots=3, share=0.5))
        explored = [engine.retrieve(user, 8, request_id=f"e{user}") for user in range(10)]
        engine.use_exploration(None)
        engine.use_variants(Everyone(), {"both": Interleaving(engine.config, engine.config)})
        mixed = engine.retrieve(4, 8, request_id="mixed")
        engine.use_variants(None)
    rows = frame_of(tmp_path).to_dicts()
    for row, answer in zip(rows, [*explored, mixed], strict=True):
        assert answer.draw is not None
        np.testing.assert_array_equal(row["propensity"], answer.draw.propensity)
        assert row["place"] == answer.draw.place.tolist()
        assert row["team"] == answer.draw.team.tolist()
    assert [row["variant"] for row in rows] == [None] * 10 + ["both"]
    configs = [TableReader(tmp_path).config(row["config"]) for row in rows]
    assert configs[0].exploration == Exploration(slots=3, share=0.5)
    assert configs[0].teams is None
    assert configs[-1].teams is not None


def test_items_that_join_later_are_appended_to_the_table(tmp_path: Path) -> None:
    engine = shop_engine(small_shop("str"))
    with logging(engine, tmp_path, part_mib=1e-6) as log:  # each answer is a part
        for number in range(3):
            engine.add_interactions([{"user_id": "u3", "item_id": f"new{number}", "timestamp": 1_707_776_000 + number}])
            engine.retrieve("u3", 5)
            eventually(partial(has_written, log, number + 1))
    tails = sorted(tmp_path.glob("items/*/*/*.parquet"))
    assert [tail.name for tail in tails] == [f"{n:09d}-{n + 1:09d}.parquet" for n in range(3)]
    frame = frame_of(tmp_path)
    last = frame.row(2, named=True)
    ids = TableReader(tmp_path).ids(last["catalogue"], last["late"])
    assert ids.tolist() == engine.data.items.ids.ids().tolist()
    assert frame["n_items"].to_list() == [66, 67, 68]
    assert frame["catalogue"].n_unique() == frame["late"].n_unique() == 1


def test_catalogues_with_other_pasts_do_not_mix(tmp_path: Path) -> None:
    """Two engines of the same fit, each with a new item of its own, write into one log."""
    first, second = shop_engine(), shop_engine()
    with logging(first, tmp_path) as log:
        end = second.observe(log)
        for engine, item in ((first, 900), (second, 901), (first, 902)):
            engine.add_interactions([{"user_id": 3, "item_id": item, "timestamp": 1_707_776_000}])
            engine.retrieve(3, 5, request_id=str(item))
            eventually(lambda: log.health.waiting)
        end()
    reader = TableReader(tmp_path)
    rows = {row["id"]: row for row in frame_of(tmp_path).to_dicts()}
    ids = {name: reader.ids(row["catalogue"], row["late"])[65 : row["n_items"]] for name, row in rows.items()}
    assert {name: own.tolist() for name, own in ids.items()} == {"900": [900], "901": [901], "902": [900, 902]}
    assert len({row["catalogue"] for row in rows.values()}) == 1


def test_a_refit_is_another_catalogue(tmp_path: Path) -> None:
    engine = shop_engine()
    with logging(engine, tmp_path):
        engine.retrieve(1, 5)
        engine.add_interactions([{"user_id": 1, "item_id": -4, "timestamp": 1_707_776_000}])
        engine.refresh().result()
        engine.retrieve(1, 5)
    frame, reader = frame_of(tmp_path), TableReader(tmp_path)
    old, new = (reader.ids(row["catalogue"], row["late"]) for row in frame.to_dicts())
    assert (old.size, new.size) == (65, 66)
    assert new[0] == -4


def test_users_are_hashed_under_a_salt_that_stands_nowhere(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MULTIRECALL_LOG_SALT", SALT)
    with logging(engine, tmp_path, hash_users=True) as log:
        engine.retrieve(31, 5)
        engine.retrieve(User(), 5)
    names = UserNames.of_environment("MULTIRECALL_LOG_SALT")
    frame = frame_of(tmp_path)
    assert frame["user"].to_list() == [names.name(31), None]
    assert frame["salt"].to_list() == [names.salt, None]
    assert names.name(31) != names.name(32)
    assert SALT not in repr(log._settings) + repr(names)
    assert not any(SALT.encode() in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


@pytest.mark.parametrize("salt", [None, "short"])
def test_a_salt_that_is_missing_or_weak_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, salt: str | None
) -> None:
    monkeypatch.delenv("OUR_SALT", raising=False)
    if salt is not None:
        monkeypatch.setenv("OUR_SALT", salt)
    with pytest.raises(ConfigError, match="environment variable OUR_SALT") as refused:
        RequestLog(LogSettings(folder=tmp_path, hash_users=True, salt_env="OUR_SALT"))
    assert salt is None or salt not in str(refused.value)


def test_a_forgotten_user_has_no_row_left(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with logging(engine, tmp_path):
        engine.retrieve_batch([7, 8, 7], 4)
        engine.retrieve(7, 4)
    monkeypatch.setenv("MULTIRECALL_LOG_SALT", SALT)
    with logging(engine, tmp_path, hash_users=True):
        engine.retrieve(7, 4)  # a part with no other row
    salted = UserNames.of_environment("MULTIRECALL_LOG_SALT")
    with pytest.raises(ConfigError, match="hashed under a salt that is not given"):
        forget(tmp_path, 7)
    assert frame_of(tmp_path).height == 5
    before = frame_of(tmp_path)
    assert forget(tmp_path, 7, [salted]) == 4
    assert frame_of(tmp_path).equals(before.filter(pl.col("user") == "8"))
    assert forget(tmp_path, 7, [salted]) == 0


def test_days_that_are_too_old_go_with_the_tables_that_only_they_needed(engine: Engine, tmp_path: Path) -> None:
    with logging(engine, tmp_path):
        engine.retrieve(1, 4)
    ((today, home),) = days_of(tmp_path)
    for days in (1, 2, 3):
        (day_folder(tmp_path, today - timedelta(days=days))).mkdir()
    for name, days in (("new", 1), ("old", 3)):
        table = tmp_path / "items" / name
        table.mkdir()
        os.utime(table, ((moment := datetime.now(UTC) - timedelta(days=days)).timestamp(),) * 2)
        config = tmp_path / "configs" / f"{name}.json"
        config.write_text("{}")
        os.utime(config, (moment.timestamp(),) * 2)
    assert remove_old(tmp_path, 2, today) == 1
    assert [day for day, _ in days_of(tmp_path)] == [today - timedelta(days=days) for days in (2, 1, 0)]
    assert home.is_dir()
    assert {one.name for one in (tmp_path / "items").iterdir()} >= {"new"}
    assert not (tmp_path / "items" / "old").exists()
    assert not (tmp_path / "configs" / "old.json").exists()
    assert len([*(tmp_path / "configs").iterdir()]) == 2
    for row in frame_of(tmp_path).to_dicts():
        assert TableReader(tmp_path).ids(row["catalogue"], row["late"]).size == 65


def test_a_log_removes_old_days_when_it_begins(engine: Engine, tmp_path: Path) -> None:
    old = day_folder(tmp_path, date(2020, 1, 1))
    old.mkdir(parents=True)
    with logging(engine, tmp_path, retention_days=7):
        assert not old.exists()


def test_what_a_killed_process_leaves_is_no_part(engine: Engine, tmp_path: Path) -> None:
    with logging(engine, tmp_path):
        engine.retrieve(1, 4)
    (part,) = tmp_path.glob("day=*/*.parquet")
    part.with_name(f".{part.name}.0badcafe.draft").write_bytes(part.read_bytes()[:100])
    assert frame_of(tmp_path).height == 1
    torn = part.with_name("9-9-9.parquet")
    torn.write_bytes(part.read_bytes()[:100])
    with pytest.raises(DataError, match=r"9-9-9\.parquet: cannot be read .*; move it away"):
        frame_of(tmp_path)


def test_a_folder_that_holds_no_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no request log"):
        frame_of(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"log\.folder"):
        RequestLog(LogSettings(folder=tmp_path / "file"))


def test_what_there_is_no_room_for_is_dropped_and_counted(engine: Engine, tmp_path: Path) -> None:
    with logging(engine, tmp_path, waiting_mib=0.01) as log:
        for _ in range(20):
            engine.retrieve(1, 4)
        eventually(lambda: log.health.seen == 20)
        assert log.health.dropped > 0
    health = log.health
    assert health.written + health.dropped == 20
    assert frame_of(tmp_path).height == health.written > 0


def test_a_disk_that_fails_loses_rows_and_nothing_else(
    engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with logging(engine, tmp_path, part_mib=1e-6) as log:
        (tmp_path / "items").touch()  # where a folder must be
        engine.retrieve(1, 4)
        eventually(lambda: log.health.lost == 1)
        assert "Exists" in str(log.health.fault) or "Not" in str(log.health.fault)
        (tmp_path / "items").unlink()
        engine.retrieve(1, 4)
    assert (log.health.written, log.health.lost) == (1, 1)
    assert frame_of(tmp_path).height == 1
    assert sum("rows are lost" in message for message in caplog.messages) == 1


def test_rows_come_to_the_disk_after_a_while(engine: Engine, tmp_path: Path) -> None:
    with logging(engine, tmp_path, part_s=0.05) as log:
        engine.retrieve(1, 4)
        eventually(lambda: log.health.written == 1)
        engine.retrieve(1, 4)
        eventually(lambda: log.health.written == 2)
    assert len([*tmp_path.glob("day=*/*.parquet")]) == 2


def test_several_processes_write_into_one_folder(engine: Engine, tmp_path: Path) -> None:
    with logging(engine, tmp_path), logging(engine, tmp_path):
        engine.retrieve(1, 4, request_id="same")
    assert frame_of(tmp_path)["id"].to_list() == ["same", "same"]
    assert len([*tmp_path.glob("items/*")]) == len([*tmp_path.glob("configs/*")]) == 1


def test_a_log_that_is_closed_takes_nothing_more(engine: Engine, tmp_path: Path) -> None:
    log = RequestLog(LogSettings(folder=tmp_path, share=1.0))
    log.close()
    log.close()
    end = engine.observe(log)
    engine.retrieve(1, 4)
    eventually(lambda: log.health.dropped == 1)
    end()


def test_lists_are_read_flat() -> None:
    lists = pl.Series([[1, 2], None, [], [3]], dtype=pl.List(pl.Int32))
    offsets, values = flat(lists)
    assert offsets.tolist() == [0, 2, 2, 2, 3]
    assert values.tolist() == [1, 2, 3]


def test_equal_ids_have_one_table_whatever_their_width(tmp_path: Path) -> None:
    for width in (np.int16, np.int64):
        log = pl.DataFrame({"user_id": [1, 1, 2, 3], "item_id": np.array([4, 5, 4, 6], width)})
        with logging(shop_engine(Dataset.from_frames(log)), tmp_path):
            shop = shop_engine(Dataset.from_frames(log))
            with logging(shop, tmp_path):
                shop.retrieve(1, 2)
    assert len([*tmp_path.glob("items/*")]) == 1


def test_the_command_forgets(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUR_SALT", SALT)
    with logging(engine, tmp_path, hash_users=True, salt_env="OUR_SALT"):
        engine.retrieve_batch([7, 8], 4)
    run = CliRunner()
    refused = run.invoke(app, ["monitoring", "forget", "7", str(tmp_path)])
    assert "name its variable with --salt-env" in str(refused.exception)
    done = run.invoke(app, ["monitoring", "forget", "7", str(tmp_path), "--salt-env", "OUR_SALT"])
    assert done.output == "1 rows removed\n"
    assert frame_of(tmp_path).height == 1

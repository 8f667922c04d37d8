"""Exports that overlap: what the engine has already does not count twice, and removed items stay removed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multirecall import Dataset, Engine, EngineConfig, PathConfig
from multirecall.data import DataConfig
from multirecall.data.read_change import read_change
from multirecall.errors import DataError
from multirecall.monitoring.refresh.events import Intake, take_in, without_known

CONFIG = EngineConfig(paths=(PathConfig(retriever="popularity"),))
NOW = 1_700_000_000

Event = tuple[str, str, float, float]
EVENTS = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.sampled_from("xy"),
        st.sampled_from([NOW + 0.0, NOW + 0.25, NOW + 1.0]),
        st.sampled_from([1.0, 2.0]),
    ),
    min_size=1,
    max_size=12,
)


def frame_of(events: list[Event]) -> pl.DataFrame:
    names = ("user_id", "item_id", "timestamp", "weight")
    return pl.DataFrame({name: [event[at] for event in events] for at, name in enumerate(names)})


def events_of(data: Dataset) -> Counter[Event]:
    log = data.undecayed
    assert log.times is not None
    micros = log.times * 0 if log.micros is None else log.micros
    users, items = data.users.ids.ids(log.users), data.items.ids.ids(log.items)
    times = (log.times + micros / 1e6).tolist()
    return Counter(zip(users.tolist(), items.tolist(), times, log.weights.tolist(), strict=True))


@given(EVENTS, EVENTS, EVENTS)
def test_of_equal_events_as_many_count_as_the_fullest_export_has(
    base: list[Event], first: list[Event], second: list[Event]
) -> None:
    data = Dataset.from_frames(frame_of(base))
    for export in (first, second, first):
        data = with_export(data, export)
    assert events_of(data) == Counter(base) | Counter(first) | Counter(second)


def with_export(data: Dataset, export: list[Event]) -> Dataset:
    from multirecall.data.apply import apply_change

    return apply_change(data, without_known(data, read_change(data, "add_interactions", frame_of(export)))).data


def test_positions_tell_events_apart_and_logs_without_times_are_compared_too() -> None:
    base = pl.DataFrame({"user_id": [1, 1], "item_id": [5, 5], "position": [0, 1]})
    data = Dataset.from_frames(base)
    later = pl.DataFrame({"user_id": [1, 1, 2], "item_id": [5, 5, 5], "position": [1, 2, 1]})
    fresh = without_known(data, read_change(data, "add_interactions", later))
    assert fresh.frame.rows() == [(1, 5, 2), (2, 5, 1)]


def test_event_weights_are_compared_as_they_count() -> None:
    config = DataConfig(event_weights={"buy": 3.0})
    log = pl.DataFrame(
        {"user_id": ["a", "a"], "item_id": ["x", "x"], "timestamp": [NOW, NOW], "event": ["view", "buy"]}
    )
    data = Dataset.from_frames(log, config=config)
    again = pl.concat([log, log[1:]])
    assert without_known(data, read_change(data, "add_interactions", again)).frame["weight"].to_list() == [3.0]


@pytest.fixture
def engine() -> Engine:
    log = pl.DataFrame({"user_id": ["a", "b", "a"], "item_id": ["x", "x", "y"], "timestamp": [NOW, NOW + 1, NOW + 2]})
    items = pl.DataFrame({"item_id": ["x", "y"], "colour": ["red", "blue"]})
    return Engine(CONFIG).fit(Dataset.from_frames(log, items, kinds={"colour": "categorical"}))


def test_each_file_is_an_export_of_its_own(engine: Engine, tmp_path: Path) -> None:
    rows = [{"user_id": user, "item_id": "y", "timestamp": NOW + at} for user, at in (("b", 3), ("c", 4), ("c", 4))]
    pl.DataFrame(rows[:2]).write_csv(tmp_path / "day-1.csv")
    pl.DataFrame(rows).write_parquet(tmp_path / "day-2.parquet")
    known = pl.DataFrame({"user_id": ["a"], "item_id": ["x"], "timestamp": [NOW]})
    intake, taken = take_in(engine, [str(tmp_path / "day-*"), known], None)
    assert intake == Intake(events=6, known=3)
    assert [change.frame.height for change in taken] == [2, 1, 0]
    assert engine.data.n_events == 6


def test_an_item_table_updates_and_adds_but_revives_nothing(engine: Engine) -> None:
    engine.remove_items(["y"])
    table = pl.DataFrame({"item_id": ["x", "y", "z"], "colour": ["green", "black", "white"]})
    intake, _ = take_in(engine, None, table)
    assert intake == Intake(new_items=1, updated_items=2)
    shown = set(engine.retrieve("stranger").ids.tolist())
    assert shown == {"x", "z"}
    colour = engine.data.items.features["colour"]
    assert [colour.value(engine.data.items.ids.row(item)) for item in "xyz"] == ["green", "black", "white"]


def test_a_file_of_text_is_read_in_the_types_of_the_engine(tmp_path: Path) -> None:
    log = pl.DataFrame({"user_id": [1, 2, 1], "item_id": [7, 7, 8], "timestamp": [NOW, NOW + 1, NOW + 2]})
    items = pl.DataFrame({"item_id": [7, 8], "shelf": [3, 4], "price": [1.5, 2.5]})
    data = Dataset.from_frames(log, items, kinds={"shelf": "categorical"})
    (tmp_path / "events.csv").write_text(f"user_id,item_id,timestamp\n1,7,{NOW}\n3,9,{NOW + 5}\n")
    (tmp_path / "items.csv").write_text("item_id,shelf,price\n8,5,9.75\n")
    with Engine(CONFIG).fit(data) as engine:
        intake, _ = take_in(engine, tmp_path / "events.csv", tmp_path / "items.csv")
        assert intake == Intake(events=2, known=1, updated_items=1)
        row = engine.data.items.ids.row(8)
        features = engine.data.items.features
        assert (features["shelf"].value(row), features["price"].value(row)) == (5, 9.75)
        (tmp_path / "events.csv").write_text(f"user_id,item_id,timestamp\nabc,7,{NOW}\n")
        with pytest.raises(DataError, match=r"events\.csv: column 'user_id', row 0 .*'abc' is not an integer"):
            take_in(engine, tmp_path / "events.csv", None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("user_id,item_id,timestamp\na,x,soon\n", r"events-3\.csv: column 'timestamp', row 0"),
        ("user_id,timestamp\na,5\n", r"events-3\.csv: column 'item_id' is missing"),
        ("user_id,item_id\na,x\n", r"events-3\.csv: column 'timestamp' is missing, but the log has it"),
    ],
    ids=["bad-cell", "no-item", "no-time"],
)
def test_a_faulty_file_is_named(engine: Engine, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "events-3.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        take_in(engine, str(tmp_path / "events-3.csv"), None)
    assert engine.data.n_events == 3


def test_nothing_given_changes_nothing(engine: Engine) -> None:
    before: Any = engine.data
    assert take_in(engine, None, None) == (Intake(), [])
    assert take_in(engine, pl.DataFrame({"user_id": [], "item_id": []}), None)[0] == Intake()
    assert engine.data is before

"""A few plain events are read without polars; whatever is read so equals what the full reading gives."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multirecall import Dataset
from multirecall.data import read_change as read_change_module
from multirecall.data.read_change import read_change
from multirecall.data.read_few import FEW, read_few_events
from multirecall.errors import MultirecallError

IDS = st.sampled_from(["a", "b", "new", "", 1, 2, "x\0", "x" * 257, "\u00e9", None, True, 2**70])
TIMES = st.sampled_from([1_700_000_000, 1_700_000_001, -5, 20_260_131, 2**50, 1.5, "2026-01-01", None, True])
WEIGHTS = st.sampled_from([1, 0, 2.5, -1.0, float("nan"), float("inf"), 2e9, "3", None, True])
EVENTS = st.sampled_from(["view", "buy", "other", "", "\u00e9", None, 3])
PLAIN = {
    "user_id": st.sampled_from(["a", "b", "new"]),
    "item_id": st.sampled_from(["a", "c", "other"]),
    "timestamp": st.sampled_from([1_700_000_000, 1_700_000_001, -5]),
    "event": st.sampled_from(["view", "buy", "other"]),
    "weight": st.sampled_from([1.0, 2.5, 0.0]),
}
ODD = {"user_id": IDS, "item_id": IDS, "timestamp": TIMES, "event": EVENTS, "weight": WEIGHTS, "colour": st.just("red")}


def dataset(text: bool, timed: bool, weighted: bool) -> Dataset:
    ids = ["a", "b"] if text else [1, 2]
    log = pl.DataFrame({"user_id": ids, "item_id": ids, "event": ["view", "buy"]})
    if timed:
        log = log.with_columns(timestamp=pl.Series([1_600_000_000, 1_700_000_000]))
    return Dataset.from_frames(log, event_weights={"buy": 5.0, "view": 1.0} if weighted else None)


DATA = {
    (text, timed, weighted): dataset(text, timed, weighted)
    for text in (True, False)
    for timed in (True, False)
    for weighted in (True, False)
}


def outcome(data: Dataset, rows: Any) -> Any:
    try:
        change = read_change(data, "add_interactions", rows)
    except MultirecallError as fault:
        return type(fault), str(fault)
    return change.frame.schema, change.frame.to_dict(as_series=False), change.notes


@settings(max_examples=300)
@given(
    shape=st.sampled_from([*DATA]),
    rows=st.one_of(
        st.lists(st.fixed_dictionaries({}, optional=ODD), min_size=1, max_size=3),
        st.lists(st.fixed_dictionaries(PLAIN), min_size=1, max_size=3),
        st.sets(st.sampled_from([*PLAIN]), min_size=2).flatmap(
            lambda names: st.lists(
                st.fixed_dictionaries({name: st.one_of(PLAIN[name], ODD[name]) for name in PLAIN if name in names}),
                min_size=1,
                max_size=3,
            )
        ),
    ),
)
def test_equals_the_full_reading(shape: tuple[bool, bool, bool], rows: list[dict[str, Any]]) -> None:
    data = DATA[shape]
    found = outcome(data, rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(read_change_module, "read_few_events", lambda data, rows: None)
        assert found == outcome(data, rows)


def test_plain_rows_are_read_so_and_others_are_not() -> None:
    rows = [{"user_id": "a", "item_id": "new", "timestamp": 1_700_000_000, "event": "buy"}]
    read = read_few_events(DATA[True, True, True], rows)
    assert read is not None
    assert read.rows() == [("a", "new", 1_700_000_000_000_000, 5.0)]
    assert read_few_events(DATA[True, True, True], rows * (FEW + 1)) is None
    assert read_few_events(DATA[True, True, True], pl.DataFrame(rows)) is None
    assert read_few_events(DATA[False, True, True], rows) is None

"""Live changes: after any sequence of them a dataset is what a load of all the data would give."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from multirecall.data import Change, ChangeKind, Dataset
from multirecall.data import log as event_log
from multirecall.data.apply import apply_change
from multirecall.data.read_change import read_change
from multirecall.errors import BundleError, DataError, IdTypeError
from multirecall.evaluation.splits import time_split
from multirecall.testing import small_shop

KINDS = {"colour": "categorical", "size": "categorical", "tags": "list", "price": "number", "since": "datetime"}
FIELDS: dict[str, Any] = {
    "colour": st.sampled_from(["red", "green", "blue", None]),
    "size": st.sampled_from([1, 2, 40, None]),
    "tags": st.lists(st.sampled_from(["x", "y", "z"]), max_size=3),
    "price": st.sampled_from([1.5, 2.0, None]),
    "since": st.sampled_from([datetime(2026, 1, 1), datetime(2026, 1, 2, 3), None]),
    "title": st.sampled_from(["a few words", "Ünïcode", None]),
}
SCHEMA: dict[str, Any] = {
    "colour": pl.String,
    "size": pl.Int64,
    "tags": pl.List(pl.String),
    "price": pl.Float64,
    "since": pl.Datetime("us"),
    "title": pl.String,
}
COLUMNS: dict[str, Any] = {
    "timestamp": st.integers(0, 6).map(lambda half: datetime(2026, 1, 1, 0, 0, half // 2, half % 2 * 500_000)),
    "position": st.integers(0, 2),
    "weight": st.sampled_from([0.0, 1.0, 2.5]),
    "event": st.sampled_from(["buy", "view", None]),
}
EVENT_SCHEMA: dict[str, Any] = {
    "timestamp": pl.Datetime("us"),
    "position": pl.Int64,
    "weight": pl.Float64,
    "event": pl.String,
}


class World:
    """The frames of a shop, and the plain dictionaries to which every change is applied as well."""

    def __init__(self, draw: Any) -> None:
        self.as_text = draw(st.booleans())
        self.columns = draw(st.sets(st.sampled_from([*COLUMNS]))) - {"event"}
        self.options: dict[str, Any] = {"kinds": {**KINDS, "title": "text"}}
        if draw(st.booleans()):
            self.columns |= {"event"}
            self.options["event_weights"] = {"buy": 5.0, "view": 0.25}
        if "timestamp" in self.columns and draw(st.booleans()):
            self.options["half_life_days"] = 1e-5
        self.names = ["user_id", "item_id", *(name for name in COLUMNS if name in self.columns)]
        self.events = draw(self.some_events(min_size=1))
        self.items = draw(self.some_items(6))
        self.removed: set[Any] = set()

    def id(self, number: int) -> Any:
        return "i" * (1 + number // 4) + str(number) if self.as_text else number

    def some_events(self, min_size: int) -> st.SearchStrategy[list[dict[str, Any]]]:
        ids = st.integers(0, 9).map(self.id)
        own = {name: COLUMNS[name] for name in self.names[2:]}
        return st.lists(st.fixed_dictionaries({"user_id": ids, "item_id": ids, **own}), min_size=min_size, max_size=8)

    def some_items(self, n_ids: int) -> st.SearchStrategy[dict[Any, dict[str, Any]]]:
        ids = st.integers(0, n_ids).map(self.id)
        return st.dictionaries(ids, st.fixed_dictionaries(FIELDS), max_size=4)

    def event_frame(self, events: list[dict[str, Any]]) -> pl.DataFrame:
        id_type: Any = pl.String if self.as_text else pl.Int64
        schema: dict[str, Any] = {name: EVENT_SCHEMA.get(name, id_type) for name in self.names}
        return pl.DataFrame(events, schema=schema, orient="row")

    def item_frame(self, items: dict[Any, dict[str, Any]], fields: list[str]) -> pl.DataFrame:
        rows = [{"item_id": id_, **{field: values[field] for field in fields}} for id_, values in items.items()]
        id_type: Any = pl.String if self.as_text else pl.Int64
        return pl.DataFrame(rows, schema={"item_id": id_type, **{field: SCHEMA[field] for field in fields}})

    def load(self) -> Dataset:
        items = self.item_frame(self.items, [*FIELDS])
        return Dataset.from_frames(self.event_frame(self.events), items, **self.options)

    @property
    def item_ids(self) -> list[Any]:
        return sorted({event["item_id"] for event in self.events} | self.items.keys())

    def draw_change(self, draw: Any, data: Dataset) -> Change:
        kind: ChangeKind = draw(
            st.sampled_from(
                ["add_interactions"] * 4
                + ["add_items", "update_items", "remove_items", "remove_interactions", "remove_users"]
            )
        )
        if kind == "remove_users":
            forgotten = draw(st.lists(st.integers(0, 11).map(self.id), max_size=3))
            self.events = [event for event in self.events if event["user_id"] not in forgotten]
            return read_change(data, kind, forgotten)
        if kind == "remove_interactions":
            return read_change(data, kind, self.draw_removals(draw))
        if kind == "add_interactions":
            events = draw(self.some_events(min_size=0))
            self.events += events
            return read_change(data, kind, self.event_frame(events))
        if kind == "remove_items":
            gone = draw(st.lists(st.sampled_from(self.item_ids), max_size=4))
            self.removed |= {*gone}
            return read_change(data, kind, gone)
        fields = sorted(draw(st.sets(st.sampled_from([*FIELDS]))))
        items = draw(self.some_items(9))
        if kind == "update_items":
            items = {id_: values for id_, values in items.items() if id_ in self.item_ids}
        for id_, values in items.items():
            before = self.items.get(id_, dict.fromkeys(FIELDS) | {"tags": []})
            self.items[id_] = before | {field: values[field] for field in fields}
        if kind == "add_items":
            self.removed -= items.keys()
        return read_change(data, kind, self.item_frame(items, fields))

    def draw_removals(self, draw: Any) -> pl.DataFrame:
        """Some events that are in the log and some that are not, by ids and the other columns that identify events."""
        some = draw(st.lists(st.sampled_from(self.events), max_size=3)) if self.events else []
        given = [*some, *draw(self.some_events(min_size=0))[:2]]
        names = ["user_id", "item_id", *draw(st.sets(st.sampled_from(["timestamp", "position"])) if self.names else [])]
        names = [name for name in names if name in self.names]
        keys = [[event[name] for name in names] for event in given]
        self.events = [event for event in self.events if [event[name] for name in names] not in keys]
        return self.event_frame(given).select(names)


def assert_same(ours: Dataset, fresh: Dataset) -> None:
    for field in ("users", "items", "times", "micros", "positions"):
        assert_same_array(getattr(ours.interactions, field), getattr(fresh.interactions, field))
    assert_allclose(ours.interactions.weights, fresh.interactions.weights, rtol=1e-5)
    assert ours.interactions.weights.dtype == np.float32
    assert ours.interactions.ordered == fresh.interactions.ordered
    assert (ours.n_users, ours.n_items, ours.n_events) == (fresh.n_users, fresh.n_items, fresh.n_events)
    assert ours.now == fresh.now
    for mine, theirs in ((ours.users, fresh.users), (ours.items, fresh.items)):
        assert_same_array(mine.ids.ids(), theirs.ids.ids())
        assert_same_array(mine.listed, theirs.listed)
        assert [*mine.features] == [*theirs.features]
        for column, other in zip(mine.features.values(), theirs.features.values(), strict=True):
            for array, other_array in zip(column.arrays().values(), other.arrays().values(), strict=True):
                if len(array):
                    assert_same_array(array, other_array)


def assert_same_array(ours: Any, theirs: Any) -> None:
    assert (ours is None) == (theirs is None)
    if theirs is not None:
        assert ours.dtype == theirs.dtype
        assert_array_equal(ours, theirs)


def assert_same_histories(ours: Dataset, fresh: Dataset) -> None:
    assert ours.history(-1).items.size == 0
    for row in range(ours.n_users):
        if row in ours.users.ids.gone:
            assert not ours.history(row).items.size
            continue
        other = fresh.users.ids.row(ours.users.ids.id(row))
        history, expected = ours.history(row), fresh.history(other)
        assert ours.items.ids.ids(history.items).tolist() == fresh.items.ids.ids(expected.items).tolist()
        assert_same_array(history.times, expected.times)
        assert_allclose(history.weights, expected.weights, rtol=1e-5)
        stored = ours.interactions.of_user(row)
        assert_same_array(history.items, ours.interactions.items[stored])
        assert_allclose(history.weights, ours.interactions.weights[stored], rtol=1e-5)


def assert_same_items(ours: Dataset, fresh: Dataset, removed: set[Any]) -> None:
    for row in range(ours.n_items):
        id_ = ours.items.ids.id(row)
        assert ours.items.values(row) == fresh.items.values(fresh.items.ids.row(id_))
        assert (ours.removed is not None and ours.removed[row]) == (id_ in removed)
    assert ours.n_live == ours.n_items - len(removed)


@settings(max_examples=40, phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink])
@given(st.data())
def test_any_sequence_of_changes_is_a_load_of_all_data(drawn: st.DataObject) -> None:
    world = World(drawn.draw)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_log, "GROWTH", drawn.draw(st.sampled_from([0, 1, 2, 32]), label="growth"))
        data = world.load()
        for _ in range(drawn.draw(st.integers(1, 6), label="changes")):
            change = world.draw_change(drawn.draw, data)
            data = apply_change(data, Change.of_bytes(change.to_bytes())).data
            if drawn.draw(st.integers(0, 5), label="refreshed") == 5:
                data = data.compact()
        assume(world.events and world.removed <= {*world.item_ids})
        fresh = world.load()
        assert_same_histories(data, fresh)
        assert_same_items(data, fresh, world.removed)
        assert_same(data.compact(), fresh)


LOG = pl.DataFrame({"user_id": [1, 1, 2], "item_id": ["a", "b", "a"], "timestamp": [10, 20, 30]})
ITEMS = pl.DataFrame(
    {
        "item_id": ["a", "c"],
        "colour": ["red", "blue"],
        "price": [1.0, 2.0],
        "tags": [["x"], ["y", "z"]],
        "since": ["2026-01-01", None],
    }
)


@pytest.fixture
def shop() -> Dataset:
    return Dataset.from_frames(LOG, ITEMS, kinds={"since": "datetime"})


def apply(data: Dataset, kind: ChangeKind, frame: Any) -> Dataset:
    return apply_change(data, read_change(data, kind, frame)).data


def test_events_join_and_the_old_dataset_stays(shop: Dataset) -> None:
    event = {"user_id": 9, "item_id": "longer than any", "timestamp": 15, "weight": 2}
    changes = apply_change(
        shop, read_change(shop, "add_interactions", [event, {**event, "user_id": 1, "item_id": "a"}])
    )
    data = changes.data
    assert changes.data is data
    assert (changes.users.tolist(), changes.items.tolist(), changes.touched.tolist()) == ([2, 0], [3, 0], [3])
    assert (changes.weights.tolist(), changes.fading) == ([1.0, 2.0], 1.0) or changes.weights.tolist() == [2.0, 2.0]
    assert changes.times is not None
    assert changes.times.tolist() == [15, 15]
    assert data.history(0).items.tolist() == [0, 0, 1]
    assert data.history(2).items.tolist() == [3]
    assert data.items.values(3) == {}
    assert shop.history(0).items.tolist() == [0, 1]
    assert (shop.n_users, shop.n_items, shop.n_events) == (2, 3, 3)
    assert (data.n_users, data.n_items, data.n_events) == (3, 4, 5)


def test_what_has_not_changed_is_shared(shop: Dataset) -> None:
    data = apply(shop, "add_interactions", [{"user_id": 1, "item_id": "a", "timestamp": 15}])
    assert data.items is shop.items
    assert data.users is shop.users


def test_removed_updated_revived(shop: Dataset) -> None:
    changes = apply_change(shop, read_change(shop, "remove_items", ["c", "a", "a"]))
    data = changes.data
    assert (changes.removed.tolist(), data.n_live) == ([0, 2], 1)
    changes = apply_change(data, read_change(data, "remove_items", pl.DataFrame({"item_id": ["c"]})))
    data = changes.data
    assert changes.removed.size == 0, "it was removed before"
    changes = apply_change(data, read_change(data, "update_items", [{"item_id": "a", "price": 7}]))
    data = changes.data
    assert (changes.touched.tolist(), changes.revived.tolist(), data.n_live) == ([0], [], 1)
    assert data.items.values(0) == shop.items.values(0) | {"price": 7.0}
    data = apply(data, "add_interactions", [{"user_id": 2, "item_id": "a", "timestamp": 40}])
    assert data.n_live == 1
    assert data.history(1).items.tolist() == [0, 0]
    new = [{"item_id": "c", "tags": ["q", "y"], "colour": None}, {"item_id": "n", "tags": [], "colour": "green"}]
    changes = apply_change(data, read_change(data, "add_items", new))
    data = changes.data
    assert (changes.touched.tolist(), changes.revived.tolist(), data.n_live) == ([2, 3], [2], 3)
    assert data.items.values(2) == {"price": 2.0, "tags": ["q", "y"]}
    assert data.items.values(3) == {"colour": "green"}
    changes = apply_change(data, read_change(data, "add_items", [{"item_id": "a"}]))
    data = changes.data
    assert (changes.revived.tolist(), data.removed) == ([0], None)


def test_decay_moves_with_the_newest_event() -> None:
    data = Dataset.from_frames(LOG, half_life_days=10 / 86_400)
    changes = apply_change(
        data, read_change(data, "add_interactions", [{"user_id": 1, "item_id": "a", "timestamp": 50}])
    )
    after = changes.data
    assert (after.now, changes.fading, changes.weights.tolist()) == (50, 0.25, [1.0])
    assert after.history(0).weights.tolist() == [1 / 16, 1 / 8, 1.0]
    assert data.history(0).weights.tolist() == [1 / 4, 1 / 2]
    past = after.filter_events(np.array([True, True, False, False]))
    assert past.interactions.weights.tolist() == [1 / 2, 1.0], "as of the newest event that is left"


def test_an_event_without_position_comes_last_of_its_time() -> None:
    data = Dataset.from_frames(LOG.with_columns(position=pl.Series([0, 5, 0])))
    data = apply(data, "add_interactions", [{"user_id": 1, "item_id": "z", "timestamp": 20}])
    data = apply(data, "add_interactions", [{"user_id": 1, "item_id": "y", "timestamp": 20, "position": 4}])
    assert data.items.ids.ids(data.history(0).items).tolist() == ["a", "y", "b", "z"]


def test_columns_have_the_callers_names() -> None:
    mapping: Any = {"user_id": "customer", "timestamp": "day", "item_id": "sku"}
    names = {"user_id": "customer", "timestamp": "day", "item_id": "sku"}
    data = Dataset.from_frames(LOG.rename(names), ITEMS.rename({"item_id": "sku"}), columns=mapping)
    data = apply(
        data, "add_interactions", pl.DataFrame({"customer": [2], "sku": ["b"], "day": ["1970-01-01T00:01"]}).to_pandas()
    )
    data = apply(data, "update_items", pl.DataFrame({"sku": ["a"], "price": [9]}).to_arrow())
    data = apply(data, "remove_items", pl.DataFrame({"sku": ["b"]}))
    times = data.history(1).times
    assert times is not None
    assert times.tolist() == [30, 60]
    assert data.items.values(0)["price"] == 9.0
    assert data.removed is not None
    assert data.removed.tolist() == [False, True, False]


def test_columns_that_the_log_does_not_have_are_named_once(caplog: pytest.LogCaptureFixture) -> None:
    data = Dataset.from_frames(LOG.drop("timestamp"))
    for _ in range(2):
        data = apply(data, "add_interactions", [{"user_id": 1, "item_id": "a", "timestamp": 15, "shop": "x"}])
    assert caplog.messages == ["add_interactions: columns not used: timestamp, shop"]
    assert data.history(0).items.tolist() == [0, 1, 0, 0]


def test_nothing_changes_nothing(shop: Dataset) -> None:
    for kind in ("add_interactions", "add_items", "update_items", "remove_items"):
        change = Change.of_bytes(read_change(shop, kind, []).to_bytes())
        changes = apply_change(shop, change)
        data = changes.data
        assert data is shop
        assert changes.users.size == changes.touched.size == changes.removed.size == 0


def test_a_change_may_come_late(shop: Dataset) -> None:
    """Between reading and applying, the item may go, come back, or the rows may be numbered anew."""
    update = read_change(shop, "update_items", [{"item_id": "a", "price": 7}])
    gone = read_change(shop, "remove_items", ["a"])
    added = read_change(shop, "add_items", [{"item_id": "0", "price": 1}])
    for first in (gone, added):
        data = apply_change(shop, first).data
        after = apply_change(data.compact(), update).data
        assert after.items.values(after.items.ids.row("a"))["price"] == 7.0
        assert apply_change(after, gone).data.n_live == apply_change(after, gone).data.n_items - 1


@pytest.mark.parametrize(
    ("kind", "frame", "error", "message"),
    [
        (
            "add_interactions",
            [{"user_id": 1, "item_id": "a"}],
            DataError,
            "column 'timestamp' is missing, but the log",
        ),
        (
            "add_interactions",
            [{"item_id": "a", "timestamp": 1}],
            DataError,
            "add_interactions: column 'user_id' is miss",
        ),
        (
            "add_interactions",
            [{"user_id": "1", "item_id": "a", "timestamp": 1}],
            IdTypeError,
            "column 'user_id', row 0 (the first is 0): user ids are int, got '1' (str): pass int ids",
        ),
        (
            "add_interactions",
            [{"user_id": 1, "item_id": 7, "timestamp": 1}],
            IdTypeError,
            "add_interactions: column 'item_id', row 0 (the first is 0): item ids are str, got 7 (int): pass str ids",
        ),
        (
            "add_interactions",
            [{"user_id": 1, "item_id": "a", "timestamp": 1}, {"user_id": None, "item_id": "a", "timestamp": 1}],
            DataError,
            "add_interactions: column 'user_id', row 1 (the first is 0): the id is null",
        ),
        (
            "add_interactions",
            [{"user_id": 1, "item_id": "a", "timestamp": 1e12}],
            DataError,
            "row 0 (the first is 0): 1000000000000.0 is too large for epoch seconds",
        ),
        (
            "add_interactions",
            [{"user_id": 1}, {"user_id": "x"}],
            DataError,
            "column 'user_id', row 1 (the first is 0): 'x' is str, but 1 in an earlier row is int; give the",
        ),
        (
            "add_interactions",
            [{"user_id": [1]}, {"user_id": 1}],
            DataError,
            "add_interactions: column 'user_id', row 1 (the first is 0): 1 is int, but [1] in an earlier row is list",
        ),
        ("add_interactions", [7], DataError, "row 0 (the first is 0): got 7; pass mappings from column to value, or"),
        ("add_interactions", 7, DataError, "add_interactions: got int; pass a polars"),
        (
            "add_items",
            [{"item_id": "a", "prize": 1}],
            DataError,
            "the item table has no field 'prize'; did you mean 'pri",
        ),
        ("add_items", [{"item_id": "a"}] * 2, DataError, "row 1 (the first is 0): 'a' is in the frame twice; keep"),
        (
            "add_items",
            [{"item_id": "a", "price": "dear"}],
            DataError,
            "column 'price', row 0 (the first is 0): 'dear' is n",
        ),
        ("add_items", [{"price": 1}], DataError, "add_items: column 'item_id' is missing"),
        ("add_items", [{"item_id": 3}], IdTypeError, "item ids are str, got 3 (int): pass str ids"),
        ("add_items", [{"item_id": "a", "tags": 3}], DataError, "column 'tags' has type Int64, not a list type"),
        (
            "update_items",
            [{"item_id": "q"}],
            DataError,
            "update_items: the catalogue has no item 'q'; add_items adds new",
        ),
        (
            "remove_items",
            ["a", *"qrstuvw"],
            DataError,
            "has no item 'q', 'r', 's', 't', 'u' and 2 more; leave them out",
        ),
        ("remove_items", [3], IdTypeError, "remove_items: item ids are str, got 3 (int)"),
        ("remove_items", "a", DataError, "remove_items: got 'a'; pass a list of ids"),
        ("remove_items", pl.DataFrame({"item_id": ["q"]}), DataError, "the catalogue has no item 'q'; leave them out"),
        ("remove_item", ["a"], DataError, "change 'remove_item': did you mean 'remove_items'?"),
    ],
)
def test_faulty_changes(shop: Dataset, kind: Any, frame: Any, error: type[DataError], message: str) -> None:
    with pytest.raises(error) as fault:
        read_change(shop, kind, frame)
    assert message in str(fault.value)


def test_integer_categories_stay_integers() -> None:
    data = Dataset.from_frames(LOG, ITEMS.with_columns(colour=pl.Series([1, 2])), kinds={"colour": "categorical"})
    assert apply(data, "add_items", [{"item_id": "n", "colour": 7}]).items.values(3) == {"colour": 7}
    with pytest.raises(
        DataError, match="'red' is text, but the categories of this column are integers; cast the column"
    ):
        read_change(data, "add_items", [{"item_id": "n", "colour": "red"}])


def test_integer_ids_that_fit_no_common_type() -> None:
    data = Dataset.from_frames(pl.DataFrame({"user_id": [-1], "item_id": [1]}))
    data = apply(
        data, "add_interactions", pl.DataFrame({"user_id": [1], "item_id": pl.Series([2**63], dtype=pl.UInt64)})
    )
    assert data.items.ids.ids().tolist() == [1, 2**63]
    with pytest.raises(IdTypeError, match="do not fit one integer type: pass such ids as str"):
        read_change(
            data, "add_interactions", pl.DataFrame({"user_id": pl.Series([2**63], dtype=pl.UInt64), "item_id": [1]})
        )


def test_damaged_bytes_are_refused(shop: Dataset) -> None:
    payload = read_change(shop, "add_interactions", LOG).to_bytes()
    rng = np.random.default_rng(5)
    for place in [*range(60), *rng.integers(60, len(payload), 100)]:
        damaged = bytearray(payload)
        damaged[place] ^= 1 << int(rng.integers(8))
        with pytest.raises(BundleError, match="restore the journal"):
            Change.of_bytes(bytes(damaged))
    for length in range(0, len(payload), 7):
        with pytest.raises(BundleError, match="restore the journal"):
            Change.of_bytes(payload[:length])


@pytest.mark.parametrize(
    ("kind", "frame", "message"),
    [
        ("add_interactions", pl.DataFrame({"user_id": [1]}), "faulty column 'item_id'"),
        ("add_interactions", pl.DataFrame({"user_id": [1], "item_id": [None]}), "faulty column 'item_id'"),
        ("add_interactions", LOG.with_columns(timestamp=pl.lit("x")), "faulty column 'timestamp'"),
        ("remove_items", pl.DataFrame({"item_id": [1.5]}), "faulty column 'item_id'"),
    ],
)
def test_bytes_of_another_form_are_refused(kind: Any, frame: pl.DataFrame, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        Change.of_bytes(Change(kind, frame).to_bytes())


def test_a_change_of_other_data_is_refused(shop: Dataset) -> None:
    other = Dataset.from_frames(LOG.drop("timestamp"))
    with pytest.raises(
        DataError, match="the change has no timestamp, but the log has; the change belongs to other data"
    ):
        apply_change(shop, read_change(other, "add_interactions", LOG))


def test_saved_and_opened_with_its_changes(shop: Dataset, tmp_path: Path) -> None:
    data = apply(shop, "add_items", [{"item_id": "0", "colour": "amber", "tags": ["a", "x"]}])
    data = apply(
        data, "add_interactions", [{"user_id": 0, "item_id": "_", "timestamp": datetime(1970, 1, 1, 0, 0, 9, 5)}]
    )
    data = apply(data, "remove_items", ["c"])
    data.save(tmp_path)
    again = Dataset.open(tmp_path)
    assert_same(again, data)
    assert again.items.ids.ids().tolist() == ["a", "b", "c", "0", "_"], "rows stay as they were"
    assert_array_equal(again.removed, data.removed)
    more = [{"user_id": 0, "item_id": "a", "timestamp": datetime(1970, 1, 1, 0, 0, 9, 4)}]
    assert_same_histories(apply(again, "add_interactions", more), apply(data, "add_interactions", more))


def test_a_changed_dataset_is_split_as_any_other(shop: Dataset) -> None:
    data = apply(shop, "add_interactions", [{"user_id": 9, "item_id": "n", "timestamp": 40}])
    data = apply(data, "remove_items", ["a"])
    split = time_split(data, 0.25)
    assert split.train.items.ids.ids().tolist() == ["a", "b", "c"]
    assert split.train.removed is not None
    assert split.train.removed.tolist() == [True, False, False]
    assert (split.users.tolist(), split.targets.tolist()) == ([9], [-1])


def test_half_of_a_surrogate_pair_is_replaced_in_features_and_refused_in_ids() -> None:
    data = small_shop("str")
    row = {"item_id": "new", "title": "cut \ud83d", "tags": ["red", "\udc00"], "group": "\ud800"}
    after = apply_change(data, read_change(data, "add_items", [row])).data
    assert after.items.values(after.items.ids.row("new")) == {"title": "cut ?", "tags": ["red", "?"], "group": "?"}
    with pytest.raises(DataError, match=r"add_items: column 'item_id', row 1 .* the id 'a\\ud800' holds a lone sur"):
        read_change(data, "add_items", [row, {**row, "item_id": "a\ud800"}])
    with pytest.raises(DataError, match=r"the pandas frame holds a lone surrogate in 'cut \\ud83d'"):
        read_change(data, "add_items", pd.DataFrame([{"item_id": "new", "title": "cut \ud83d"}], dtype=object))

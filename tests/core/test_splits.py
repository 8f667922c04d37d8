"""The parts of each split, and that nothing of the test part reaches the fit."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest

from multirecall import Dataset, Engine, EngineConfig
from multirecall.data import Interactions
from multirecall.errors import DataError, RequestError
from multirecall.evaluation import (
    Split,
    evaluate,
    history_lengths,
    history_segments,
    leave_last_n,
    make_split,
    random_split,
    retrieve_lists,
    split_of_logs,
    time_split,
    user_time_split,
)
from multirecall.lists import RankedList
from multirecall.protocols import Retriever
from multirecall.testing import small_shop

LOG = pl.DataFrame(
    {
        "user_id": [1, 1, 1, 1, 2, 2, 3],
        "item_id": [7, 8, 7, 9, 7, 8, 9],
        "timestamp": [1, 2, 3, 4, 1, 5, 6],
    }
)


def targets_of(split: Split) -> dict[int, list[Any]]:
    """External item ids by user; None for an item that the training part lacks."""
    ids = [*split.train.items.ids.ids().tolist(), None]
    bounds = zip(split.users.tolist(), split.offsets, split.offsets[1:], strict=False)
    return {user: [ids[row] for row in split.targets[start:stop]] for user, start, stop in bounds}


def test_user_time_split_written_out() -> None:
    split = user_time_split(Dataset.from_frames(LOG), 0.5)
    assert targets_of(split) == {1: [9], 2: [8]}, "half of four and of two; 7 is a repeat; user 3 only trains"
    assert (split.n_held_out, split.n_repeats, len(split.train.interactions)) == (3, 1, 4)
    assert split.concurrent == 1.0, "the newest event of the training part is that of user 3"
    assert targets_of(user_time_split(Dataset.from_frames(LOG), 0.5, seen=True)) == {1: [7, 9], 2: [8]}


def test_leave_last_n_written_out() -> None:
    assert targets_of(leave_last_n(Dataset.from_frames(LOG), 3)) == {1: [8, 9]}
    split = leave_last_n(Dataset.from_frames(LOG), 1)
    assert targets_of(split) == {1: [9], 2: [8]}
    assert "each user's last event" in split.name


def test_random_split_holds_out_whole_pairs() -> None:
    data = small_shop()
    split = random_split(data, 0.3, seed=3)
    log = split.train.interactions
    chosen, held = data.interactions.matrix, 0
    for user, targets in targets_of(split).items():
        row = data.users.ids.row(user)
        items = data.items.ids.ids(chosen.indices[chosen.indptr[row] : chosen.indptr[row + 1]]).tolist()
        train = split.train.items.ids.ids(log.items[log.of_user(split.train.users.ids.row(user))]).tolist()
        assert len(targets) == min(round(0.3 * len(items)), len(items) - 1)
        assert sorted({*train, *targets}) == items
        assert not set(train) & set(targets)
        held += len(targets)
    assert held == split.targets.size
    assert (random_split(data, 0.3, seed=3).targets == split.targets).all()
    assert not np.array_equal(random_split(data, 0.3, seed=4).targets, split.targets)


def test_given_split_written_out() -> None:
    train = Dataset.from_frames(LOG)
    test = Dataset.from_frames(
        pl.DataFrame({"user_id": [1, 1, 4, 1], "item_id": [7, 5, 9, 5], "timestamp": [9, 9, 5, 9]})
    )
    split = split_of_logs(train, test)
    assert targets_of(split) == {1: [None], 4: [9]}, "7 is a repeat, 5 is not in the catalogue"
    assert (split.n_unknown_users, split.n_repeats, split.n_held_out) == (1, 1, 4)
    assert split.unreachable == 1 / 2
    assert split.concurrent == 1 / 4, "one test event is older than the newest training event"
    assert targets_of(split_of_logs(train, test, seen=True)) == {1: [None, 7], 4: [9]}
    with pytest.raises(DataError, match="ids of the two logs differ in type"):
        split_of_logs(train, Dataset.from_frames(pl.DataFrame({"user_id": ["1"], "item_id": ["7"]})))


@pytest.mark.parametrize("kind", ["time", "user-time", "last", "random"])
def test_a_split_is_a_partition_without_leaks(kind: Any) -> None:
    data = small_shop()
    split = make_split(data, kind, fraction=0.2)
    log, whole = split.train.interactions, data.interactions
    assert len(log) + split.n_held_out == len(whole)
    pairs = {(user, item) for user, items in targets_of(split).items() for item in items}
    assert not pairs & pairs_of(split.train, log), "nothing that trains is a target"
    assert pairs <= pairs_of(data, whole)
    assert len(pairs) == split.targets.size
    if kind == "time":
        assert log.now is not None
        assert whole.times is not None
        assert split.concurrent == 0.0
        assert (whole.times > log.now).sum() == split.n_held_out, "no event of the training part is after the cut"
    else:
        assert split.train.interactions.n_users == data.n_users


def pairs_of(data: Dataset, log: Interactions) -> set[tuple[int, int]]:
    return set(zip(data.users.ids.ids(log.users).tolist(), data.items.ids.ids(log.items).tolist(), strict=True))


def test_the_seen_filter_knows_the_training_part_only() -> None:
    split = time_split(small_shop(), 0.3)
    config = EngineConfig.model_validate({"paths": [{"retriever": "popularity"}]})
    engine = Engine(config).fit(split.train)
    lists = retrieve_lists(engine, split, None).paths["popularity"]
    log = split.train.interactions
    for number, user in enumerate(split.users.tolist()):
        seen = set(log.items[log.of_user(split.train.users.ids.row(user))].tolist())
        proposed = set(lists[number].items.tolist())
        assert proposed == set(range(split.train.n_items)) - seen, "targets are not filtered out with what was seen"


def test_a_split_of_some_users() -> None:
    split = time_split(small_shop(), 0.3)
    chosen = np.array([0, 4, 5])
    part = split.take(chosen, "some")
    everything = targets_of(split)
    assert targets_of(part) == {user: everything[user] for user in split.users[chosen].tolist()}
    assert part.train is split.train


def test_a_split_says_what_it_left_where() -> None:
    said = time_split(small_shop(), 0.2).describe()
    for part in ("560 events train, 140 are left out", "not in the training log", "targets, of which 0.00% are not"):
        assert part in said
    assert "repeats are no targets; 0.0% of the events left out are not newer than the training part" in said


def test_splits_that_cannot_be() -> None:
    data, bare = Dataset.from_frames(LOG), Dataset.from_frames(LOG.drop("timestamp"))
    for split in (user_time_split, leave_last_n):
        with pytest.raises(DataError, match="needs a column 'timestamp' or 'position'"):
            split(bare)
    with pytest.raises(RequestError, match="n must be a whole number ≥ 1, got 0"):
        leave_last_n(data, 0)
    with pytest.raises(DataError, match="needs users with at least two events"):
        leave_last_n(data, 9)
    with pytest.raises(RequestError, match="fraction must be a number between 0 and 1"):
        random_split(data, 1.5)
    with pytest.raises(DataError, match="leaves nothing out"):
        random_split(data, 0.01)
    with pytest.raises(RequestError, match="cannot use seen"):
        make_split(data, "random", seen=True)


def test_segments_by_history() -> None:
    lengths = np.array([0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    segments = history_segments(lengths)
    assert [str(one) for one in segments] == ["new (0)", "cold (1–3)", "light (4–6)", "heavy (7+)"]
    assert (np.stack([one.members(lengths) for one in segments]).sum(axis=0) == 1).all()
    assert [str(one) for one in history_segments(np.array([4, 4, 4]))] == ["cold (1–4)"]
    assert [str(one) for one in history_segments(np.array([0]))] == ["new (0)"]
    split = time_split(Dataset.from_frames(LOG), 0.5)
    assert dict(zip(split.users.tolist(), history_lengths(split).tolist(), strict=True)) == {1: 2, 2: 1, 3: 0}


class Listening(Retriever):
    """Proposes nothing and notes the histories that it is asked with."""

    heard: ClassVar[dict[int, list[int]]] = {}

    def fit(self, data: Dataset, *, rng: Any, progress: Any) -> None:
        self.heard.clear()

    def retrieve(self, query: Any, quota: int) -> RankedList:
        self.heard[query.user] = query.history.tolist()
        return RankedList.empty()

    def save(self, folder: Any) -> None: ...

    @classmethod
    def load(cls, config: Any, folder: Any, data: Dataset) -> Listening:
        return cls(config)


def test_what_is_left_for_validation_is_asked_with_and_not_fitted_on(plugins: Any) -> None:
    log = pl.DataFrame(
        {
            "user_id": [1, 1, 1, 1, 1, 2, 2, 3, 3, 3],
            "item_id": [7, 8, 7, 9, 5, 7, 8, 9, 8, 9],
            "timestamp": [1, 2, 3, 4, 5, 1, 5, 6, 7, 8],
        }
    )
    split = leave_last_n(Dataset.from_frames(log), 1, validation=2)
    assert targets_of(split) == {1: [None]}, "5 stands in no training part; 2 and 3 have too few events"
    assert (len(split.train.interactions), split.n_held_out, split.n_repeats) == (7, 3, 0)
    split = leave_last_n(Dataset.from_frames(log), 1, validation=1, seen=True)
    assert targets_of(split) == {1: [None], 3: [9]}
    assert "1 more before them for validation" in split.name
    assert history_lengths(split).tolist() == [4, 2]
    plugins(listening=f"{__name__}:Listening")
    config = EngineConfig.model_validate({"paths": [{"retriever": "listening"}]})
    engine = Engine(config).fit(split.train)
    Listening.heard.clear()
    retrieve_lists(engine, split, 3)
    items = split.train.items.ids
    heard = {
        split.train.users.ids.id(user): items.ids(np.array(rows, np.int32)).tolist()
        for user, rows in Listening.heard.items()
    }
    assert heard == {1: [7, 8, 7, 9], 3: [9, 8]}
    with pytest.raises(RequestError, match="validation must be a whole number ≥ 0, got -1"):
        leave_last_n(Dataset.from_frames(log), 1, validation=-1)


class Peeking(Retriever):
    """Proposes what the users will choose, because the future leaked to it."""

    future: ClassVar[dict[int, RankedList]] = {}

    def fit(self, data: Dataset, *, rng: Any, progress: Any) -> None:
        pass

    def retrieve(self, query: Any, quota: int) -> RankedList:
        return self.future.get(query.user, RankedList.empty()).head(quota)

    def save(self, folder: Any) -> None: ...

    @classmethod
    def load(cls, config: Any, folder: Any, data: Dataset) -> Peeking:
        return cls(config)


def test_where_the_future_is_chance_only_a_leak_beats_chance(plugins: Any) -> None:
    """Events are random, so that no honest path can do better than a random list."""
    rng = np.random.default_rng(9)
    n_users, n_items, k = 300, 200, 20
    pairs = rng.permutation(n_users * n_items)[: 30 * n_users]
    log = pl.DataFrame({"user_id": pairs // n_items, "item_id": pairs % n_items, "timestamp": np.arange(pairs.size)})
    items = pl.DataFrame({"item_id": np.arange(n_items), "kind": rng.choice(["a", "b", "c"], n_items)})
    split = time_split(Dataset.from_frames(log, items), 0.2)
    rows = split.train.users.ids.rows(split.users)
    Peeking.future = {
        int(row): RankedList(split.targets[start:stop], np.zeros(stop - start, np.float32))
        for row, start, stop in zip(rows, split.offsets, split.offsets[1:], strict=False)
    }
    plugins(peeking=f"{__name__}:Peeking")
    names = ("item_cf", "content", "popularity", "peeking")
    config = EngineConfig.model_validate({"paths": [{"retriever": name} for name in names]})
    report = evaluate(Engine(config).fit(split.train), split, [k])
    chance = float(np.mean(k / (n_items - history_lengths(split))))
    for name in ("item_cf", "content", "popularity"):
        low, high = report.intervals[name]["recall"][0]
        assert low - 0.01 <= chance <= high + 0.01, f"{name} knows something that it cannot"
    assert report.intervals["peeking"]["recall"][0][0] > 5 * chance, "the check would not see a leak"


@pytest.mark.parametrize("fraction", ["0.1", 0, 1])
def test_odd_fractions_are_refused(fraction: Any) -> None:
    with pytest.raises(RequestError, match="fraction must be a number between 0 and 1"):
        time_split(small_shop(), fraction)


def test_the_least_fraction_holds_out_the_newest_event() -> None:
    assert time_split(small_shop(), 1e-17, seen=True).n_held_out == 1


def test_odd_kinds_and_counts_are_refused() -> None:
    with pytest.raises(RequestError, match="choose one of time, user-time, last, random"):
        make_split(small_shop(), "bogus")  # type: ignore[arg-type]
    with pytest.raises(RequestError, match=r"n must be a whole number ≥ 1, got 1\.5"):
        leave_last_n(small_shop(), 1.5)  # type: ignore[arg-type]

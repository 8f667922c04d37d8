"""One wrong clock: "now", the events far beyond the rest, and that other events do not age by them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multirecall import Dataset, Engine, EngineConfig, PathConfig
from multirecall.data.apply import apply_change
from multirecall.data.horizon import MOST_FAR, Times, now_of
from multirecall.data.read_change import read_change
from multirecall.errors import ConfigError, DataError
from multirecall.evaluation.splits import leave_last_out, time_split
from multirecall.progress import SILENT
from multirecall.query import Query
from multirecall.retrievers.user_cf import UserCF, UserCFConfig

DAY = 86_400
YEAR = 365 * DAY
TODAY = 1_767_225_600  # 2026-01-01
IN_2099 = 4_070_908_800  # 2099-01-01


def now(*times: int) -> int | None:
    return now_of([Times.of(np.array(times, np.int64))])


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([], None),
        ([5], 5),
        ([TODAY, IN_2099], IN_2099),
        ([TODAY, TODAY + 1, IN_2099], TODAY + 1),
        ([IN_2099, *range(TODAY, TODAY + 50)], TODAY + 49),
        ([*range(TODAY, TODAY + 50), TODAY + 2 * DAY], TODAY + 2 * DAY),
        ([*range(TODAY, TODAY + 50), IN_2099, IN_2099], IN_2099),
        ([TODAY + year * 2 * YEAR for year in range(9)], TODAY + 16 * YEAR),
        ([*range(TODAY, TODAY + 1_000), TODAY + 2 * YEAR], TODAY + 999),
        ([*range(TODAY, TODAY + 4_000), TODAY + YEAR, IN_2099, IN_2099 + 2 * YEAR], TODAY + YEAR),
    ],
    ids=[
        "nothing",
        "one event",
        "of two, nobody knows which is odd",
        "three",
        "many",
        "two days later is a stream that goes on",
        "two in fifty are no accident",
        "a sparse log of sixteen years",
        "a year and more beyond many",
        "several in thousands, as many as one in a thousand",
    ],
)
def test_now(times: list[int], expected: int | None) -> None:
    assert now(*times) == expected


def test_a_log_that_begins_anew_after_years_goes_on_once_it_is_more_than_a_trickle() -> None:
    old, new = range(TODAY, TODAY + 5_000), range(TODAY + 5 * YEAR, TODAY + 5 * YEAR + 100)
    reached = [now(*old, *new[:n]) for n in range(9)]
    assert reached == [TODAY + 4_999] * 6 + [new[5], new[6], new[7]]


@settings(max_examples=200)
@given(
    parts=st.lists(st.lists(st.integers(0, 60).map(lambda years: years * YEAR // 3), max_size=9), max_size=4),
    copies=st.sampled_from([1, 300]),
)
def test_now_is_one_of_all_events_however_they_are_divided(parts: list[list[int]], copies: int) -> None:
    """`now` by its definition, event by event."""
    every = sorted(time for part in parts for time in part * copies)
    divided = [Times.of(np.repeat(np.array(part, np.int64), copies)) for part in parts]
    expected = every[-1] if every else None
    if len(every) > 2:
        most_far = min(max(1, len(every) // 1000), MOST_FAR)
        rest = len(every) - most_far
        for place in range(rest, len(every)):
            if every[place] - every[place - 1] > YEAR * (1 + 50 / rest):
                expected = every[place - 1]
                break
    assert now_of(divided) == expected


def log(*later: dict[str, Any]) -> pl.DataFrame:
    times = [TODAY + 3_600 * hour for hour in range(40)]
    rows = [{"user_id": n % 7, "item_id": n * 5 % 11, "timestamp": time} for n, time in enumerate(times)]
    return pl.DataFrame([*rows, *later])


ODD = {"user_id": 1, "item_id": 3, "timestamp": IN_2099}
LAST = TODAY + 39 * 3_600


def test_kept_by_default_and_noted() -> None:
    data = Dataset.from_frames(log(ODD), half_life_days=1)
    [note] = [note for note in data.notes if "far beyond" in note]
    for part in ("column 'timestamp', row 40", "2099-01-01", "2026-01-02 15:00:00", "'clamp'", "remove_interactions"):
        assert part in note
    assert data.now == LAST
    assert data.interactions.times is not None
    assert data.interactions.times.max() == IN_2099
    assert data.interactions.weights.max() == 1.0
    plain = Dataset.from_frames(log(), half_life_days=1)
    kept = data.interactions.times < IN_2099
    np.testing.assert_array_equal(data.interactions.weights[kept], plain.interactions.weights)
    assert not [note for note in plain.notes if "far beyond" in note]


def test_clamped() -> None:
    data = Dataset.from_frames(log(ODD, {**ODD, "user_id": 2}), future="clamp")
    assert data.interactions.times is not None
    assert int(data.interactions.times.max()) == IN_2099, "two of 42 are no accident"
    data = Dataset.from_frames(log(ODD), future="clamp")
    assert data.interactions.times is not None
    assert data.interactions.times.max() == LAST
    assert [note for note in data.notes if "moved to that time" in note]


def test_refused(tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    log(ODD).write_csv(file)
    with pytest.raises(DataError, match=r"log\.csv: column 'timestamp', row 40.*2099.*far beyond.*future='keep'"):
        Dataset.load(file, future="refuse")
    with pytest.raises(ConfigError, match="future"):
        Dataset.load(file, future="ignore")  # type: ignore[arg-type]
    config = tmp_path / "engine.toml"
    config.write_text('[data]\nfuture = "refuse"\n')
    with pytest.raises(DataError, match="far beyond"):
        Dataset.load(file, config=EngineConfig.from_toml(config).data)


def test_live_events_obey_the_same_option() -> None:
    data = Dataset.from_frames(log(), future="refuse")
    with pytest.raises(DataError, match=r"add_interactions: column 'timestamp', row 1.*far beyond"):
        read_change(data, "add_interactions", [{**ODD, "timestamp": LAST + 2 * DAY}, ODD])
    read_change(data, "add_interactions", [{**ODD, "timestamp": LAST + 2 * DAY}])
    many = [{**ODD, "timestamp": LAST + 5 * YEAR + n} for n in range(3)]
    read_change(data, "add_interactions", many)  # no accident: the log jumps
    clamping = Dataset.from_frames(log(), future="clamp")
    change = read_change(clamping, "add_interactions", [ODD])
    assert change.frame["timestamp"].to_list() == [LAST * 1_000_000]
    assert "moved to that time" in change.notes[0]
    keeping = Dataset.from_frames(log())
    change = read_change(keeping, "add_interactions", [ODD])
    assert "far beyond" in change.notes[0]
    assert apply_change(keeping, change).data.now == LAST


PATHS = ("popularity", "user_cf", "item_cf", "als", "next_item", "ease", "item2vec", "graph_filter")


@pytest.fixture(scope="module")
def every_path() -> Callable[[Dataset], Engine]:
    paths = tuple(PathConfig(retriever=name) for name in PATHS)
    return lambda data: Engine(EngineConfig(seed=3, paths=paths)).fit(data)


def test_no_path_falls_silent_with_a_half_life(every_path: Callable[[Dataset], Engine]) -> None:
    with every_path(Dataset.from_frames(log(ODD), half_life_days=1)) as engine:
        for user in (0, 1, 4):
            result = engine.retrieve(user, k=5, seen=True)
            assert {name: status.count > 0 for name, status in result.status.items()} == dict.fromkeys(PATHS, True)


def test_a_history_that_has_faded_keeps_its_proportions(every_path: Callable[[Dataset], Engine]) -> None:
    """User 90 left two decades of half-lives ago; their last event counts 2^3 times the one three days before."""
    old = [{"user_id": 90, "item_id": item, "timestamp": TODAY - 7_000 * DAY + item * DAY} for item in (0, 3)]
    data = Dataset.from_frames(log(*old), half_life_days=1)
    weights = data.history(data.users.ids.row(90)).weights
    assert weights.tolist() == [2.0**-63, 2.0**-60]
    with every_path(data) as engine:
        status = engine.retrieve(90, k=5).status
        assert all(status[name].count for name in ("item_cf", "als", "next_item"))


def test_user_cf_live_beside_an_event_of_2099_is_a_refit() -> None:
    data = Dataset.from_frames(log(), half_life_days=2)
    path = UserCF(UserCFConfig())
    path.fit(data, rng=np.random.default_rng(0), progress=SILENT)
    for rows in ([ODD], [{**ODD, "timestamp": LAST + 9 * DAY}], [{**ODD, "user_id": 2}], [{**ODD, "user_id": 3}]):
        changes = apply_change(data, read_change(data, "add_interactions", rows))
        data = changes.data
        path = path.with_changes(changes)
        assert_refit(path, data)
    assert data.now == IN_2099, "three of 44 are no accident"
    changes = apply_change(data, read_change(data, "remove_users", [2, 3]))
    data = changes.data
    assert data.now == LAST + 9 * DAY, "and back again"
    assert_refit(path.with_changes(changes), data)


def assert_refit(path: UserCF, data: Dataset) -> None:
    refitted = UserCF(path.config)
    refitted.fit(data, rng=np.random.default_rng(0), progress=SILENT)
    for user in range(data.n_users):
        history = data.history(user)
        query = Query(user, history.items, history.weights)
        ranked, expected = path.retrieve(query, 11), refitted.retrieve(query, 11)
        assert ranked.items.tolist() == expected.items.tolist()
        np.testing.assert_allclose(ranked.scores, expected.scores, rtol=1e-5)


def test_splits_are_not_moved() -> None:
    split = leave_last_out(Dataset.from_frames(log(ODD, {**ODD, "item_id": 4, "timestamp": IN_2099 + 1})))
    assert split.concurrent == 3 / 7, "but for 2099, hour 36 is the newest that trains; hours 33 to 35 are held out"
    train = time_split(Dataset.from_frames(log(ODD), half_life_days=1), 0.2).train
    assert train.interactions.weights.max() == 1.0

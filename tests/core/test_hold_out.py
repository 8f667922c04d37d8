"""What a fit holds out: few events, each once, as requests with the histories that users had at the time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multirecall import Dataset
from multirecall.datasets import generate
from multirecall.learning import hold_out as module
from multirecall.learning.hold_out import Goal, HeldOut, hold_out
from multirecall.learning.spent import Spent

DAY = 86_400
START = 1_700_000_000
Event = tuple[int, int, int]
"""User, item, time in days."""

EVENTS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 6), st.integers(0, 12)), min_size=12, max_size=60)
KINDS = st.sampled_from(["times", "positions", "neither"])
GOALS = st.sampled_from(["next", "while", None])
SHARES = st.tuples(st.sampled_from([0.1, 0.3, 0.9]), st.sampled_from([0.02, 0.2, 0.6]))


@contextmanager
def limits(**values: float) -> Iterator[None]:
    """Other limits, so that small logs are enough."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "FEWEST_USERS", 1)
        for name, value in values.items():
            patch.setattr(module, name, value)
        yield


def log_of(events: list[Event], kind: str = "times", half_life_days: float | None = None) -> Dataset:
    """A dataset whose events have distinct weights, by which they are known again."""
    users, items, days = (list(column) for column in zip(*events, strict=True))
    columns: dict[str, Any] = {
        "user_id": [f"u{user}" for user in users],
        "item_id": [f"i{item}" for item in items],
        "weight": [1.0 + number / 1024 for number in range(len(events))],
    }
    if kind == "times":
        columns["timestamp"] = [START + DAY * day for day in days]
    elif kind == "positions":
        columns["position"] = days
    return Dataset.from_frames(pl.DataFrame(columns), half_life_days=half_life_days if kind == "times" else None)


def marks(held: HeldOut) -> np.ndarray[Any, Any]:
    """Which events of the whole log are held out, bool (n,)."""
    return np.isin(held.back.data.undecayed.weights, held.back.undecayed)


def requests(held: HeldOut) -> list[tuple[int, int, list[int], list[int]]]:
    """Owner, asker, positions of the history, and targets of every request."""
    return [
        (
            int(held.owners[one]),
            int(held.askers[one]),
            held.histories[one].tolist(),
            held.targets[held.offsets[one] : held.offsets[one + 1]].tolist(),
        )
        for one in range(len(held))
    ]


@given(EVENTS, KINDS, GOALS, SHARES, st.integers(0, 3))
def test_few_events_and_never_the_only_one(
    events: list[Event], kind: str, goal: Goal | None, shares: tuple[float, float], seed: int
) -> None:
    data = log_of(events, kind)
    with limits(MOST_USERS_SHARE=shares[0], MOST_EVENTS_SHARE=shares[1]):
        held = hold_out(data, goal, seed)
    if held is None:
        return
    away = marks(held)
    log = data.undecayed
    assert 0 < away.sum() <= shares[1] * len(log)
    assert np.unique(log.users[away]).size <= shares[0] * np.unique(log.users).size
    assert set(log.users[~away]) == set(log.users), "every user keeps an event"
    assert set(log.items[~away]) == set(log.items), "every item keeps an event"
    assert held.rest.users.ids.ids().tolist() == data.users.ids.ids().tolist()
    assert held.rest.items.ids.ids().tolist() == data.items.ids.ids().tolist()
    for owner, _, history, targets in requests(held):
        past = log.items[history]
        assert set(log.users[history]) <= {owner}
        assert targets == sorted(set(targets) - set(past.tolist())), "targets are new to the user"
        assert set(targets) <= set(log.items[away & (log.users == owner)])
    assert held.owners.tolist() == sorted(held.owners.tolist())


@pytest.mark.parametrize(("kind", "half_life_days"), [("times", 3.0), ("times", None), ("neither", None)])
@given(EVENTS, GOALS, st.integers(0, 3))
def test_what_is_left_and_what_comes_back_are_the_whole(
    kind: str, half_life_days: float | None, events: list[Event], goal: Goal | None, seed: int
) -> None:
    data = log_of(events, kind, half_life_days)
    with limits(MOST_USERS_SHARE=0.9, MOST_EVENTS_SHARE=0.6):
        held = hold_out(data, goal, seed)
    if held is None:
        return
    assert held.back.data is data
    whole, rest, back = data.undecayed, held.rest.undecayed, held.back

    def rows(log: Any, weights: Any) -> list[tuple[Any, ...]]:
        times = np.zeros(len(log.users)) if log.times is None else log.times
        return list(zip(log.users.tolist(), log.items.tolist(), times.tolist(), weights.tolist(), strict=True))

    assert sorted(rows(rest, rest.weights) + rows(back, back.undecayed)) == sorted(rows(whole, whole.weights))
    decayed = dict(zip(whole.weights.tolist(), data.interactions.weights.tolist(), strict=True))
    assert back.weights.tolist() == [decayed[weight] for weight in back.undecayed.tolist()]
    if not back.shifted:
        faded = held.rest.interactions.weights * back.fading
        np.testing.assert_allclose(faded, [decayed[weight] for weight in rest.weights.tolist()], rtol=1e-5)


@given(EVENTS, st.sampled_from(["times", "positions"]), st.integers(0, 3))
def test_each_newest_event_is_asked_for_with_what_came_before_it(events: list[Event], kind: str, seed: int) -> None:
    data = log_of(events, kind)
    with limits(MOST_USERS_SHARE=0.9, MOST_EVENTS_SHARE=0.6):
        held = hold_out(data, "next", seed)
    if held is None:
        return
    assert held.goal == "next"
    log, away = data.undecayed, marks(held)
    wanted = []
    for position in np.flatnonzero(away).tolist():
        owner = int(log.users[position])
        history = [other for other in range(position) if log.users[other] == owner]
        later = [other for other in range(position, len(log)) if log.users[other] == owner]
        assert len(later) <= min(module.EVENTS_OF_A_USER, (len(history) + len(later)) // 2)
        if log.items[position] not in log.items[history]:
            wanted.append((owner, owner, history, [int(log.items[position])]))
    assert requests(held) == wanted


@given(EVENTS, SHARES)
def test_a_period_is_the_newest_one_that_the_limits_allow(events: list[Event], shares: tuple[float, float]) -> None:
    data = log_of(events)
    with limits(MOST_USERS_SHARE=shares[0], MOST_EVENTS_SHARE=shares[1]):
        held = hold_out(data, "while", 0)
    log = data.undecayed
    assert log.times is not None
    since = START + DAY * 13
    for time in sorted(set(log.times.tolist()), reverse=True):
        inside = log.times >= time
        n_users = np.unique(log.users[inside]).size
        if inside.sum() > int(shares[1] * len(log)) or n_users > int(shares[0] * np.unique(log.users).size):
            break
        since = time
    inside = log.times >= since
    firsts = {int(log.users[event]): event for event in range(len(log) - 1, -1, -1)}
    alone = [event for user, event in firsts.items() if inside[log.users == user].all()]
    expected = inside & ~np.isin(np.arange(len(log)), alone)
    kept = [item for item in set(log.items.tolist()) if expected[log.items == item].all()]
    expected &= ~np.isin(log.items, kept)
    wanted = []
    for user in np.unique(log.users[expected]).tolist():
        own = np.flatnonzero((log.users == user) & ~inside).tolist()
        targets = sorted(set(log.items[expected & (log.users == user)].tolist()) - set(log.items[own].tolist()))
        if targets:
            wanted.append((user, -1 if firsts[user] in alone else user, own, targets))
    assert (held is None) == (not wanted)
    if held is not None:
        assert marks(held).tolist() == expected.tolist()
        assert requests(held) == wanted


@given(EVENTS, st.integers(0, 3))
def test_without_an_order_items_are_asked_for_with_the_others(events: list[Event], seed: int) -> None:
    data = log_of(events, "neither")
    with limits(MOST_USERS_SHARE=0.9, MOST_EVENTS_SHARE=0.6):
        held = hold_out(data, None, seed)
    if held is None:
        return
    assert held.goal is None
    log, away = data.undecayed, marks(held)
    for owner, asker, history, targets in requests(held):
        assert asker == owner
        assert history == np.flatnonzero((log.users == owner) & ~away).tolist()
        assert targets == sorted(set(log.items[away & (log.users == owner)]) - set(log.items[history]))
        assert 2 * len(targets) <= np.unique(log.items[log.users == owner]).size


@given(EVENTS, KINDS, GOALS, st.lists(EVENTS, min_size=3, max_size=3))
def test_no_event_is_held_out_twice(events: list[Event], kind: str, goal: Goal | None, more: list[list[Event]]) -> None:
    """The log grows between the fits, and each knows what those before it have held out, as a bundle keeps it."""
    spent, seen, goal = Spent(), set[tuple[Any, ...]](), goal or ("while" if kind == "times" else None)
    for number, new in enumerate(more):
        events = [*events, *((user, item, day + 13 * number) for user, item, day in new)]
        data = log_of(events, kind)
        with limits(MOST_USERS_SHARE=0.5, MOST_EVENTS_SHARE=0.4):
            for seed in range(3):
                held = hold_out(data, goal, seed, spent)
                if held is None:
                    continue
                ids = set(held.back.undecayed.tolist())
                assert not ids & seen
                seen |= ids
                spent = Spent.of_dict(held.spent.to_dict())


@pytest.mark.parametrize("goal", ["next", "while", None])
@pytest.mark.parametrize("kind", ["times", "positions", "neither"])
def test_the_default_limits_hold_on_a_shop(kind: str, goal: Goal | None) -> None:
    shop = generate(1_500, 400, 20_000, seed=3).interactions.drop("event")
    if kind != "times":
        shop = shop.drop("timestamp")
    if kind == "positions":
        shop = shop.with_columns(position=pl.int_range(shop.height))
    data = Dataset.from_frames(shop)
    held, again, other = (hold_out(data, goal, seed) for seed in (7, 7, 8))
    assert held is not None
    assert again is not None
    assert other is not None
    n_active = np.unique(data.undecayed.users).size
    assert 50 <= np.unique(held.owners).size <= 0.1 * n_active
    assert 0.01 * data.n_events < held.back.users.size <= 0.02 * data.n_events
    assert requests(held) == requests(again)
    assert held.back.users.tolist() == again.back.users.tolist()
    if kind == "times" and goal != "next":
        assert held.goal == "while", "the default of a log with times"
        assert held.back.times is not None
        assert held.rest.undecayed.times is not None
        assert held.back.times.min() > np.sort(held.rest.undecayed.times)[-200]
        assert requests(other) == requests(held), "a period is no draw"
    else:
        assert held.goal == ("next" if kind != "neither" else None)
        assert set(other.owners) != set(held.owners)


def test_users_of_every_length_of_history_are_drawn_alike() -> None:
    data = Dataset.from_frames(generate(1_500, 400, 20_000, seed=3).interactions.drop("event"))
    with limits(EVENTS_OF_A_USER=1):
        held = hold_out(data, "next", 7)
    assert held is not None
    lengths = np.diff(data.undecayed.offsets)
    able, drawn = lengths[lengths >= 2], lengths[np.unique(held.back.users)]
    for longest in np.unique(able).tolist():
        expected = drawn.size * np.mean(able <= longest)
        assert abs((drawn <= longest).sum() - expected) <= 2, longest


def test_a_user_without_a_past_asks_as_a_visitor() -> None:
    old = [(user, (user + step) % 5, step) for user in range(9) for step in range(8)]
    new = [(8, 5, 10), (8, 6, 11), (8, 4, 12), (9, 1, 10), (9, 2, 11), (9, 3, 12)]
    data = log_of([*old, *new, (0, 6, 1)])
    with limits(MOST_USERS_SHARE=0.5, MOST_EVENTS_SHARE=0.2):
        held = hold_out(data, "while", 0)
    assert held is not None
    item = data.items.ids.row
    past = np.flatnonzero(data.undecayed.users == 8)[:8].tolist()
    assert requests(held) == [(8, 8, past, [item("i6")]), (9, -1, [], sorted([item("i2"), item("i3")]))]


def test_at_most_so_many_users_and_none_of_a_small_log() -> None:
    data = log_of([(user, (user + step) % 9, step) for user in range(60) for step in range(9)])
    with limits(MOST_USERS=3, MOST_USERS_SHARE=0.9, MOST_EVENTS_SHARE=0.9):
        held = hold_out(data, "next", 0)
        assert held is not None
        assert np.unique(held.owners).size == 3
    assert all(hold_out(data, goal, 0) is None for goal in ("next", "while", None))


def test_a_log_with_times_whose_newest_period_has_few_users_gives_newest_events() -> None:
    day = [(user, (user + step) % 9, step) for user in range(40) for step in range(8)]
    data = log_of([*day, *((0, step % 9, 20 + step) for step in range(40))])
    with limits(FEWEST_USERS=4, MOST_USERS_SHARE=0.2, MOST_EVENTS_SHARE=0.1):
        held = hold_out(data, None, 0)
        assert held is not None
        assert held.goal == "next"
        assert hold_out(data, "while", 0) is None


def test_a_removed_user_is_not_remembered() -> None:
    data = log_of([(user, (user + step) % 9, step) for user in range(8) for step in range(9)])
    with limits(MOST_USERS_SHARE=0.9, MOST_EVENTS_SHARE=0.9):
        held = hold_out(data, "next", 0, Spent(frozenset({"u1", "gone"})))
    assert held is not None
    assert "u1" in held.spent.users
    assert "gone" not in held.spent.users
    assert held.spent.users == {"u1", *data.users.ids.ids(np.unique(data.undecayed.users[marks(held)])).tolist()}

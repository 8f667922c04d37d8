"""A market of known truth: drift of a stated size is found within one period, and a quiet period is no alarm."""

from __future__ import annotations

import numpy as np
import pytest
from _drifting import SHOWS, Injected, Market, Period, fit, measure

from multirecall import Dataset, Engine
from multirecall.errors import DataError, RequestError
from multirecall.monitoring.drift import DriftOptions, measure_drift, recall_on
from multirecall.testing import small_shop

PAST = 9


@pytest.fixture(scope="module")
def past() -> list[Period]:
    return before()[1]


def before() -> tuple[Market, list[Period]]:
    """A market, always the same one, and its first periods."""
    market = Market(3, 700, 200)
    return market, [market.next_period() for _ in range(PAST)]


@pytest.fixture(scope="module")
def engine(past: list[Period]) -> Engine:
    return fit(past)


def test_a_quiet_period_is_no_alarm(engine: Engine) -> None:
    report = measure(engine, before()[0].next_period())
    assert report.alarms == ()
    assert report.advice.action == "nothing"
    assert {one.source for one in report.figures} == {"past", "chance"}
    assert "another fit" in report.facts["recall before is of"]


@pytest.mark.parametrize("injected", [one for one in SHOWS if one != "taste"])
def test_drift_is_found_within_one_period(engine: Engine, injected: Injected) -> None:
    report = measure(engine, before()[0].next_period(injected))
    alarms = {one.name for one in report.alarms}
    assert alarms & set(SHOWS[injected])
    if injected == "feature":
        assert alarms == {"item price"}, "nothing else has changed"


def test_the_same_seed_gives_the_same_report(engine: Engine) -> None:
    period = before()[0].next_period("popularity")
    assert measure(engine, period).to_dict() == measure(engine, period).to_dict()


def test_shares_of_what_is_unknown_are_counted(engine: Engine, past: list[Period]) -> None:
    period = before()[0].next_period("new items")
    known = set(np.concatenate([one.events["item_id"].to_numpy() for one in past]).tolist())
    expected = np.mean([item not in known for item in period.events["item_id"].to_list()])
    report = measure(engine, period)
    assert next(one for one in report.figures if one.name == "unknown items").now == pytest.approx(expected)


def test_recall_on_new_events_is_that_of_lists_asked_for_by_hand(engine: Engine) -> None:
    period = before()[0].next_period()
    found = recall_on(engine, Dataset.from_frames(period.events), 20, n_users=10_000)
    log, values = engine.data, []
    for (user,), own in period.events.group_by("user_id", maintain_order=True):
        row = log.users.ids.row(user)
        had = set(log.items.ids.ids(log.history(row).items).tolist())
        wanted = set(own["item_id"].to_list()) - had
        if wanted:
            values.append(len(wanted & set(engine.retrieve(user, 20).ids.tolist())) / len(wanted))
    assert found.values.size == len(values)
    assert found.interval.mean == pytest.approx(np.mean(values))


def test_without_another_fit_recall_is_compared_with_the_first_window_after_it(engine: Engine) -> None:
    market, _ = before()
    first, second = market.next_period(), market.next_period()
    events = Dataset.from_frames(first.events.vstack(second.events))
    report = measure_drift(engine, events, DriftOptions(window_days=7, k=20, n_users=50))
    recall = next(one for one in report.figures if one.group == "recall")
    assert recall.before == pytest.approx(
        recall_on(engine, Dataset.from_frames(first.events), 20).interval.mean, abs=0.03
    )
    one = measure_drift(engine, Dataset.from_frames(first.events), DriftOptions(window_days=7, k=20, n_users=50))
    assert not [figure for figure in one.figures if figure.group == "recall"]
    assert any("--refit" in note for note in one.notes)


def test_a_short_past_has_stated_limits(past: list[Period]) -> None:
    market = Market(3, 700, 200)
    periods = [market.next_period() for _ in range(3)]
    events = Dataset.from_frames(market.next_period().events)
    report = measure_drift(fit(periods), events, DriftOptions(window_days=7, n_users=20))
    assert {one.source for one in report.figures} == {"stated"}
    assert any("too few to learn limits from" in note for note in report.notes)


def test_faults_name_the_remedy(engine: Engine) -> None:
    with pytest.raises(DataError, match="events is newer than the fit"):
        measure_drift(engine, engine.data)
    with pytest.raises(DataError, match="have no times"):
        measure_drift(engine, small_shop(timestamps=False))
    with pytest.raises(RequestError, match="must last longer than 0 days"):
        DriftOptions(window_days=0)
    with pytest.raises(RequestError, match="between 0 and 1"):
        DriftOptions(false_alarms=1.0)

"""Popularity keeps the order of what has faded beyond float64, live as in a fit; the oracle counts in fractions."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multirecall.data import Dataset
from multirecall.data.apply import apply_change
from multirecall.data.read_change import read_change
from multirecall.progress import SILENT
from multirecall.query import Query
from multirecall.retrievers.popularity import Popularity, PopularityConfig

DAY = 86_400
START = 1_000_000_000
YEAR_2099 = 4_070_908_800
DE = [{"user_id": user, "country": "DE" if user < 3 else "FR"} for user in range(6)]

EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "user_id": st.integers(0, 5),
            "item_id": st.integers(0, 7),
            "timestamp": st.sampled_from([0, 1, 2, 5, 150, 1_100, 7_000, 7_001]).map(lambda day: START + day * DAY),
            "weight": st.sampled_from([0, 1, 3, 1_000]),
        }
    ),
    min_size=1,
    max_size=9,
)


def exact(events: list[dict[str, int]], now: int) -> dict[int, Fraction]:
    """What each item counts with a half-life of a day, events later than `now` as if of now."""
    counts: dict[int, Fraction] = {}
    for event in events:
        age = Fraction(max(now - event["timestamp"], 0), DAY)
        assert age.denominator == 1
        counts[event["item_id"]] = counts.get(event["item_id"], Fraction(0)) + Fraction(event["weight"], 2 ** int(age))
    return counts


def dataset(events: list[dict[str, int]], half_life_days: float | None = None) -> Dataset:
    items = pl.DataFrame({"item_id": range(8)})
    return Dataset.from_frames(pl.DataFrame(events), items, pl.DataFrame(DE), half_life_days=half_life_days)


def fit_path(data: Dataset, **params: Any) -> Popularity:
    path = Popularity(PopularityConfig.model_validate(params))
    path.fit(data, rng=np.random.default_rng(0), progress=SILENT)
    return path


def rank(path: Popularity, **features: Any) -> list[tuple[int, float]]:
    found = path.retrieve(Query(-1, np.empty(0, np.int32), np.empty(0, np.float32), features=features), 8)
    return list(zip(found.items.tolist(), found.scores.tolist(), strict=True))


def assert_ranked_by(found: list[tuple[int, float]], counts: dict[int, Fraction]) -> None:
    """By count, then by row, those that were never chosen last; counts that a float32 holds are the scores."""
    assert len(found) == 8
    for item, score in found:
        count = counts.get(item)
        assert (score == 0) == (count is None)
        if count is not None and count > Fraction(1, 2**90):
            assert score == pytest.approx(float(count), rel=1e-6)
    for (first, score), (second, next_score) in pairwise(found):
        if first not in counts:
            assert second not in counts
            continue
        if second in counts:
            gap = counts[first] - counts[second]
            assert gap >= -counts[second] / 10**6, "rounding apart at most"
            assert score > next_score or first < second
            if gap > counts[first] / 10**6:
                assert score > next_score


@settings(max_examples=60)
@given(
    events=EVENTS,
    later=st.lists(EVENTS, max_size=3),
    in_data=st.booleans(),
    gone=st.sets(st.integers(0, 5), max_size=2),
)
def test_order_is_that_of_exact_counts(
    events: list[dict[str, int]], later: list[list[dict[str, int]]], in_data: bool, gone: set[int]
) -> None:
    """In a fit, after live events, after users are forgotten, and after a refit; the half-life on either side."""
    data = dataset(events, 1.0 if in_data else None)
    params = {"half_life_days": None if in_data else 1.0}
    path = fit_path(data, **params)
    for more in later:
        changes = apply_change(data, read_change(data, "add_interactions", more))
        data = changes.data
        path, events = path.with_changes(changes), [*events, *more]
    assert data.now is not None
    assert_ranked_by(rank(path), exact(events, data.now))
    changes = apply_change(data, read_change(data, "remove_users", gone))
    data = changes.data
    path, events = path.with_changes(changes), [event for event in events if event["user_id"] not in gone]
    if events:
        assert data.now is not None
        for known in (rank(path), rank(fit_path(data, **params)), rank(fit_path(data.compact(), **params))):
            assert_ranked_by(known, exact(events, data.now))


def test_segments_keep_their_order_where_counts_vanish() -> None:
    """Score `c_DE(i) + c(i) / Σ c` with smoothing 1; Σ c is 1 but for nothing."""
    days = {0: 0, 1: 900, 2: 1_800, 3: 3_000}
    events = [{"user_id": 0, "item_id": item, "timestamp": START + day * DAY} for item, day in days.items()]
    events += [{"user_id": 4, "item_id": 5, "timestamp": START + 1_801 * DAY}]
    path = fit_path(dataset(events), half_life_days=1, segment="country", smoothing=1.0)
    found = rank(path, country="DE")
    assert [item for item, _ in found] == [3, 2, 5, 1, 0, 4, 6, 7], "2·2^-1200 = 2^-1199 equals 5's count: by row"
    assert found[0][1] == 2.0
    found = rank(path, country="FR")
    assert [item for item, _ in found] == [3, 5, 2, 1, 0, 4, 6, 7]


@pytest.mark.parametrize("in_data", [True, False])
def test_an_event_of_2099_leaves_everything_as_it_was(in_data: bool) -> None:
    rng = np.random.default_rng(3)
    rows = zip(rng.integers(0, 6, 300), rng.integers(0, 7, 300), rng.integers(0, 900, 300), strict=True)
    events = [{"user_id": int(u), "item_id": int(i), "timestamp": START + int(d) * DAY} for u, i, d in rows]
    data = dataset(events, 30.0 if in_data else None)
    params = {"half_life_days": None if in_data else 30.0}
    before = dict(rank(fit_path(data, **params)))
    odd = {"user_id": 1, "item_id": 7, "timestamp": YEAR_2099}
    changes = apply_change(data, read_change(data, "add_interactions", [odd]))
    live = changes.data
    path = fit_path(data, **params).with_changes(changes)
    refitted = fit_path(dataset([*events, odd], 30.0 if in_data else None), **params)
    for found in (rank(path), rank(refitted), rank(fit_path(live.compact(), **params))):
        assert dict(found) == pytest.approx(before | {7: 1.0}), "the others unmoved, and this one counts as of today"
    changes = apply_change(
        live, read_change(live, "add_interactions", [{"user_id": 2, "item_id": 0, "timestamp": START + 930 * DAY}])
    )
    live = changes.data
    path = path.with_changes(changes)
    assert dict(rank(path)) == pytest.approx(dict(rank(fit_path(live, **params)))), "now goes on as events come"
    assert dict(rank(path))[7] == 1.0
    changes = apply_change(live, read_change(live, "remove_interactions", [odd]))
    live = changes.data
    assert changes.taken is not None
    assert dict(rank(path.with_changes(changes)))[7] == 0.0

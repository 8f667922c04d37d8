"""Limits learnt from the past: hand-written numbers, coverage, and what is stated where the past is short."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from multirecall.monitoring.drift.limits import FEWEST_PAIRS, STATED, drop_limit, limit_of


def test_a_limit_is_the_prediction_limit_of_one_more_value() -> None:
    past = [0.30, 0.34, 0.26, 0.32, 0.28]
    expected = 0.30 + stats.t.ppf(0.99, 4) * math.sqrt(0.001) * math.sqrt(1.2)
    found = limit_of("psi", past, 0.01)
    assert found.source == "past"
    assert found.value == pytest.approx(expected)


def test_a_change_is_judged_to_either_side_about_0() -> None:
    past = [0.1, -0.1, 0.1, -0.1, 0.1]
    assert limit_of("change", past, 0.01).value == pytest.approx(stats.t.ppf(0.995, 5) * 0.1 * math.sqrt(1.2))
    assert limit_of("change", past, 0.01) == limit_of("change", [-one for one in past], 0.01)


@pytest.mark.parametrize("kind", ["unknown items", "unknown users", "psi", "change"])
def test_a_short_past_has_the_stated_limit_and_a_steady_one_the_least(kind: str) -> None:
    stated = STATED[kind]  # type: ignore[index]
    assert limit_of(kind, [0.0] * (FEWEST_PAIRS - 1), 0.01) == (limit_of(kind, [], 0.5))  # type: ignore[arg-type]
    assert limit_of(kind, [], 0.01).value == stated.default  # type: ignore[arg-type]
    assert limit_of(kind, [], 0.01).source == "stated"  # type: ignore[arg-type]
    assert limit_of(kind, [0.0] * FEWEST_PAIRS, 0.01).value == stated.least  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["psi", "change"])
def test_false_alarms_come_at_the_stated_rate(kind: str) -> None:
    rng = np.random.default_rng(5)
    draws = rng.normal(0.0 if kind == "change" else 10.0, 2.0, (4_000, 9))
    alarms = [abs(row[-1]) > limit_of(kind, row[:-1].tolist(), 0.05).value for row in draws]  # type: ignore[arg-type]
    assert np.mean(alarms) == pytest.approx(0.05, abs=0.015)


def test_a_drop_must_be_larger_than_a_tenth_and_than_chance_beyond_it() -> None:
    wide, steady = [0.0, 1.0] * 50, [0.5] * 100
    error = math.sqrt(0.25 / 100 + 0.25 / 100)
    assert drop_limit(wide, wide, 0.01).value == pytest.approx(0.05 + stats.norm.ppf(0.99) * error)
    assert drop_limit(steady, steady, 0.01).value == pytest.approx(0.05)

"""The statistics of experiments beside oracles: simulation, scipy, hand-written numbers."""

from __future__ import annotations

from math import exp, log, sqrt

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chisquare, norm

from multirecall.errors import RequestError
from multirecall.monitoring.experiments import (
    Design,
    noise_of_means,
    noise_of_preferences,
    noise_of_rates,
    plan_effect,
    plan_users,
    users_for_mismatch,
)
from multirecall.monitoring.experiments.crossing import crossings
from multirecall.monitoring.experiments.estimates import check_shares, holm, mismatch_p, ratio_of
from multirecall.monitoring.experiments.sequential import p_value, radius, spread_for, z_bound


def walks(rng: np.random.Generator, n: int, information: NDArray[np.float64], effect: float) -> NDArray[np.float64]:
    """Estimates at each look of simulated tests, (n, n_looks): Brownian motion with drift, divided by its time."""
    steps = np.diff(information, prepend=0.0)
    sums = np.cumsum(rng.normal(effect * steps, np.sqrt(steps), (n, steps.size)), axis=1)
    return np.asarray(sums / information)


def test_a_p_value_by_hand() -> None:
    """D = 3, V = 1, τ = 2: I τ² = 4, E = exp(9/2 · 4/5) / √5."""
    assert p_value(3.0, 1.0, 2.0) == pytest.approx(sqrt(5) / exp(3.6))
    assert p_value(0.0, 1.0, 2.0) == 1.0
    assert p_value(3.0, 0.0, 2.0) == 1.0


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_the_interval_leaves_out_what_its_p_value_refuses(alpha: float) -> None:
    variance, spread = np.array([1e-4, 0.3, 2.0]), 0.2
    half = radius(variance, spread, alpha)
    assert p_value(half, variance, spread) == pytest.approx(alpha)
    assert radius(0.0, spread, alpha) == np.inf


def test_the_spread_is_the_best_one_where_the_effect_is_found() -> None:
    spread = float(spread_for(0.1, 0.05))
    found = (float(z_bound((8.2 / spread**2), spread, 0.05)) + norm.ppf(0.8)) ** 2 / 0.1**2
    others = [float(z_bound(found, spread * by, 0.05)) for by in (0.8, 0.9, 1.1, 1.25)]
    assert float(z_bound(found, spread, 0.05)) < min(others)


def test_looking_every_time_gives_no_more_false_alarms_than_alpha() -> None:
    information = np.linspace(1, 400, 400)
    means = walks(np.random.default_rng(1), 4_000, information, 0.0)
    alarms = (np.abs(means) > radius(1 / information, 0.2, 0.05)).any(axis=1).mean()
    naive = (np.abs(means) > norm.ppf(0.975) / np.sqrt(information)).any(axis=1).mean()
    assert 0.01 < alarms < 0.05
    assert naive > 0.3


@pytest.mark.parametrize("effect", [0.0, 0.15, 0.3])
def test_crossings_are_what_simulated_tests_do(effect: float) -> None:
    information = np.linspace(10, 200, 20)
    means = walks(np.random.default_rng(2), 20_000, information, effect)
    crossed = np.logical_or.accumulate(np.abs(means) > radius(1 / information, 0.2, 0.05), axis=1).mean(axis=0)
    assert crossings(effect, 0.2, information, 0.05) == pytest.approx(crossed, abs=0.012)


def test_a_test_that_looks_once_needs_what_the_textbook_says() -> None:
    """10 % against 12 %, 5 % two-sided, 80 %: (1.95996 + 0.84162)² · (0.09 + 0.1056) / 0.02² = 3,838 in each arm."""
    plan = plan_users(0.02, noise_of_rates(0.1, (0.5, 0.5)), Design(looks=None))
    assert plan.users == pytest.approx(2 * 3838, abs=1)
    assert plan.mean_users == plan.users


@pytest.mark.parametrize("looks", [None, 1, 14])
def test_the_effect_of_so_many_users_needs_so_many_users(looks: int | None) -> None:
    design = Design(looks=looks, comparisons=2, power=0.9)
    for noise, most in (
        (noise_of_rates(0.1, (0.5, 0.2)), 0.9),
        (noise_of_means(3.0, (0.8, 0.2)), 100.0),
        (noise_of_preferences(0.3, 0.5), 1.0),
    ):
        effect = plan_effect(20_000, noise, design, most).effect
        assert plan_users(effect, noise, design).users == pytest.approx(20_000, abs=1)


def test_a_sequential_test_has_the_power_that_it_was_planned_for() -> None:
    """Users with normal outcomes, of whom a part comes each day."""
    plan = plan_users(0.1, noise_of_means(1.0, (0.5, 0.5)), Design(looks=28))
    information = np.arange(1, 29) / 28 * plan.users / 4
    means = walks(np.random.default_rng(3), 4_000, information, 0.1)
    crossed = np.abs(means) > radius(1 / information, spread_for(0.1, 0.05), 0.05)
    assert crossed.any(axis=1).mean() == pytest.approx(0.8, abs=0.02)
    stopped = np.where(crossed.any(axis=1), crossed.argmax(axis=1) + 1, 28)
    assert stopped.mean() / 28 * plan.users == pytest.approx(plan.mean_users, rel=0.02)


def test_too_few_users_find_nothing() -> None:
    with pytest.raises(RequestError, match="3 are too few to find any effect"):
        plan_effect(3, noise_of_rates(0.5, (0.5, 0.5)), Design(), 0.5)
    with pytest.raises(RequestError, match="alpha: must be above 0 and below 1, got 5"):
        Design(alpha=5)


def test_a_ratio_has_the_variance_of_users_not_of_requests() -> None:
    """Each user is asked often, and always does the same: the requests of a user are one observation."""
    rng = np.random.default_rng(4)
    requests = rng.integers(1, 20, (3_000, 400)).astype(np.float64)
    hits = requests * (rng.random((3_000, 400)) < 0.3)
    ratio, variance = ratio_of(hits, requests)
    assert np.sqrt(variance).mean() == pytest.approx(ratio.std(), rel=0.05)
    by_request = np.sqrt(ratio * (1 - ratio) / requests.sum(-1))
    assert by_request.mean() < ratio.std() / 3


def test_a_mean_is_a_ratio_to_ones() -> None:
    values = np.array([1.0, 4.0, 2.0, 2.0])
    ratio, variance = ratio_of(values, np.ones(4))
    assert ratio == values.mean()
    assert variance == pytest.approx(values.var(ddof=1) / 4)
    assert np.isnan(ratio_of(values[:1], np.ones(1))).all()


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]
    assert holm([]).size == 0


def test_shares_are_checked_as_scipy_does() -> None:
    found = check_shares([5_100, 4_900, 1_900], [0.4, 0.4, 0.2])
    expected = [4_760.0, 4_760.0, 2_380.0]
    assert found.expected == pytest.approx(expected)
    assert found.p == pytest.approx(chisquare(found.observed, expected).pvalue)
    assert found.alarming
    assert not check_shares([5_000, 4_950], [0.5, 0.5]).alarming
    assert check_shares([10], [1.0]).p == 1.0
    assert check_shares([0, 0], [0.5, 0.5]).p == 1.0


def test_a_wrong_split_is_found_at_the_size_that_is_planned() -> None:
    users = users_for_mismatch([0.5, 0.5], [0.505, 0.495], 0.9)
    assert users == pytest.approx((norm.ppf(0.9995) + norm.ppf(0.9)) ** 2 / 0.01**2, rel=0.01)
    rng = np.random.default_rng(5)
    for share, low, high in ((0.505, 0.87, 0.93), (0.5, 0.0, 0.003)):
        first = rng.binomial(users, share, 4_000)
        found = (mismatch_p(np.stack([first, users - first], axis=1), [1, 1]) < 0.001).mean()
        assert low <= found <= high


def test_bounds_widen_as_their_logarithm() -> None:
    """At x = I τ² = 3 and α = e^-2: √((1 + 1/3)(4 + ln 4))."""
    assert z_bound(3.0, 1.0, exp(-2)) == pytest.approx(sqrt(4 / 3 * (4 + log(4))))

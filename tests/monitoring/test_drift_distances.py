"""Distances of samples: against hand-written numbers, and free of what chance adds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multirecall.monitoring.drift.distances import Values, distance, divergence, stability_index


def test_the_stability_index_of_two_cells() -> None:
    p, q = 60.5 / 101, 30.5 / 101
    expected = (p - q) * math.log(p / q) + ((1 - p) - (1 - q)) * math.log((1 - p) / (1 - q))
    assert stability_index(np.array([60.0, 40.0]), np.array([30.0, 70.0])) == pytest.approx(expected)


def test_the_divergence_of_disjoint_samples_is_one_bit() -> None:
    assert divergence(np.array([5.0, 0.0]), np.array([0.0, 3.0])) == pytest.approx(1.0)
    assert divergence(np.array([5.0, 5.0]), np.array([1.0, 1.0])) == 0.0


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=2, max_size=20))
def test_both_are_symmetric_and_bounded(counts: list[tuple[int, int]]) -> None:
    first, second = np.array(counts, np.float64).T
    if first.sum() and second.sum():
        assert stability_index(first, second) == pytest.approx(stability_index(second, first))
        assert stability_index(first, second) >= -1e-12
        assert divergence(first, second) == pytest.approx(divergence(second, first))
        assert -1e-12 <= divergence(first, second) <= 1 + 1e-12


def draw(seed: int, n_items: int, n_users: int, per_user: int, tilt: float = 0.0) -> Values:
    """Events of users on items of falling popularity; a user keeps to a few items. `tilt` lifts the last tenth."""
    rng = np.random.default_rng(seed)
    shares = 1.0 / np.arange(5, n_items + 5)
    shares[-n_items // 10 :] *= 1 + tilt
    shares /= shares.sum()
    owned = rng.choice(n_items, (n_users, 3), p=shares)
    owners = np.repeat(np.arange(n_users, dtype=np.int32), per_user)
    return Values(owned[owners, rng.integers(0, 3, owners.size)].astype(np.int64), owners)


def test_two_samples_of_one_distribution_are_about_0_apart_though_the_plain_index_is_large() -> None:
    """Many items, few events that come in users' lots: the plain figure is large without any drift."""
    found, plain = [], []
    for seed in range(12):
        first, second = draw(2 * seed, 400, 120, 8), draw(2 * seed + 1, 400, 120, 8)
        counts = [np.bincount(one.content, minlength=400).astype(np.float64) for one in (first, second)]
        plain.append(stability_index(counts[0], counts[1]))
        found.append(distance(first, second).psi)
    assert min(plain) > 0.5
    assert abs(np.mean(found)) < 0.05
    assert max(map(abs, found)) < 0.25 < min(plain) / 2


def test_samples_of_unequal_size_are_about_0_apart() -> None:
    found = [distance(draw(seed, 400, 1_000, 8), draw(seed + 50, 400, 60, 8)).psi for seed in range(10)]
    assert abs(np.mean(found)) < 0.05


def test_a_shift_shows_and_grows_with_its_size() -> None:
    quiet, small, large = (distance(draw(1, 300, 600, 8), draw(2, 300, 600, 8, tilt)) for tilt in (0.0, 4.0, 20.0))
    assert quiet.psi < 0.05 < small.psi < large.psi / 2
    assert quiet.js < small.js < large.js < 1


def test_numbers_go_into_bins_and_null_is_a_cell() -> None:
    rng = np.random.default_rng(3)
    owners = np.arange(2_000, dtype=np.int32)
    numbers = rng.normal(size=2_000)
    moved = rng.normal(1.0, 1.0, 2_000)
    half_null = np.where(owners % 2 == 0, np.nan, rng.normal(size=2_000))
    assert abs(distance(Values(numbers, owners), Values(rng.normal(size=2_000), owners)).psi) < 0.02
    assert distance(Values(numbers, owners), Values(moved, owners)).psi > 0.5
    assert distance(Values(numbers, owners), Values(half_null, owners)).psi > 0.5


def test_an_empty_sample_or_one_user_is_no_error() -> None:
    none = Values(np.empty(0, np.int64), np.empty(0, np.int32))
    one = Values(np.array([3, 3]), np.array([0, 0], np.int32))
    assert distance(none, one) == (0.0, 0.0)
    assert np.isfinite(distance(one, one).psi)


def test_the_seed_decides() -> None:
    first, second = draw(1, 50, 40, 5), draw(2, 50, 40, 5)
    assert distance(first, second, 3) == distance(first, second, 3) != distance(first, second, 4)

from __future__ import annotations

import numpy as np
import pytest

from multirecall.retrievers._towers.negatives import NegativesConfig, Sampler

COUNTS = np.array([0, 8, 2, 0, 1, 5])
DRAWS = 60_000


def sampler(**settings: object) -> Sampler:
    return Sampler.of(NegativesConfig.model_validate(settings), COUNTS)


def assert_distributed(items: np.ndarray, chances: np.ndarray) -> None:
    """Pearson's statistic stays below what 1 of 10,000 true samples exceeds (3 degrees of freedom)."""
    observed = np.bincount(items, minlength=COUNTS.size)
    assert observed[chances == 0].sum() == 0
    expected = chances * items.size
    some = chances > 0
    assert ((observed[some] - expected[some]) ** 2 / expected[some]).sum() < 21.1


def test_uniform_draws_are_even_over_items_with_interactions() -> None:
    drawn = sampler(uniform=DRAWS).draw(np.random.default_rng(0))
    assert_distributed(drawn, (COUNTS > 0) / 4)


@pytest.mark.parametrize("alpha", [0.0, 0.75, 1.0])
def test_draws_by_frequency_follow_the_power_of_the_count(alpha: float) -> None:
    drawn = sampler(uniform=0, frequency=DRAWS, alpha=alpha).draw(np.random.default_rng(1))
    powers = np.array([0, 8**alpha, 2**alpha, 0, 1, 5**alpha])
    assert_distributed(drawn, powers / powers.sum())


def test_uniform_ones_come_before_those_by_frequency() -> None:
    assert sampler(uniform=3, frequency=4).draw(np.random.default_rng(2)).size == 7


def test_log_q_is_that_of_the_mixture() -> None:
    """A batch of 10 positives, 6 uniform draws and 4 by frequency: Q = (10 p + 6 / 4 + 4 q) / 20."""
    found = np.exp(sampler(uniform=6, frequency=4, alpha=1.0).log_q(10))
    p = COUNTS / 16
    expected = (10 * p + 6 / 4 * (COUNTS > 0) + 4 * p) / 20
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.sum() == pytest.approx(1.0)


def test_log_q_without_the_batch_leaves_the_batch_out() -> None:
    found = np.exp(sampler(in_batch=False, uniform=6).log_q(10))
    np.testing.assert_allclose(found, (COUNTS > 0) / 4, rtol=1e-6)


def test_measured_shares_of_a_mixture_agree_with_its_log_q() -> None:
    own = sampler(uniform=512, frequency=256, alpha=0.5)
    rng = np.random.default_rng(3)
    columns = [np.concatenate([rng.choice(6, 1024, p=COUNTS / 16), own.draw(rng)]) for _ in range(40)]
    assert_distributed(np.concatenate(columns), np.exp(own.log_q(1024)).astype(float))


def test_no_source_is_refused() -> None:
    with pytest.raises(ValueError, match="no source of negatives"):
        NegativesConfig(in_batch=False, uniform=0)


def test_all_items_of_a_small_catalogue_are_negatives_once() -> None:
    """Four items can be drawn; nothing is drawn then, and no item is likelier than another."""
    own = sampler(all_up_to=4, frequency=7)
    assert own.draw(np.random.default_rng(4)).tolist() == [1, 2, 4, 5]
    assert not own.log_q(10).any()


def test_a_larger_catalogue_is_drawn_from() -> None:
    own = sampler(all_up_to=3, frequency=7)
    assert own.draw(np.random.default_rng(4)).size == 1024 + 7
    assert own.log_q(10)[1] < 0

"""Learning coefficients: the loss written out, its gradient, and what is found where the truth is known."""

from __future__ import annotations

from math import exp, log
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multirecall.learning.coefficients import Chosen, calibrate, learn_coefficients, scale_prior
from multirecall.learning.design import Design
from multirecall.learning.products import product

Floats = np.ndarray[Any, np.dtype[np.float64]]
TRUTH = np.array([1.5, 0.5, 0.0])
FREE = np.full(3, -np.inf)


def design_of(requests: list[tuple[list[list[float]], list[list[float]], float]]) -> Design:
    """A design of requests, each with the rows of its chosen candidates, those of the others, and its `expand`."""
    return Design(
        np.array([row for chosen, others, _ in requests for row in (*chosen, *others)], np.float32),
        np.cumsum([0, *(len(chosen) + len(others) for chosen, others, _ in requests)]),
        np.array([len(chosen) for chosen, _, _ in requests]),
        np.array([expand for _, _, expand in requests]),
    )


def drawn(n: int, n_candidates: int, coefficients: Floats, n_others: int | None = None, seed: int = 0) -> Design:
    """Requests of which each chooses one candidate with the probability that `coefficients` give it."""
    rng = np.random.default_rng(seed)
    n_others = n_candidates - 1 if n_others is None else n_others
    rows = rng.random((n, n_candidates, coefficients.size)) * 3
    scores = rows @ coefficients
    best = np.argmax(scores + rng.gumbel(size=scores.shape), axis=1)
    requests = []
    for own, one in zip(rows, best.tolist(), strict=True):
        others = np.delete(own, one, axis=0)
        kept = others[rng.permutation(len(others))[:n_others]]
        requests.append(([own[one].tolist()], kept.tolist(), len(others) / n_others))
    return design_of(requests)


def test_the_loss_of_a_request_written_out() -> None:
    design = design_of([([[1.0, 0.0], [0.0, 2.0]], [[1.0, 1.0], [0.0, 0.5]], 3.0)])
    losses, _ = Chosen.of(design).losses(np.array([0.5, 0.25]))
    first = exp(0.5) / (exp(0.5) + 3 * (exp(0.75) + exp(0.125)))
    second = exp(0.5) / (exp(0.5) + 3 * (exp(0.75) + exp(0.125)))
    assert losses.tolist() == pytest.approx([-(log(first) + log(second)) / 2])


def test_requests_without_a_choice_teach_nothing() -> None:
    design = design_of(
        [([], [[1.0]], 1.0), ([[1.0]], [[0.0]], 1.0), ([[2.0]], [], 1.0), ([[0.5]], [[1.0], [3.0]], 2.0)]
    )
    chosen = Chosen.of(design)
    assert len(chosen) == 2
    expected = [-log(exp(2) / (exp(2) + 1)), -log(exp(1) / (exp(1) + 2 * (exp(2) + exp(6))))]
    assert chosen.losses(np.array([2.0]))[0].tolist() == pytest.approx(expected)
    nothing = Chosen.of(design_of([([], [[1.0]], 1.0)]))
    prior = np.array([0.7])
    assert learn_coefficients(nothing, prior, np.zeros(1)).tolist() == prior.tolist()
    assert scale_prior(nothing, prior).tolist() == prior.tolist()


ROWS = st.lists(st.lists(st.floats(-2, 2, width=32), min_size=3, max_size=3), min_size=1, max_size=4)


@given(
    st.lists(st.tuples(ROWS, ROWS, st.floats(1, 9)), min_size=1, max_size=4),
    st.lists(st.floats(-1, 1, width=32), min_size=3, max_size=3),
)
def test_the_gradient_is_that_of_finite_differences(
    requests: list[tuple[list[list[float]], list[list[float]], float]], point: list[float]
) -> None:
    chosen, at, step = Chosen.of(design_of(requests)), np.array(point), 2.0**-6
    _, gradient = chosen.losses(at)
    for column in range(3):
        away = np.zeros(3)
        away[column] = step
        slope = (chosen.losses(at + away)[0].sum() - chosen.losses(at - away)[0].sum()) / (2 * step)
        assert gradient[column] == pytest.approx(slope, abs=0.01 * len(requests))


def test_known_coefficients_are_found() -> None:
    found = learn_coefficients(Chosen.of(drawn(3_000, 20, TRUTH)), np.ones(3), FREE)
    np.testing.assert_allclose(found, TRUTH, atol=0.12)


def test_a_sample_of_the_others_stands_for_all() -> None:
    whole, sample = drawn(1_500, 120, TRUTH, seed=1), drawn(1_500, 120, TRUTH, n_others=40, seed=1)
    found = [learn_coefficients(Chosen.of(design), np.ones(3), FREE) for design in (whole, sample)]
    np.testing.assert_allclose(found[1], found[0], atol=0.15)
    losses = [Chosen.of(design).losses(TRUTH)[0].mean() for design in (whole, sample)]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_few_requests_stay_near_the_prior_and_many_do_not() -> None:
    prior = np.array([0.0, 1.0, 1.0])
    distances = []
    for n in (1, 30, 3_000):
        found = learn_coefficients(Chosen.of(drawn(n, 20, TRUTH, seed=2)), prior, FREE)
        distances.append(float(np.linalg.norm(found - prior)))
    assert distances[0] < 0.2 < distances[1] < distances[2]
    assert distances[2] == pytest.approx(np.linalg.norm(TRUTH - prior), rel=0.1)


def test_no_coefficient_is_below_its_lowest() -> None:
    chosen = Chosen.of(drawn(1_000, 20, np.array([1.0, -1.0, -1.0])))
    found = learn_coefficients(chosen, np.ones(3), np.array([0.0, 0.0, -0.25]))
    assert found[0] > 0.5
    assert found[1:].tolist() == [0.0, -0.25]


def test_where_the_search_begins_does_not_matter() -> None:
    chosen = Chosen.of(drawn(300, 20, TRUTH))
    found = [learn_coefficients(chosen, np.ones(3), FREE, start) for start in (None, np.zeros(3), 3 * np.ones(3))]
    np.testing.assert_allclose(found[1], found[0], atol=0.02)
    np.testing.assert_allclose(found[2], found[0], atol=0.02)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_equal_weights_get_the_scale_that_fits(factor: float) -> None:
    prior = np.array([1.0, 0.0, 1.0])
    scaled = scale_prior(Chosen.of(drawn(2_000, 20, factor * prior)), prior)
    np.testing.assert_allclose(scaled, factor * prior, atol=0.15)


def test_scores_become_log_odds() -> None:
    """Candidates are chosen with log odds `1.5 · score - 3`; half of those not chosen were sampled."""
    rng = np.random.default_rng(5)
    requests, scores = [], []
    for _ in range(3_000):
        own = rng.normal(0, 1, 20)
        is_chosen = rng.random(20) < 1 / (1 + np.exp(3 - 1.5 * own))
        others = own[~is_chosen]
        sample = others[: max(1, others.size // 2)]
        requests.append(([[one] for one in own[is_chosen]], [[one] for one in sample], others.size / sample.size))
        scores += [*own[is_chosen], *sample]
    factor, intercept = calibrate(design_of(requests), np.array(scores))
    assert factor == pytest.approx(1.5, abs=0.05)
    assert intercept == pytest.approx(-3.0, abs=0.05)


class Flagging(np.ndarray):
    """An array whose product sets the processor's flag "invalid value", as unused lanes of a register may."""

    def __matmul__(self, other: Any) -> Any:
        np.sqrt(np.array([-1.0]))
        return np.asarray(self) @ other


def test_a_product_is_judged_by_its_result() -> None:
    one = np.ones((2, 2)).view(Flagging)
    with pytest.warns(RuntimeWarning, match="invalid value"):
        assert (one @ np.ones(2)).tolist() == [2.0, 2.0]
    assert product(one, np.ones(2)).tolist() == [2.0, 2.0]


def test_a_product_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(FloatingPointError, match=r"\(2,\) and \(2,\)"):
        product(np.array([np.inf, 1.0]), np.array([0.0, 1.0]))

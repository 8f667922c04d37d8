from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
import torch
from torch import Tensor

from multirecall.retrievers._towers.losses import (
    LOSSES,
    BlockwiseLoss,
    Columns,
    Loss,
    Slopes,
    bce,
    bpr,
    infonce,
    softmax,
    triplet,
)

COUNTS = torch.tensor([1.0, 2.0, 1.0, 3.0])
LOG_Q = torch.tensor([0.1, 0.2, 0.3, 0.4]).log()
COLUMNS = Columns(COUNTS, LOG_Q, False, 0.2)
SCORES = [1.0, 0.5, 2.0, -1.0]
OWN, OWN_Q = 0.3, 0.05


def one(loss: Loss, hit: int = -1) -> float:
    """The loss of one example with a positive of score 0.3 and Q 0.05, and the columns above."""
    slopes = loss(*(torch.tensor([value]) for value in (OWN, SCORES, hit, log(OWN_Q))), COLUMNS)
    return float(slopes.losses[0])


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def test_softmax_by_hand() -> None:
    """Each logit is s − log Q, so exp(logit) is exp(s) / Q; the positive once, a negative as often as drawn."""
    positive = exp(OWN) / OWN_Q
    others = exp(1.0) / 0.1 + 2 * exp(0.5) / 0.2 + exp(2.0) / 0.3 + 3 * exp(-1.0) / 0.4
    assert one(softmax) == pytest.approx(-log(positive / (positive + others)), rel=1e-5)


def test_the_column_of_the_own_positive_does_not_count() -> None:
    positive = exp(OWN) / OWN_Q
    others = exp(1.0) / 0.1 + exp(2.0) / 0.3 + 3 * exp(-1.0) / 0.4
    assert one(softmax, hit=1) == pytest.approx(-log(positive / (positive + others)), rel=1e-5)


def test_infonce_by_hand() -> None:
    others = exp(1.0) + 2 * exp(0.5) + 3 * exp(-1.0)
    assert one(infonce, hit=2) == pytest.approx(-log(exp(OWN) / (exp(OWN) + others)), rel=1e-5)


def test_bpr_by_hand() -> None:
    expected = -(2 * log(sigmoid(OWN - 0.5)) + log(sigmoid(OWN - 2.0)) + 3 * log(sigmoid(OWN + 1.0))) / 6
    assert one(bpr, hit=0) == pytest.approx(expected, rel=1e-5)


def test_bce_by_hand() -> None:
    negatives = log(1 - sigmoid(1.0)) + 2 * log(1 - sigmoid(0.5)) + log(1 - sigmoid(2.0))
    assert one(bce, hit=3) == pytest.approx(-log(sigmoid(OWN)) - negatives / 4, rel=1e-5)


def test_triplet_by_hand() -> None:
    """The column 3 is behind by 1.3, more than the margin."""
    expected = (0.2 + 1.0 - OWN) + 2 * (0.2 + 0.5 - OWN) + (0.2 + 2.0 - OWN)
    assert one(triplet) == pytest.approx(expected / 7, rel=1e-5)


@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("name", list(LOSSES))
def test_gradient_is_that_of_the_loss(name: str, alike: bool) -> None:
    rng = np.random.default_rng(3)
    scores, positive = torch.from_numpy(rng.normal(0, 2, (4, 4))), torch.from_numpy(rng.normal(0, 2, 4))
    hits, log_q = torch.tensor([0, 2, 3, -1]), torch.tensor([-1.0, -2.0, -3.0, -2.5]).double()
    counts, column_log_q = (torch.ones(4), torch.full((4,), -2.0)) if alike else (COUNTS, LOG_Q)
    columns = Columns(counts.double(), column_log_q.double(), alike, 0.2)

    def slopes(positive: Tensor, scores: Tensor) -> Slopes:
        return LOSSES[name](positive, scores.clone(), hits, log_q, columns)

    found = slopes(positive, scores)
    gradient = found.columns * found.factors[:, None]
    step = 1e-6 * torch.eye(4).double()
    for place in range(4):
        sides = [slopes(positive + sign * step[place], scores).losses for sign in (1, -1)]
        numeric = (sides[0] - sides[1]) / 2e-6
        assert float(found.positive[place]) == pytest.approx(float(numeric[place]), abs=1e-6)
        sides = [slopes(positive, scores + sign * step[place]).losses for sign in (1, -1)]
        torch.testing.assert_close(gradient[:, place], (sides[0] - sides[1]) / 2e-6, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", list(LOSSES))
def test_columns_that_are_alike_give_what_the_general_form_gives(name: str) -> None:
    scores, positive, hits = torch.randn(3, 4), torch.randn(3), torch.tensor([-1, 2, 0])
    forms = [
        LOSSES[name](
            positive, scores.clone(), hits, torch.zeros(3), Columns(torch.ones(4), torch.full((4,), 0.5), alike, 0.2)
        )
        for alike in (True, False)
    ]
    for one_form, other in zip(*forms, strict=True):
        torch.testing.assert_close(one_form, other)


@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize("width", [0, 1])
def test_an_example_without_negatives_costs_nothing_for_them(name: str, width: int) -> None:
    columns = Columns(torch.full((width,), 5.0), torch.zeros(width), False, 0.2)
    hits = torch.tensor([width - 1])
    slopes = LOSSES[name](torch.tensor([0.7]), torch.full((1, width), 0.7), hits, torch.zeros(1), columns)
    assert float(slopes.losses[0]) == pytest.approx(-log(sigmoid(0.7)) if name == "bce" else 0.0)
    assert float(slopes.positive[0]) == pytest.approx(sigmoid(0.7) - 1 if name == "bce" else 0.0)
    assert not (slopes.columns * slopes.factors).any()


@pytest.mark.parametrize("name", list(LOSSES))
def test_extreme_scores_have_finite_losses_and_gradients(name: str) -> None:
    scores = torch.tensor([[1000.0, -1000.0, 0.0, 999.0], [-1000.0] * 4, [1000.0] * 4])
    for own in (-1000.0, 1000.0):
        slopes = LOSSES[name](torch.full((3,), own), scores.clone(), torch.tensor([0, -1, 3]), torch.zeros(3), COLUMNS)
        assert all(value.isfinite().all() for value in slopes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_blocks_give_the_loss_and_gradients_of_the_whole(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    """Users, positives, columns and the factor get the gradients that torch finds for the formula in one piece."""
    monkeypatch.setattr("multirecall.retrievers._towers.losses.BLOCK", 3)
    torch.manual_seed(0)
    users, positives, negatives = (torch.randn(n, 5).requires_grad_() for n in (8, 8, 4))
    scale = torch.tensor(2.0, requires_grad=True)
    hits, weights = torch.tensor([0, 1, 2, 3, -1, 2, 1, -1]), torch.arange(1.0, 9.0)
    log_q = torch.linspace(-3, -1, 8)
    leaves = users, positives, negatives, scale

    def whole() -> Tensor:
        own = scale * (users * positives).sum(1) - log_q
        logits = scale * users @ negatives.T - LOG_Q + COUNTS.log()
        logits = logits.masked_fill(hits[:, None] == torch.arange(4), -torch.inf)
        losses = torch.logsumexp(torch.cat([own[:, None], logits], 1), 1) - own
        return (losses * weights).sum() / weights.sum()

    expected = torch.autograd.grad(whole(), leaves)
    loss = BlockwiseLoss.apply(*leaves, weights, hits, log_q, COLUMNS, softmax, dtype)
    rtol, atol = (1e-5, 1e-6) if dtype == torch.float32 else (3e-2, 3e-2)
    assert loss.item() == pytest.approx(whole().item(), rel=rtol)
    for found, wanted in zip(torch.autograd.grad(loss, leaves), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=rtol, atol=atol)

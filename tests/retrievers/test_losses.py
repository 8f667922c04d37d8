from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
import torch
from torch import Tensor

from multirecall.retrievers._towers.losses import LOSSES, BlockwiseLoss, Columns, bce, bpr, infonce, softmax, triplet

COUNTS = torch.tensor([1.0, 2.0, 0.0, 3.0])
LOG_Q = torch.tensor([0.1, 0.2, 0.3, 0.4]).log()
SCORES = [1.0, 0.5, 2.0, -1.0]


def one(loss: object, positive: int) -> float:
    """The loss of one example with the scores, counts and Q above, margin 0.2."""
    losses, _ = loss(torch.tensor([SCORES]), torch.tensor([positive]), Columns(COUNTS, LOG_Q, 0.2))  # type: ignore[operator]
    return float(losses[0])


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def test_softmax_by_hand() -> None:
    """Each logit is s − log Q, so exp(logit) is exp(s) / Q; the positive once, a negative as often as drawn."""
    positive = exp(1.0) / 0.1
    others = 2 * exp(0.5) / 0.2 + 0 + 3 * exp(-1.0) / 0.4
    assert one(softmax, 0) == pytest.approx(-log(positive / (positive + others)), rel=1e-5)


def test_a_positive_that_nobody_drew_still_counts_once() -> None:
    positive = exp(2.0) / 0.3
    others = exp(1.0) / 0.1 + 2 * exp(0.5) / 0.2 + 3 * exp(-1.0) / 0.4
    assert one(softmax, 2) == pytest.approx(-log(positive / (positive + others)), rel=1e-5)


def test_infonce_by_hand() -> None:
    others = 2 * exp(0.5) + 3 * exp(-1.0)
    assert one(infonce, 0) == pytest.approx(-log(exp(1.0) / (exp(1.0) + others)), rel=1e-5)


def test_bpr_by_hand() -> None:
    expected = -(2 * log(sigmoid(1.0 - 0.5)) + 3 * log(sigmoid(1.0 + 1.0))) / 5
    assert one(bpr, 0) == pytest.approx(expected, rel=1e-5)


def test_bce_by_hand() -> None:
    expected = -log(sigmoid(1.0)) - (2 * log(1 - sigmoid(0.5)) + 3 * log(1 - sigmoid(-1.0))) / 5
    assert one(bce, 0) == pytest.approx(expected, rel=1e-5)


def test_triplet_by_hand() -> None:
    """Column 3 is behind by 1.5 and more than the margin; columns 0 (once) is ahead."""
    assert one(triplet, 1) == pytest.approx((1 * (0.2 + 1.0 - 0.5) + 3 * 0.0) / 4, rel=1e-5)


@pytest.mark.parametrize("name", list(LOSSES))
def test_gradient_is_that_of_the_loss(name: str) -> None:
    loss = LOSSES[name]
    rng = np.random.default_rng(3)
    scores = torch.from_numpy(rng.normal(0, 2, (3, 4)))
    positives = torch.tensor([0, 2, 3])
    columns = Columns(COUNTS.double(), LOG_Q.double(), 0.2)
    _, gradient = loss(scores.clone(), positives, columns)
    for row, column in np.ndindex(3, 4):
        sides = []
        for step in (1e-6, -1e-6):
            moved = scores.clone()
            moved[row, column] += step
            sides.append(float(loss(moved, positives, columns)[0][row]))
        assert float(gradient[row, column]) == pytest.approx((sides[0] - sides[1]) / 2e-6, abs=1e-6)


@pytest.mark.parametrize("name", ["bpr", "bce", "triplet"])
def test_an_example_without_negatives_costs_nothing_for_them(name: str) -> None:
    columns = Columns(torch.tensor([5.0, 0.0]), torch.zeros(2), 0.2)
    losses, gradient = LOSSES[name](torch.tensor([[0.7, 0.9]]), torch.tensor([0]), columns)
    assert float(losses[0]) == pytest.approx(-log(sigmoid(0.7)) if name == "bce" else 0.0)
    assert gradient[0, 1] == 0


def test_blocks_give_the_loss_and_gradients_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users, items and the factor get the gradients that torch finds for the same formula in one piece."""
    monkeypatch.setattr("multirecall.retrievers._towers.losses.BLOCK", 3)
    torch.manual_seed(0)
    users, items = (torch.randn(n, 5).requires_grad_() for n in (8, 4))
    scale = torch.tensor(2.0, requires_grad=True)
    positives, weights = torch.tensor([0, 1, 2, 3, 3, 2, 1, 0]), torch.arange(1.0, 9.0)
    columns = Columns(COUNTS, LOG_Q, 0.0)

    def whole() -> Tensor:
        logits = scale * users @ items.T - LOG_Q
        masked = (logits + COUNTS.log()).scatter(1, positives[:, None], logits.gather(1, positives[:, None]))
        losses = torch.logsumexp(masked, 1) - logits.gather(1, positives[:, None]).squeeze(1)
        return (losses * weights).sum() / weights.sum()

    expected = torch.autograd.grad(whole(), (users, items, scale))
    loss = BlockwiseLoss.apply(users, items, scale, positives, weights, columns, softmax, torch.float32)
    assert loss.item() == pytest.approx(whole().item(), rel=1e-6)
    for found, wanted in zip(torch.autograd.grad(loss, (users, items, scale)), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)

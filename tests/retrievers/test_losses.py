from __future__ import annotations

from functools import partial
from math import exp, log

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

from multirecall.retrievers._towers.exponentials import exponentials
from multirecall.retrievers._towers.losses import (
    LOSSES,
    Block,
    BlockwiseLoss,
    Columns,
    Loss,
    Slopes,
    bce,
    bpr,
    bpr_max,
    gbce,
    infonce,
    softmax,
    triplet,
)

COUNTS = torch.tensor([1.0, 2.0, 1.0, 3.0])
LOG_Q = torch.tensor([0.1, 0.2, 0.3, 0.4]).log()
SCORES = [1.0, 0.5, 2.0, -1.0]
OWN, OWN_Q = 0.3, 0.05


def columns_of(counts: Tensor = COUNTS, log_q: Tensor = LOG_Q, alike: bool = False, hardness: float = 0.0) -> Columns:
    """Drawn from 11 items; margin 0.2, calibration 0.75, penalty 0.5."""
    return Columns(counts, log_q, alike, 11, 0.2, 0.75, 0.5, hardness)


def slopes_of(
    loss: Loss, positive: Tensor, scores: Tensor, hits: list[int], log_q: Tensor, columns: Columns | None = None
) -> Slopes:
    room = torch.empty_like(scores), torch.empty_like(scores)
    block = Block(positive, scores.clone(), torch.tensor(hits)[:, None], log_q, *room)
    return loss(block, columns or columns_of())


def one(loss: Loss, hit: int = -1) -> float:
    """The loss of one example with a positive of score 0.3 and Q 0.05, and the columns above."""
    slopes = slopes_of(loss, torch.tensor([OWN]), torch.tensor([SCORES]), [hit], torch.tensor([log(OWN_Q)]))
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


def test_hard_negatives_weigh_more_by_hand() -> None:
    """The column 1 is an accidental hit. The others were drawn 1, 1 and 3 times; their mean weight is 1."""
    draws, scores = [1, 1, 3], [1.0, 2.0, -1.0]
    weights = [exp(0.5 * score) for score in scores]
    mean = sum(n * weight for n, weight in zip(draws, weights, strict=True)) / 5
    others = sum(n * weight / mean * exp(score) for n, weight, score in zip(draws, weights, scores, strict=True))
    slopes = slopes_of(
        infonce, torch.tensor([OWN]), torch.tensor([SCORES]), [1], torch.zeros(1), columns_of(hardness=0.5)
    )
    assert float(slopes.losses[0]) == pytest.approx(-log(exp(OWN) / (exp(OWN) + others)), rel=1e-5)
    parts = [n * weight / mean * exp(score) for n, weight, score in zip(draws, weights, scores, strict=True)]
    found = (slopes.columns * slopes.factors[:, None])[0]
    expected = torch.tensor([parts[0], 0.0, parts[1], parts[2]]) / (exp(OWN) + others)
    torch.testing.assert_close(found, expected)


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


def test_bpr_max_by_hand() -> None:
    """The column 1 is an accidental hit; the others share their weight by count times exp(score)."""
    parts = [exp(1.0), exp(2.0), 3 * exp(-1.0)]
    weights = [part / sum(parts) for part in parts]
    ahead = sum(weight * sigmoid(OWN - s) for weight, s in zip(weights, (1.0, 2.0, -1.0), strict=True))
    penalty = 0.5 * (weights[0] * 1.0 + weights[1] * 4.0 + weights[2] * 1.0)
    assert one(bpr_max, hit=1) == pytest.approx(-log(ahead) + penalty, rel=1e-5)


def test_gbce_by_hand() -> None:
    """Four of ten negatives are drawn, so β = 1 − 0.75 · 0.6; the negatives' terms are summed."""
    negatives = log(1 - sigmoid(1.0)) + 2 * log(1 - sigmoid(0.5)) + log(1 - sigmoid(2.0))
    expected = -(0.55 * log(sigmoid(OWN)) + negatives) / 5
    assert one(gbce, hit=3) == pytest.approx(expected, rel=1e-5)


def test_gbce_over_all_items_is_binary_cross_entropy() -> None:
    """If every other item is a negative, once or several times, β is 1, and the mean is over all eleven terms."""
    scores = torch.linspace(-1, 1, 11)[None]
    all_items = columns_of(torch.ones(11), torch.zeros(11), alike=True)
    expected = softplus(torch.tensor(-OWN)) + softplus(scores[0, 1:]).sum()
    found = slopes_of(gbce, torch.tensor([OWN]), scores, [0], torch.zeros(1), all_items)
    assert float(found.losses[0]) == pytest.approx(float(expected) / 11, rel=1e-5)
    drawn_thrice = columns_of(torch.full((11,), 3.0), torch.zeros(11))
    again = slopes_of(gbce, torch.tensor([OWN]), scores, [0], torch.zeros(1), drawn_thrice)
    torch.testing.assert_close(again.losses, found.losses)
    torch.testing.assert_close(again.positive, found.positive)
    torch.testing.assert_close(again.columns * again.factors, found.columns * found.factors)


def naive(name: str, own: Tensor, scores: Tensor, n: Tensor, q: Tensor, own_q: Tensor) -> Tensor:
    """The loss of one example as its formula says, over the columns that count for it."""
    total = n.sum()
    match name:
        case "softmax":
            return -torch.log(own.exp() / own_q / (own.exp() / own_q + (n * scores.exp() / q).sum()))
        case "infonce":
            return -torch.log(own.exp() / (own.exp() + (n * scores.exp()).sum()))
        case "bpr":
            return -(n * torch.log(torch.sigmoid(own - scores))).sum() / total
        case "triplet":
            return (n * (0.2 + scores - own).clamp_min(0)).sum() / total
        case "bpr_max":
            w = n * scores.exp() / (n * scores.exp()).sum()
            return -torch.log((w * torch.sigmoid(own - scores)).sum()) + 0.5 * (w * scores**2).sum()
        case "bce":
            return -torch.log(torch.sigmoid(own)) - (n * torch.log(torch.sigmoid(-scores))).sum() / total
        case _:
            beta = 1 - 0.75 * (1 - total / 10)
            return -(beta * torch.log(torch.sigmoid(own)) + (n * torch.log(torch.sigmoid(-scores))).sum()) / (total + 1)


@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("name", list(LOSSES))
def test_loss_and_gradient_are_those_of_the_formula(name: str, alike: bool) -> None:
    rng = np.random.default_rng(3)
    scores, positive = (torch.from_numpy(rng.normal(0, 2, shape)).requires_grad_() for shape in ((4, 4), 4))
    hits, log_q = [0, 2, 3, -1], torch.tensor([-1.0, -2.0, -3.0, -2.5]).double()
    counts, column_log_q = (torch.ones(4), torch.full((4,), -2.0)) if alike else (COUNTS, LOG_Q)
    counts, column_log_q = counts.double(), column_log_q.double()
    with torch.no_grad():
        columns = columns_of(counts, column_log_q, alike)
        found = slopes_of(LOSSES[name], positive, scores, hits, log_q, columns)
    for row, hit in enumerate(hits):
        kept = [column for column in range(4) if column != hit]
        expected = naive(
            name, positive[row], scores[row, kept], counts[kept], column_log_q[kept].exp(), log_q[row].exp()
        )
        to_positive, to_scores = torch.autograd.grad(expected, (positive, scores))
        close = partial(torch.testing.assert_close, rtol=2e-6, atol=1e-6)  # exponentials are computed in float32
        close(found.losses[row], expected.detach())
        close(found.positive[row], to_positive[row])
        close(found.columns[row] * found.factors[row], to_scores[row])


@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize("width", [0, 1])
def test_an_example_without_negatives_costs_nothing_for_them(name: str, width: int) -> None:
    """gBCE counts the positive's term alone, with the sampling rate 0."""
    columns = columns_of(torch.full((width,), 5.0), torch.zeros(width))
    scores = torch.full((1, width), 0.7)
    slopes = slopes_of(LOSSES[name], torch.tensor([0.7]), scores, [width - 1], torch.zeros(1), columns)
    share = {"bce": 1.0, "gbce": 0.25}.get(name, 0.0)
    assert float(slopes.losses[0]) == pytest.approx(-share * log(sigmoid(0.7)))
    assert float(slopes.positive[0]) == pytest.approx(-share * sigmoid(-0.7))
    assert not (slopes.columns * slopes.factors).any()


@pytest.mark.parametrize("name", list(LOSSES))
def test_extreme_scores_have_finite_losses_and_gradients(name: str) -> None:
    scores = torch.tensor([[1000.0, -1000.0, 0.0, 999.0], [-1000.0] * 4, [1000.0] * 4])
    for own in (-1000.0, 1000.0):
        slopes = slopes_of(LOSSES[name], torch.full((3,), own), scores, [0, -1, 3], torch.zeros(3))
        assert all(value.isfinite().all() for value in slopes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("n_vectors", [1, 3])
def test_blocks_give_the_loss_and_gradients_of_the_whole(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, n_vectors: int
) -> None:
    """Users, positives, columns and the factor get the gradients that torch finds for the formula in one piece.

    With several vectors, `exp` of the score of an item is summed over the vectors.
    """
    monkeypatch.setattr("multirecall.retrievers._towers.losses.BLOCK", 3)
    torch.manual_seed(0)
    users, positives, negatives = (torch.randn(*n, 5).requires_grad_() for n in ((8, n_vectors), (8,), (4,)))
    scale = torch.tensor(2.0, requires_grad=True)
    hits, weights = torch.tensor([0, 1, 2, 3, -1, 2, 1, -1]), torch.arange(1.0, 9.0)
    log_q = torch.linspace(-3, -1, 8)
    leaves = users, positives, negatives, scale

    def whole() -> Tensor:
        own = torch.logsumexp(scale * (users * positives[:, None]).sum(2), 1) - log_q
        logits = torch.logsumexp(scale * users @ negatives.T, 1) - LOG_Q + COUNTS.log()
        logits = logits.masked_fill(hits[:, None] == torch.arange(4), -torch.inf)
        losses = torch.logsumexp(torch.cat([own[:, None], logits], 1), 1) - own
        return (losses * weights).sum() / weights.sum()

    expected = torch.autograd.grad(whole(), leaves)
    columns = columns_of(COUNTS.repeat(n_vectors), LOG_Q.repeat(n_vectors))
    loss = BlockwiseLoss.apply(*leaves, weights, hits, log_q, columns, softmax, dtype)
    rtol, atol = (1e-5, 1e-6) if dtype == torch.float32 else (3e-2, 3e-2)
    assert loss.item() == pytest.approx(whole().item(), rel=rtol)
    for found, wanted in zip(torch.autograd.grad(loss, leaves), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=rtol, atol=atol)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_exponentials_are_those_of_the_sums_less_the_largest(dtype: torch.dtype) -> None:
    rng = np.random.default_rng(5)
    scores = torch.from_numpy(rng.normal(0, 30, (6, 77)).astype(np.float32)).to(dtype)
    addends = torch.from_numpy(rng.normal(0, 2, 77).astype(np.float32))
    scores[4] -= 1_000.0
    hits = torch.tensor([[-1, 3], [5, -1], [0, 76], [-1, -1], [2, 2], [-1, -1]])
    expected = (scores.float() + addends).double()
    for row, own in enumerate(hits.tolist()):
        expected[row, [hit for hit in own if hit >= 0]] = -torch.inf
    most = expected.amax(dim=1)
    expected = (expected - most[:, None]).exp()
    largest, sums = exponentials(scores, addends, hits)
    assert (largest == most).all()
    torch.testing.assert_close(sums.double(), expected.sum(dim=1), rtol=1e-6, atol=0)
    near = 4e-3 if dtype == torch.bfloat16 else 5e-6
    torch.testing.assert_close(scores.double(), expected, rtol=near, atol=1e-37)


def test_a_score_that_is_no_number_stays_none() -> None:
    """So that a training which diverges ends with an error."""
    for bad in (torch.nan, -torch.nan, torch.inf):
        scores = torch.zeros(1, 40)
        scores[0, 17] = bad
        _, sums = exponentials(scores, torch.zeros(40), torch.tensor([[-1]]))
        assert sums.isnan().all()


def test_both_ways_to_the_cross_entropy_agree() -> None:
    """Weights of hard negatives of nearly 1 take the way of a GPU."""
    rng = np.random.default_rng(6)
    positive, scores = (torch.from_numpy(rng.normal(0, 2, shape).astype(np.float32)) for shape in (9, (9, 4)))
    hits, log_q = [0, 1, 2, 3, -1, -1, 0, 1, -1], torch.full((9,), -2.0)
    fused = slopes_of(softmax, positive, scores, hits, log_q)
    other = slopes_of(softmax, positive, scores, hits, log_q, columns_of(hardness=1e-9))
    torch.testing.assert_close(fused.losses, other.losses)
    torch.testing.assert_close(fused.positive, other.positive)
    gradients = (one.columns * one.factors[:, None] for one in (fused, other))
    torch.testing.assert_close(*gradients)

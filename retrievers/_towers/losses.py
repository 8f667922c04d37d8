"""Losses of a tower model over a block of scores, each with its gradient written out.

An example has its own positive with the score `s_p`, and the `C` columns, distinct items that the whole batch shares.
Column `j` has the score `s_j` and was drawn `n_j ≥ 1` times as a negative. The column that is an example's own positive
is an accidental hit, which does not count for that example: sums over `j` leave it out, and `N` is the sum of the `n_j`
that count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import softplus

from .config import LossName, TowerConfig

BLOCK = 256
"""Examples in a block of scores: small enough that the block stays in cache."""

LOWEST = -1e30
"""The score of an accidental hit: beside any other score, its exponential is 0."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The items that a batch's examples are scored against.

    Attributes:
        counts: float32 (C,), the number of times that each item was drawn as a negative, ≥ 1.
        log_q: float32 (C,), the log of each item's probability under the distribution of negatives.
        alike: whether all counts are 1 and all `log_q` equal, so that a block of scores needs neither.
        margin: the margin of the triplet loss.
    """

    counts: Tensor
    log_q: Tensor
    alike: bool
    margin: float

    @classmethod
    def of(
        cls, counts: NDArray[np.integer], log_q: NDArray[np.float32], config: TowerConfig, device: torch.device
    ) -> Self:
        """The columns with these counts (C,) and `log_q` (C,), and what the losses take from the settings."""
        alike = bool((counts == 1).all() and (log_q == log_q[:1]).all())
        own_counts = torch.from_numpy(counts.astype(np.float32)).to(device)
        return cls(own_counts, torch.from_numpy(log_q).to(device), alike, config.margin)


class Slopes(NamedTuple):
    """The losses of a block of examples, and their gradient.

    Attributes:
        losses: float32 (b,).
        positive: float32 (b,), the gradient for the scores of the positives.
        columns: float32 (b, C), the gradient for the scores of the columns, divided by `factors`.
        factors: float32 (b,).
    """

    losses: Tensor
    positive: Tensor
    columns: Tensor
    factors: Tensor


Loss = Callable[[Tensor, Tensor, Tensor, Tensor, Columns], Slopes]
"""A function of the positives' scores (b,), the columns' scores (b, C), the accidental hits, int64 (b,), −1 for none,
the positives' `log_q` (b,), and the columns. It may overwrite the columns' scores."""


def softmax(positive: Tensor, scores: Tensor, hits: Tensor, log_q: Tensor, columns: Columns) -> Slopes:
    """`-log(exp(l_p) / (exp(l_p) + Σ_j n_j exp(l_j)))` with `l = s − log Q` (Yi et al. 2019, equation 3)."""
    if columns.alike:
        return _cross_entropy(positive - log_q + columns.log_q[:1], scores, hits)
    return _cross_entropy(positive - log_q, scores.add_(columns.counts.log() - columns.log_q), hits)


def infonce(positive: Tensor, scores: Tensor, hits: Tensor, log_q: Tensor, columns: Columns) -> Slopes:
    """As `softmax` with `l = s`, without the correction by log Q (van den Oord et al. 2018, equation 4)."""
    return _cross_entropy(positive, scores if columns.alike else scores.add_(columns.counts.log()), hits)


def bpr(positive: Tensor, scores: Tensor, hits: Tensor, log_q: Tensor, columns: Columns) -> Slopes:
    """`Σ_j n_j · -log σ(s_p − s_j) / N` (Rendle et al. 2009, section 4.1)."""
    behind = _without_hits(scores, hits).sub_(positive[:, None])
    return _of_differences(softplus(behind) @ columns.counts, behind.sigmoid_(), hits, columns)


def bce(positive: Tensor, scores: Tensor, hits: Tensor, log_q: Tensor, columns: Columns) -> Slopes:
    """`-log σ(s_p) + Σ_j n_j · -log σ(−s_j) / N`: binary cross-entropy with the mean of the negatives."""
    shares = 1 / _n_negatives(hits, columns)
    negative = (softplus(_without_hits(scores, hits)) @ columns.counts) * shares
    pull = _counted(scores.sigmoid_(), columns)
    return Slopes(softplus(-positive) + negative, -torch.sigmoid(-positive), pull, shares)


def triplet(positive: Tensor, scores: Tensor, hits: Tensor, log_q: Tensor, columns: Columns) -> Slopes:
    """`Σ_j n_j · max(0, m + s_j − s_p) / N` with margin `m` (Schroff et al. 2015, equation 2)."""
    over = _without_hits(scores, hits).sub_(positive[:, None] - columns.margin).clamp_min_(0)
    return _of_differences(over @ columns.counts, over.sign_(), hits, columns)


LOSSES: Mapping[LossName, Loss] = {
    "softmax": softmax,
    "infonce": infonce,
    "bpr": bpr,
    "bce": bce,
    "triplet": triplet,
}


class BlockwiseLoss(torch.autograd.Function):
    """The weighted mean loss of a batch, computed block by block: the scores of a whole batch never exist at once.

    The arguments are users (n, dim), their positives (n, dim), the columns' items (C, dim), the factor on inner
    products (a 0-dimensional tensor), example weights (n,), the accidental hits, int64 (n,), −1 for none, the
    positives' `log_q` (n,), the columns, the loss, and the dtype of the products. The first four get gradients.
    """

    @staticmethod
    def forward(
        ctx: Any,
        users: Tensor,
        positives: Tensor,
        negatives: Tensor,
        scale: Tensor,
        weights: Tensor,
        hits: Tensor,
        positive_log_q: Tensor,
        columns: Columns,
        loss: Loss,
        dtype: torch.dtype,
    ) -> Tensor:
        """The mean loss; the gradients are computed at the same time and saved."""
        total = torch.zeros((), device=users.device)
        left, right = (users * scale).to(dtype), negatives.to(dtype)
        own, beside = left.float(), positives.to(dtype).float()
        positive = (own * beside).sum(dim=1)
        shares = weights / weights.sum()
        to_users = torch.empty_like(own)
        to_positive = torch.empty_like(positive)
        to_negatives = torch.zeros_like(negatives, dtype=torch.float32)
        shape = min(BLOCK, len(users)), len(negatives)
        products = torch.empty(shape, dtype=dtype, device=users.device)
        scores = products if dtype == torch.float32 else torch.empty(shape, device=users.device)
        for begin in range(0, len(users), BLOCK):
            block = slice(begin, begin + BLOCK)
            narrow = torch.mm(left[block], right.T, out=products[: len(left[block])])
            wide = narrow if scores is products else scores[: len(narrow)].copy_(narrow)
            slopes = loss(positive[block], wide, hits[block], positive_log_q[block], columns)
            total += slopes.losses @ shares[block]
            to_positive[block] = slopes.positive * shares[block]
            factors = (slopes.factors * shares[block])[:, None]
            pull = slopes.columns if scores is products else narrow.copy_(slopes.columns)
            torch.mul(pull @ right, factors, out=to_users[block])
            to_negatives += pull.T @ (left[block] * factors).to(dtype)
        to_users.addcmul_(to_positive[:, None], beside)
        to_scale = (to_users * users).sum()
        ctx.save_for_backward(to_users.mul_(scale), own.mul_(to_positive[:, None]), to_negatives, to_scale)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """The gradients that `forward` saved, times the incoming gradient."""
        return (*(saved * grads[0] for saved in ctx.saved_tensors), None, None, None, None, None, None)


def _without_hits(scores: Tensor, hits: Tensor) -> Tensor:
    """The scores (b, C), in place, with `LOWEST` at the accidental hits."""
    rows = torch.nonzero(hits >= 0).squeeze(1)
    scores[rows, hits[rows]] = LOWEST
    return scores


def _n_negatives(hits: Tensor, columns: Columns) -> Tensor:
    """`N` of each example, float32 (b,); 1 for an example without negatives."""
    counts = columns.counts
    hit = torch.where(hits >= 0, counts[hits], 0.0) if len(counts) else 0.0
    return (counts.sum() - hit).clamp_min(1.0)


def _counted(pull: Tensor, columns: Columns) -> Tensor:
    """The gradient (b, C) times the counts, in place."""
    return pull if columns.alike else pull.mul_(columns.counts)


def _cross_entropy(positive: Tensor, logits: Tensor, hits: Tensor) -> Slopes:
    """`-log(exp(l_p) / (exp(l_p) + Σ_j exp(l_j)))`.

    It is `softplus(L − l_p)` with `L = log Σ_j exp(l_j)`, and `L` is the largest logit minus the log of its softmax.
    """
    if not logits.shape[1]:
        nothing = torch.zeros_like(positive)
        return Slopes(nothing, nothing, logits, nothing)
    top = _without_hits(logits, hits).amax(dim=1)
    pull = torch.softmax(logits, dim=1)
    behind = top - pull.amax(dim=1).log() - positive
    factors = torch.sigmoid(behind)
    return Slopes(softplus(behind), -factors, pull, factors)


def _of_differences(sums: Tensor, pull: Tensor, hits: Tensor, columns: Columns) -> Slopes:
    """The slopes of a loss of the differences `s_j − s_p`, from its sums (b,) and its gradient (b, C) for one draw."""
    shares = 1 / _n_negatives(hits, columns)
    to_positive = -(pull @ columns.counts) * shares
    return Slopes(sums * shares, to_positive, _counted(pull, columns), shares)

"""Losses of a tower model over a block of scores, each with its gradient written out.

A block holds the scores of `b` examples against the `C` columns of the batch, which are distinct items. Column `j` was
drawn `n_j ≥ 0` times as a negative, and `p` is the column of an example's positive. A draw of the positive itself is an
accidental hit, which does not count. So a negative has the weight `n_j`, and the positive the weight 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from .config import LossName

BLOCK = 256
"""Examples in a block of scores: small enough that the block stays in cache."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The items that a batch's examples are scored against.

    Attributes:
        counts: float32 (C,), the number of times that each item was drawn as a negative.
        log_q: float32 (C,), the log of each item's probability under the distribution of negatives.
        margin: the margin of the triplet loss.
    """

    counts: Tensor
    log_q: Tensor
    margin: float


Loss = Callable[[Tensor, Tensor, Columns], tuple[Tensor, Tensor]]
"""A function from scores (b, C) and positives (b,) to losses (b,) and their gradient (b, C). It may overwrite the
scores."""


def softmax(scores: Tensor, positives: Tensor, columns: Columns) -> tuple[Tensor, Tensor]:
    """`-log(exp(l_p) / (exp(l_p) + Σ_{j≠p} n_j exp(l_j)))` with `l = s − log Q` (Yi et al. 2019, equation 3)."""
    return _cross_entropy(scores, positives, columns.counts, columns.log_q)


def infonce(scores: Tensor, positives: Tensor, columns: Columns) -> tuple[Tensor, Tensor]:
    """As `softmax` with `l = s`, without the correction by log Q (van den Oord et al. 2018, equation 4)."""
    return _cross_entropy(scores, positives, columns.counts, torch.zeros_like(columns.log_q))


def bpr(scores: Tensor, positives: Tensor, columns: Columns) -> tuple[Tensor, Tensor]:
    """`Σ_{j≠p} n_j · -log σ(s_p − s_j) / Σ_{j≠p} n_j` (Rendle et al. 2009, section 4.1)."""
    shares = _shares(scores, positives, columns)
    behind = scores - _positive(scores, positives)
    losses = (shares * softplus(behind)).sum(dim=1)
    return losses, _pairwise(shares * torch.sigmoid(behind), positives)


def bce(scores: Tensor, positives: Tensor, columns: Columns) -> tuple[Tensor, Tensor]:
    """`-log σ(s_p) + Σ_{j≠p} n_j · -log σ(−s_j) / Σ_{j≠p} n_j`: binary cross-entropy with the mean of the negatives."""
    shares = _shares(scores, positives, columns)
    positive = _positive(scores, positives)
    losses = softplus(-positive).squeeze(1) + (shares * softplus(scores)).sum(dim=1)
    gradient = shares * torch.sigmoid(scores)
    return losses, gradient.scatter_(1, positives[:, None], -torch.sigmoid(-positive))


def triplet(scores: Tensor, positives: Tensor, columns: Columns) -> tuple[Tensor, Tensor]:
    """`Σ_{j≠p} n_j · max(0, m + s_j − s_p) / Σ_{j≠p} n_j` with margin `m` (Schroff et al. 2015, equation 2)."""
    shares = _shares(scores, positives, columns)
    behind = scores - _positive(scores, positives) + columns.margin
    losses = (shares * behind.clamp_min(0)).sum(dim=1)
    return losses, _pairwise(shares * (behind > 0), positives)


LOSSES: Mapping[LossName, Loss] = {
    "softmax": softmax,
    "infonce": infonce,
    "bpr": bpr,
    "bce": bce,
    "triplet": triplet,
}


class BlockwiseLoss(torch.autograd.Function):
    """The weighted mean loss of a batch, computed block by block: the scores of a whole batch never exist at once.

    The arguments are users (B, dim), items (C, dim), the factor on their inner products (a 0-dimensional tensor), the
    columns of the positives, int64 (B,), example weights (B,), the columns, the loss and the dtype of the products.
    """

    @staticmethod
    def forward(
        ctx: Any,
        users: Tensor,
        items: Tensor,
        scale: Tensor,
        positives: Tensor,
        weights: Tensor,
        columns: Columns,
        loss: Loss,
        dtype: torch.dtype,
    ) -> Tensor:
        """The mean loss; the gradients are computed at the same time and saved."""
        total = torch.zeros((), device=users.device)
        to_users, to_items = torch.empty_like(users, dtype=torch.float32), torch.zeros_like(items, dtype=torch.float32)
        to_scale = torch.zeros_like(scale)
        shares = weights / weights.sum()
        left, right = users.to(dtype), items.to(dtype)
        for begin in range(0, len(users), BLOCK):
            block = slice(begin, begin + BLOCK)
            products = (left[block] @ right.T).float()
            losses, gradient = loss(products * scale, positives[block], columns)
            total += losses @ shares[block]
            gradient.mul_(shares[block, None])
            if ctx.needs_input_grad[2]:
                to_scale += (gradient * products).sum()
            narrow = gradient.to(dtype)
            to_users[block] = (narrow @ right).float()
            to_items += (narrow.T @ left[block]).float()
        ctx.save_for_backward(to_users.mul_(scale), to_items.mul_(scale), to_scale)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """The gradients that `forward` saved, times the incoming gradient."""
        return (*(saved * grads[0] for saved in ctx.saved_tensors), None, None, None, None, None)


def _cross_entropy(scores: Tensor, positives: Tensor, counts: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor]:
    rows = torch.arange(len(scores), device=scores.device)
    positive = scores[rows, positives] - log_q[positives]
    scores += counts.log() - log_q
    scores[rows, positives] = positive
    top = scores.amax(dim=1, keepdim=True)
    scores.sub_(top).exp_()
    totals = scores.sum(dim=1, keepdim=True)
    losses = (totals.log() + top).squeeze(1) - positive
    scores.mul_(1 / totals)
    scores[rows, positives] -= 1
    return losses, scores


def _positive(scores: Tensor, positives: Tensor) -> Tensor:
    return scores.gather(1, positives[:, None])


def _shares(scores: Tensor, positives: Tensor, columns: Columns) -> Tensor:
    """The share of each column among an example's negatives, (b, C); zeros for an example without negatives."""
    counts = columns.counts.expand_as(scores).scatter(1, positives[:, None], 0.0)
    return counts / counts.sum(dim=1, keepdim=True).clamp_min(1.0)


def _pairwise(pull: Tensor, positives: Tensor) -> Tensor:
    """The gradient of a loss of differences `s_j − s_p`: the positive gets minus the sum over the negatives."""
    return pull.scatter_(1, positives[:, None], -pull.sum(dim=1, keepdim=True))

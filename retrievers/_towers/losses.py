"""Losses of a tower model over a block of scores, each with its gradient written out.

An example has its own positive with the score `s_p`, and the `C` columns, distinct items that the whole batch shares.
Column `j` has the score `s_j` and was drawn `n_j ≥ 1` times as a negative. The column that is an example's own positive
is an accidental hit, which does not count for that example: sums over `j` leave it out, and `N` is the sum of the `n_j`
that count.

A user with several vectors, `u_k`, scores an item under each of them. The scores of a negative under all vectors are
as many columns. The score of the positive is `log Σ_k exp(u_k · v_p)`, which is near its best score under any vector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from .config import LossName, TrainingConfig
from .exponentials import LOWEST, exponentials
from .mlp import SMALLEST
from .padding import padded

BLOCK = 512
"""Examples in a block of scores: small enough that the block stays in cache."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The items that a batch's examples are scored against.

    Attributes:
        counts: float32 (C,), the number of times that each item was drawn as a negative, ≥ 1.
        log_q: float32 (C,), the log of each item's probability under the distribution of negatives.
        alike: whether all counts are 1 and all `log_q` equal, so that a block of scores needs neither.
        n_items: the number of items that can be drawn.
        margin: the margin of the triplet loss.
        calibration: the calibration `t` of gBCE.
        penalty: the weight `λ` of the squared scores in BPR-max.
        hardness: the exponent `b` by which the softmax losses weigh hard negatives.
    """

    counts: Tensor
    log_q: Tensor
    alike: bool
    n_items: int
    margin: float
    calibration: float
    penalty: float
    hardness: float

    @classmethod
    def of(
        cls,
        counts: NDArray[np.integer],
        log_q: NDArray[np.float32],
        n_items: int,
        config: TrainingConfig,
        device: torch.device,
    ) -> Self:
        """The columns with these counts (C,) and `log_q` (C,), and what the losses take from the settings."""
        alike = bool((counts == 1).all() and (log_q == log_q[:1]).all())
        own_counts = torch.from_numpy(counts.astype(np.float32)).to(device)
        own_log_q = torch.from_numpy(log_q).to(device)
        shared = config.margin, config.calibration, config.bpr_max_penalty, config.negatives.hardness
        return cls(own_counts, own_log_q, alike, n_items, *shared)


@dataclass(frozen=True, slots=True)
class Block:
    """Some examples of a batch, for a loss, which may overwrite `products` and both buffers.

    Attributes:
        positive: float32 (b,), the scores of the positives.
        products: (b, C), the scores of the columns, in the dtype of the training.
        hits: int64 (b, V), the columns of each accidental hit, one for each vector of a user; −1 for none.
        log_q: float32 (b,), the log of each positive's probability under the distribution of negatives.
        wide, buffer: float32 (b, C). New memory for every block would cost as much as the arithmetic.
    """

    positive: Tensor
    products: Tensor
    hits: Tensor
    log_q: Tensor
    wide: Tensor
    buffer: Tensor

    def scores(self) -> Tensor:
        """The scores of the columns, float32 (b, C), in `wide`."""
        return self.wide.copy_(self.products)


class Slopes(NamedTuple):
    """The losses of a block of examples, and their gradient.

    Attributes:
        losses: float32 (b,).
        positive: float32 (b,), the gradient for the scores of the positives.
        columns: float32 (b, C), or the `products` of the block, the gradient for the scores of the columns, divided by
            `factors`.
        factors: float32 (b,).
    """

    losses: Tensor
    positive: Tensor
    columns: Tensor
    factors: Tensor


Loss = Callable[[Block, Columns], Slopes]


def softmax(block: Block, columns: Columns) -> Slopes:
    """`-log(exp(l_p) / (exp(l_p) + Σ_j n_j exp(l_j)))` with `l = s − log Q` (Yi et al. 2019, equation 3)."""
    return _cross_entropy(block.positive - block.log_q, columns.counts.log() - columns.log_q, block, columns)


def infonce(block: Block, columns: Columns) -> Slopes:
    """As `softmax` with `l = s`, without the correction by log Q (van den Oord et al. 2018, equation 4)."""
    return _cross_entropy(block.positive, columns.counts.log(), block, columns)


def bpr(block: Block, columns: Columns) -> Slopes:
    """`Σ_j n_j · -log σ(s_p − s_j) / N` (Rendle et al. 2009, section 4.1)."""
    behind = _without_hits(block.scores(), block.hits).sub_(block.positive[:, None])
    sums = _softplus(behind, block.buffer) @ columns.counts
    return _of_differences(sums, behind.sigmoid_(), block, columns)


def triplet(block: Block, columns: Columns) -> Slopes:
    """`Σ_j n_j · max(0, m + s_j − s_p) / N` with margin `m` (Schroff et al. 2015, equation 2)."""
    over = _without_hits(block.scores(), block.hits).sub_(block.positive[:, None] - columns.margin).clamp_min_(0)
    return _of_differences(over @ columns.counts, over.sign_(), block, columns)


def bpr_max(block: Block, columns: Columns) -> Slopes:
    """`-log Σ_j w_j σ(s_p − s_j) + λ Σ_j w_j s_j²` (Hidasi & Karatzoglou 2018, section 3.3).

    `w_j = n_j exp(s_j) / Σ_k n_k exp(s_k)`, and `λ` is the penalty.
    """
    scores, logits = block.scores(), block.buffer.copy_(block.products)
    if not scores.shape[1]:
        return _nothing(block)
    weights = torch.softmax(_without_hits(logits.add_(columns.counts.log()), block.hits), dim=1)
    before = _log_sum(logits, weights)
    ahead = block.positive[:, None] - scores
    shares = torch.softmax(logits.add_(logsigmoid(ahead)), dim=1)
    losses = before - _log_sum(logits, shares)
    pull = shares.mul_(ahead.sigmoid_())
    to_positive = pull.sum(dim=1) - 1
    squares = torch.mul(scores, scores, out=logits)
    mean = (squares * weights).sum(dim=1)
    scores.mul_(2).add_(squares).sub_(mean[:, None]).mul_(columns.penalty).add_(1).mul_(weights).sub_(pull)
    some = (_sums(block.hits, columns) > 0).float()
    return Slopes((losses + columns.penalty * mean) * some, to_positive * some, scores, some)


def bce(block: Block, columns: Columns) -> Slopes:
    """`-log σ(s_p) + Σ_j n_j · -log σ(−s_j) / N`: binary cross-entropy with the mean of the negatives."""
    return _binary(block, columns, 1.0, 1 / _sums(block.hits, columns).clamp_min(1.0))


def gbce(block: Block, columns: Columns) -> Slopes:
    """`(-β log σ(s_p) + K/N · Σ_j n_j · -log σ(−s_j)) / (K + 1)` (Petrov & Macdonald 2023, section 5).

    `K` is `N`, but at most the number of all items but the positive; `α` is `K` divided by that number, and `β = 1 − t
    (1 − α)` with the calibration `t`. The paper draws without replacement, so that its `K` is always `N`.
    """
    drawn, others = _sums(block.hits, columns), max(columns.n_items - 1, 1)
    negatives = drawn.clamp_max(others)
    beta = 1 - columns.calibration * (1 - negatives / others)
    return _binary(block, columns, beta / (negatives + 1), negatives / (drawn.clamp_min(1.0) * (negatives + 1)))


LOSSES: Mapping[LossName, Loss] = {
    "softmax": softmax,
    "infonce": infonce,
    "bpr": bpr,
    "bpr_max": bpr_max,
    "triplet": triplet,
    "bce": bce,
    "gbce": gbce,
}


class BlockwiseLoss(torch.autograd.Function):
    """The weighted mean loss of a batch, computed block by block: the scores of a whole batch never exist at once.

    The arguments are users (n, V, dim), their positives (n, dim), the negatives (m, dim), the factor on inner products
    (a 0-dimensional tensor), example weights (n,), the accidental hits, int64 (n,), −1 for none, the positives' `log_q`
    (n,), the C = V · m columns, first those of the first vector, the loss, and the dtype of the products. The first
    four get gradients.
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
        n_vectors = users.shape[1]
        left, right = (users * scale).to(dtype), negatives.to(dtype)
        own, beside = left.float(), positives.to(dtype).float()[:, None]
        each = (own * beside).sum(dim=2)
        positive = torch.logsumexp(each, dim=1)
        every_hit = torch.where(
            hits < 0, -1, hits + len(negatives) * torch.arange(n_vectors, device=hits.device)[:, None]
        )
        shares = weights / weights.sum().clamp_min(SMALLEST)
        to_users = torch.empty_like(own)
        to_positive = torch.empty_like(positive)
        to_negatives = torch.zeros_like(negatives, dtype=torch.float32)
        step = max(BLOCK // n_vectors, 1)
        shape = min(step, len(users)) * n_vectors, len(negatives)
        right = padded(right)
        every_product = torch.zeros(shape[0], len(right), dtype=dtype, device=users.device)
        products = torch.empty(shape, dtype=dtype, device=users.device)
        wide, buffer = (torch.empty(shape, device=users.device) for _ in range(2))
        to_columns = torch.empty(len(right), users.shape[2], dtype=dtype, device=users.device)
        for begin in range(0, len(users), step):
            block = slice(begin, begin + step)
            vectors = left[block].flatten(0, 1)
            size, n_rows = len(left[block]), len(vectors)
            narrow = torch.mm(vectors, right.T, out=every_product[:n_rows])
            rows = Block(
                positive[block],
                products[:n_rows].copy_(narrow[:, : shape[1]]).view(size, -1),
                every_hit[:, block].T,
                positive_log_q[block],
                wide[:n_rows].view(size, -1),
                buffer[:n_rows].view(size, -1),
            )
            slopes = loss(rows, columns)
            total += slopes.losses @ shares[block]
            to_positive[block] = slopes.positive * shares[block]
            factors = (slopes.factors * shares[block]).repeat_interleave(n_vectors)[:, None]
            narrow[:, : shape[1]] = slopes.columns.view(n_rows, -1)
            torch.mul(narrow @ right, factors, out=to_users[block].view(n_rows, -1))
            to_negatives += torch.mm(narrow.T, (vectors * factors).to(dtype), out=to_columns)[: shape[1]]
        to_each = (torch.softmax(each, dim=1) * to_positive[:, None])[:, :, None]
        to_users.addcmul_(to_each, beside)
        to_scale = (to_users * users).sum()
        ctx.save_for_backward(to_users.mul_(scale), own.mul_(to_each).sum(dim=1), to_negatives, to_scale)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """The gradients that `forward` saved, times the incoming gradient."""
        return (*(saved * grads[0] for saved in ctx.saved_tensors), None, None, None, None, None, None)


def _without_hits(scores: Tensor, hits: Tensor) -> Tensor:
    """The scores (b, C), in place, with `LOWEST` at the accidental hits."""
    rows, numbers = torch.nonzero(hits >= 0, as_tuple=True)
    scores[rows, hits[rows, numbers]] = float(LOWEST)
    return scores


def _sums(hits: Tensor, columns: Columns) -> Tensor:
    """`N` of each example, float32 (b,)."""
    counts = columns.counts
    own = torch.where(hits >= 0, counts[hits], 0.0) if len(counts) else torch.zeros_like(hits, dtype=counts.dtype)
    return counts.sum() - own.sum(dim=1)


def _softplus(values: Tensor, buffer: Tensor) -> Tensor:
    """`log(1 + exp(x))` of the values (b, C), in the buffer."""
    return torch.logaddexp(values, values.new_zeros(()), out=buffer)


def _counted(pull: Tensor, columns: Columns) -> Tensor:
    """The gradient (b, C) times the counts, in place."""
    return pull if columns.alike else pull.mul_(columns.counts)


def _nothing(block: Block) -> Slopes:
    """The slopes of a loss that is 0 without negatives, for a batch without columns."""
    nothing = torch.zeros_like(block.positive)
    return Slopes(nothing, nothing, block.products, nothing)


def _log_sum(logits: Tensor, shares: Tensor) -> Tensor:
    """`log Σ_j exp(l_j)` (b,) of logits (b, C) whose softmax is known: the largest, minus the log of its softmax."""
    return logits.amax(dim=1) - shares.amax(dim=1).log()


def _weigh_hard(block: Block, columns: Columns) -> Tensor:
    """The scores plus the log of `w_j = exp(b s_j) / mean_j exp(b s_j)`, in place; the mean is over all draws.

    So a hard negative counts `w_j` times, by Monte-Carlo as if it was drawn that often (Xie et al., RecSys 2023). The
    weights take no gradient.
    """
    scores = block.scores()
    if not columns.hardness:
        return scores
    logs = torch.mul(scores, columns.hardness, out=block.buffer).add_(columns.counts.log())
    total = torch.logsumexp(_without_hits(logs, block.hits), dim=1)
    shift = total - _sums(block.hits, columns).clamp_min(1.0).log()
    return scores.mul_(1 + columns.hardness).sub_(shift[:, None])


def _cross_entropy(positive: Tensor, addends: Tensor, block: Block, columns: Columns) -> Slopes:
    """`-log(exp(l_p) / (exp(l_p) + Σ_j exp(l_j)))`, which is `softplus(log Σ_j exp(l_j) − l_p)`; `l_j = s_j + a_j`."""
    if not block.products.shape[1]:
        return _nothing(block)
    if columns.hardness or block.products.is_cuda:
        logits = _weigh_hard(block, columns).add_(addends)
        pull = torch.softmax(_without_hits(logits, block.hits), dim=1, out=block.buffer)
        behind, sums = _log_sum(logits, pull) - positive, torch.ones_like(positive)
    else:
        pull = block.products
        largest, sums = exponentials(pull, addends, block.hits)
        behind = largest + sums.log() - positive
    factors = torch.sigmoid(behind)
    return Slopes(softplus(behind), -factors, pull, factors / sums)


def _of_differences(sums: Tensor, pull: Tensor, block: Block, columns: Columns) -> Slopes:
    """The slopes of a loss of the differences `s_j − s_p`, from its sums (b,) and its gradient (b, C) for one draw."""
    shares = 1 / _sums(block.hits, columns).clamp_min(1.0)
    to_positive = -(pull @ columns.counts) * shares
    return Slopes(sums * shares, to_positive, _counted(pull, columns), shares)


def _binary(block: Block, columns: Columns, of_positive: Tensor | float, of_negatives: Tensor) -> Slopes:
    """Binary cross-entropy with a factor on the positive's term and one on the sum of the negatives' terms."""
    scores = _without_hits(block.scores(), block.hits)
    negative = _softplus(scores, block.buffer) @ columns.counts
    losses = of_positive * softplus(-block.positive) + of_negatives * negative
    pull = _counted(scores.sigmoid_(), columns)
    return Slopes(losses, -of_positive * torch.sigmoid(-block.positive), pull, of_negatives)

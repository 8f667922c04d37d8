"""Embedding tables with a sparse AdamW: a training step reads and writes only the rows of its batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from multirecall.kernels import Array, fast_kernel

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class Table:
    """An embedding table with AdamW, which updates a row and its moments only in steps that use the row.

    Kingma & Ba 2015, algorithm 1, with the decoupled weight decay of Loshchilov & Hutter 2019, applied to used rows.
    """

    def __init__(self, values: Tensor) -> None:
        """Take the initial values, float32 (n, dim)."""
        self.values = values
        self.first = torch.zeros_like(values)
        self.second = torch.zeros_like(values)
        self.used: list[tuple[Tensor, Tensor]] = []

    def rows(self, tokens: NDArray[np.integer]) -> tuple[Tensor, Tensor]:
        """The distinct rows of `tokens`, int (n,), as a leaf that takes gradients, and each token's position in them.

        The next `step` updates these rows, unless gradients are turned off.
        """
        device = self.values.device
        used, places = (torch.from_numpy(array).to(device) for array in _distinct(tokens, len(self.values)))
        leaf = self.values.index_select(0, used)
        if torch.is_grad_enabled():
            leaf.requires_grad_()
            self.used.append((used, leaf))
        return leaf, places

    def gradients(self) -> list[tuple[Tensor, Tensor]]:
        """For each call of `rows` since the last step its rows, (n,), and their gradients, (n, dim); n = 0 without."""
        return [(used[:0], leaf.detach()[:0]) if leaf.grad is None else (used, leaf.grad) for used, leaf in self.used]

    def replace_gradients(self, parts: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Let the next `step` use these rows and gradients instead."""
        self.used = []
        for used, gradient in parts:
            leaf = torch.empty_like(gradient, requires_grad=True)
            leaf.grad = gradient
            self.used.append((used, leaf))

    @torch.no_grad()
    def step(self, rate: float, weight_decay: float, number: int) -> None:
        """Update the rows that `rows` gave since the last step, in place.

        Args:
            rate: the learning rate.
            weight_decay: the decay of the used rows.
            number: the number of the step, from 1.
        """
        parts = [(used, gradient) for used, gradient in self.gradients() if len(used)]
        self.used = []
        if not parts:
            return
        used, gradient = parts[0] if len(parts) == 1 else _sum_by_row(parts)
        if not gradient.is_cuda:
            state = self.values.numpy(), self.first.numpy(), self.second.numpy()
            shares = 1 - rate * weight_decay, rate / (1 - BETA_1**number), 1 - BETA_2**number
            update_rows(*state, used.numpy(), gradient.numpy(), *(np.float32(share) for share in shares))
            return
        first = self.first.index_select(0, used).lerp_(gradient, 1 - BETA_1)
        second = self.second.index_select(0, used).mul_(BETA_2).addcmul_(gradient, gradient, value=1 - BETA_2)
        self.first.index_copy_(0, used, first)
        self.second.index_copy_(0, used, second)
        spread = second.div_(1 - BETA_2**number).sqrt_().add_(EPSILON)
        moved = self.values.index_select(0, used).mul_(1 - rate * weight_decay)
        moved.addcdiv_(first, spread, value=-rate / (1 - BETA_1**number))
        self.values.index_copy_(0, used, moved)


@fast_kernel
def update_rows(
    values: Array,
    first: Array,
    second: Array,
    used: Array,
    gradient: Array,
    kept: np.float32,
    rate: np.float32,
    share: np.float32,
) -> None:
    """AdamW for the rows `used` of a table and its moments, float32 (n, dim), in place and in one pass over memory.

    Args:
        values, first, second: float32 (n, dim), the table and the moments of its gradient.
        used: int64 (n_used,), distinct rows.
        gradient: float32 (n_used, dim), their gradient.
        kept: the share of a value that weight decay leaves.
        rate: the learning rate, divided by `1 − β₁ᵗ` in step `t`.
        share: `1 − β₂ᵗ`.
    """
    beta_1, beta_2, epsilon = np.float32(BETA_1), np.float32(BETA_2), np.float32(EPSILON)
    rest_1, rest_2, scale = np.float32(1 - BETA_1), np.float32(1 - BETA_2), np.float32(1.0) / np.sqrt(share)
    for place in range(used.size):
        own, mean, square = values[used[place]], first[used[place]], second[used[place]]
        slope = gradient[place]
        for column in range(slope.size):
            mean[column] = beta_1 * mean[column] + rest_1 * slope[column]
            square[column] = beta_2 * square[column] + rest_2 * slope[column] * slope[column]
            own[column] = kept * own[column] - rate * mean[column] / (np.sqrt(square[column]) * scale + epsilon)


def _distinct(tokens: NDArray[np.integer], size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct values of `tokens` (n,), ascending, and the position of each token in them; `size` is above all.

    Marks in an array take a fifth of the time of a sort.
    """
    seen = np.zeros(size, np.bool_)
    seen[tokens] = True
    used = np.flatnonzero(seen)
    positions = np.empty(size, np.int64)
    positions[used] = np.arange(used.size)
    return used, positions[tokens]


def _sum_by_row(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The distinct rows of several gradients, and the sum of the gradients of each."""
    rows, places = torch.unique(torch.cat([used for used, _ in parts]), return_inverse=True)
    gradients = torch.cat([gradient for _, gradient in parts])
    return rows, gradients.new_zeros(len(rows), gradients.shape[1]).index_add_(0, places, gradients)

"""Embedding tables with a sparse AdamW: a training step reads and writes only the rows of its batch."""

from __future__ import annotations

import torch
from torch import Tensor

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
        self.used: tuple[Tensor, Tensor] | None = None

    def rows(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The distinct rows of `tokens`, int (n,), as a leaf that takes gradients, and each token's position in them.

        The next `step` updates these rows.
        """
        used, places = torch.unique(tokens.long(), return_inverse=True)
        leaf = self.values[used].requires_grad_()
        self.used = used, leaf
        return leaf, places

    @torch.no_grad()
    def step(self, rate: float, weight_decay: float, number: int) -> None:
        """Update the rows of the last call of `rows`, in place, at learning rate `rate` in step `number` (from 1)."""
        if self.used is None or (gradient := self.used[1].grad) is None:
            return
        used, leaf = self.used
        first = self.first[used].lerp_(gradient, 1 - BETA_1)
        second = self.second[used].mul_(BETA_2).addcmul_(gradient, gradient, value=1 - BETA_2)
        self.first.index_copy_(0, used, first)
        self.second.index_copy_(0, used, second)
        spread = second.div_(1 - BETA_2**number).sqrt_().add_(EPSILON)
        moved = leaf.detach().mul_(1 - rate * weight_decay)
        moved.addcdiv_(first, spread, value=-rate / (1 - BETA_1**number))
        self.values.index_copy_(0, used, moved)

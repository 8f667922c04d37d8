"""The user encoder of `two_tower` in training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from .encoders import HistoryBags, ItemEncoder, Net, TokenBags, UserBatch, UserEncoder
from .mlp import SMALLEST
from .pooling import PooledVector, SummedItem


class PooledEncoder(UserEncoder):
    """Sums the profile and averages the history, once for each half-life, as the input of a network.

    Args:
        net: the network, from (1 + n_half_lives) · dim inputs to the vector.
        half_lives: the number of newer events after which the weight of an event is halved.
    """

    def __init__(self, net: Net, half_lives: Sequence[float]) -> None:
        super().__init__()
        self.net = net
        self.half_lives = tuple(half_lives)

    def forward(self, users: UserBatch) -> Tensor:
        """See `UserEncoder.forward`; V is 1."""
        profile, means = users.profile, history_means(users.history, self.half_lives)
        vectors: Tensor = self.net(torch.cat([profile.sum(profile.weights[None]), means], dim=1))
        return vectors[:, None]

    def begin_at_mean(self) -> None:
        """See `UserEncoder.begin_at_mean`: the mean over the half-lives; the profile does not count."""
        dim, n = self.net.dim, len(self.half_lives)
        self.net.begin_at(torch.cat([torch.zeros(dim, dim), *[torch.eye(dim) / n] * n], dim=1))

    def export(self) -> PooledVector:
        """See `UserEncoder.export`."""
        return PooledVector.of(self.net.export(), self.half_lives)


def history_means(history: HistoryBags, half_lives: Sequence[float]) -> Tensor:
    """The weighted mean of each history for each half-life, float32 (B, n_half_lives · dim); 0 for an empty one."""
    rates = torch.tensor(half_lives, device=history.positions.device)
    weights = history.weights * torch.exp2(-history.positions / rates[:, None])
    owners = torch.repeat_interleave(history.offsets.diff())
    totals = weights.new_zeros(len(rates), len(history.offsets) - 1).index_add_(1, owners, weights)
    return history.sum(weights / totals.clamp_min(SMALLEST)[:, owners])


class SummedItems(ItemEncoder):
    """The weighted sum of an item's token embeddings, through a network.

    Args:
        net: from `dim` inputs to the vector.
    """

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, items: TokenBags) -> Tensor:
        """See `ItemEncoder.forward`."""
        vectors: Tensor = self.net(items.sum(items.weights[None]))
        return vectors

    def begin_at_sum(self) -> None:
        """See `ItemEncoder.begin_at_sum`."""
        self.net.begin_at(torch.eye(self.net.dim))

    def export(self) -> SummedItem:
        """See `ItemEncoder.export`."""
        return SummedItem(self.net.export())


class TableItems(ItemEncoder):
    """The item's row of an embedding table.

    Args:
        unit: whether the vector is scaled to length 1.
    """

    def __init__(self, unit: bool) -> None:
        super().__init__()
        self.unit = unit

    def forward(self, items: TokenBags) -> Tensor:
        """See `ItemEncoder.forward`; each item has one token."""
        rows = items.rows.index_select(0, items.places)
        return functional.normalize(rows, dim=1, eps=SMALLEST) if self.unit else rows

    def export(self) -> None:
        """Return None: the index has the vectors."""

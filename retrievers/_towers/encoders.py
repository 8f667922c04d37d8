"""The networks of a two-tower model while it is trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .mlp import EPSILON, SMALLEST, Activation, Layer, Mlp, Norm, Vectors
from .pooling import pooled, scattered

MODULES: dict[Activation, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}


@dataclass(frozen=True, slots=True)
class TokenBags:
    """Bags of a batch over the embeddings that the batch uses.

    Attributes:
        rows: float32 (n_used, dim), the embeddings; gradients flow into them.
        places: int64 (nnz,) into `rows`.
        offsets: int64 (B + 1,).
        weights: float32 (nnz,).
        ages: float32 (nnz,), of a history: 0 for the newest event. Empty for a profile.
    """

    rows: Tensor
    places: Tensor
    offsets: Tensor
    weights: Tensor
    ages: Tensor

    def summed(self, weights: Tensor) -> Tensor:
        """`Σ w_t · row_t` of each bag for each row of `weights` (n_pools, nnz), side by side, (B, n_pools · dim)."""
        sums: Tensor = Pooled.apply(self.rows, self.places, self.offsets, weights)  # type: ignore[no-untyped-call]
        return sums


class Pooled(torch.autograd.Function):
    """`pooling.pooled` with its gradient; on a GPU, torch's embedding bag does the same for each pool."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, places: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
        """See `pooling.pooled`."""
        ctx.save_for_backward(places, offsets, weights)
        ctx.n_rows = len(rows)
        if rows.is_cuda:
            bags = (
                functional.embedding_bag(
                    places, rows, offsets, mode="sum", per_sample_weights=one, include_last_offset=True
                )
                for one in weights
            )
            return torch.cat(tuple(bags), dim=1)
        return torch.from_numpy(pooled(rows.numpy(), places.numpy(), offsets.numpy(), weights.numpy()))

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """See `pooling.scattered`."""
        places, offsets, weights = ctx.saved_tensors
        gradient = grads[0].contiguous()
        if gradient.is_cuda:
            owners = torch.repeat_interleave(offsets.diff())
            parts = gradient.view(len(gradient), len(weights), -1)
            to_rows = gradient.new_zeros(ctx.n_rows, parts.shape[2])
            for pool, one in enumerate(weights):
                to_rows.index_add_(0, places, parts[owners, pool] * one[:, None])
        else:
            to_rows = torch.from_numpy(
                scattered(gradient.numpy(), places.numpy(), offsets.numpy(), weights.numpy(), ctx.n_rows)
            )
        return to_rows, None, None, None


class UserEncoder(nn.Module, ABC):
    """From users' profiles and histories to their vectors: the part of the model that may be replaced."""

    @abstractmethod
    def forward(self, profile: TokenBags, history: TokenBags) -> Tensor:
        """Unit vectors, float32 (B, dim)."""

    @abstractmethod
    def exported(self) -> Mlp:
        """The same network without torch."""


class PooledEncoder(UserEncoder):
    """The profile's sum beside a weighted mean of the history for each half-life, through a network.

    `pooling.user_input` is the same for one user, without torch.
    """

    def __init__(self, net: Net, half_lives: Sequence[float]) -> None:
        super().__init__()
        self.net = net
        self.half_lives = tuple(half_lives)

    def forward(self, profile: TokenBags, history: TokenBags) -> Tensor:
        """See `UserEncoder.forward`."""
        rates = torch.tensor(self.half_lives, device=history.ages.device)
        weights = history.weights * torch.exp2(-history.ages / rates[:, None])
        owners = torch.repeat_interleave(history.offsets.diff())
        totals = weights.new_zeros(len(rates), len(history.offsets) - 1).index_add_(1, owners, weights)
        means = history.summed(weights / totals.clamp_min(SMALLEST)[:, owners])
        vectors: Tensor = self.net(torch.cat([profile.summed(profile.weights[None]), means], dim=1))
        return vectors

    def exported(self) -> Mlp:
        """See `UserEncoder.exported`."""
        return self.net.exported()


class Net(nn.Module):
    """Linear layers with norm, activation and dropout between them, and the length 1 at the end."""

    def __init__(
        self, n_in: int, widths: Sequence[int], dim: int, activation: Activation, norm: Norm, dropout: float
    ) -> None:
        super().__init__()
        self.activation = activation
        self.linear = nn.ModuleList(
            nn.Linear(before, after) for before, after in zip((n_in, *widths), (*widths, dim), strict=True)
        )
        norms = {"none": nn.Identity, "batch": _BatchNorm, "layer": nn.LayerNorm}
        self.norms = nn.ModuleList(norms[norm](width) for width in widths)
        self.between = nn.Sequential(
            nn.GELU(approximate="tanh") if activation == "gelu" else MODULES[activation](), nn.Dropout(dropout)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Unit vectors, float32 (B, dim)."""
        values = inputs
        for linear, norm in zip(self.linear, self.norms, strict=False):
            values = self.between(norm(linear(values)))
        return functional.normalize(self.linear[-1](values).float(), dim=1, eps=SMALLEST)

    def exported(self) -> Mlp:
        """The same network without torch, batch norms folded into their layers."""
        layers = []
        for number, linear in enumerate(self.linear):
            assert isinstance(linear, nn.Linear)
            weight, bias = _array(linear.weight).T.copy(), _array(linear.bias)
            gain = shift = np.empty(0, np.float32)
            norm = self.norms[number] if number < len(self.norms) else None
            if isinstance(norm, nn.LayerNorm):
                gain, shift = _array(norm.weight), _array(norm.bias)
            elif isinstance(norm, nn.BatchNorm1d):
                assert norm.running_mean is not None
                assert norm.running_var is not None
                factor = _array(norm.weight) / np.sqrt(_array(norm.running_var) + np.float32(EPSILON))
                weight, bias = weight * factor, (bias - _array(norm.running_mean)) * factor + _array(norm.bias)
            layers.append(Layer(weight, bias, gain, shift))
        return Mlp(layers, self.activation)


class _BatchNorm(nn.BatchNorm1d):
    """Batch norm that takes the running statistics for a batch of one, which has no spread of its own."""

    def forward(self, values: Tensor) -> Tensor:
        """The normalised values, (B, width)."""
        if len(values) > 1:
            return super().forward(values)
        return functional.batch_norm(
            values, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
        )


def _array(tensor: Tensor) -> Vectors:
    values: Vectors = tensor.detach().cpu().float().numpy().copy()
    return values

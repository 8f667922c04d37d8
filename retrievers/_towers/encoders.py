"""What user encoders are made of while they are trained: bags of a batch, pools, and networks."""

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
from .served import ExportedEncoder

MODULES: dict[Activation, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}


@dataclass(frozen=True, slots=True)
class TokenBags:
    """Bags of a batch over the embeddings that the batch uses.

    Attributes:
        rows: float32 (n_used, dim), the embeddings; gradients flow into them.
        places: int64 (nnz,) into `rows`.
        offsets: int64 (B + 1,).
        weights: float32 (nnz,).
    """

    rows: Tensor
    places: Tensor
    offsets: Tensor
    weights: Tensor

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


@dataclass(frozen=True, slots=True)
class HistoryBags(TokenBags):
    """Histories of a batch: sequences of items, oldest first.

    Attributes:
        positions: float32 (nnz,), 0 for the newest event, 1 for the one before; all 0 where order means nothing.
        ages: float32 (nnz,), seconds between the event and the moment of the example; 0 without timestamps.
    """

    positions: Tensor
    ages: Tensor


@dataclass(frozen=True, slots=True)
class UserBatch:
    """What an encoder reads of the users of a batch.

    Attributes:
        profile: ids and features.
        history: sequences of items.
        example_ages: float32 (B,), seconds between the example and the newest event of the log: 0 where vectors are
            compared with those of a request.
    """

    profile: TokenBags
    history: HistoryBags
    example_ages: Tensor


class UserEncoder(nn.Module, ABC):
    """From users' profiles and histories to their vectors: the part of the model that each retriever brings."""

    @abstractmethod
    def forward(self, users: UserBatch) -> Tensor:
        """Vectors of length 1, float32 (B, V, dim), V ≥ 1. An item's score is the best that it has under any."""

    def choose(self, vectors: Tensor, targets: Tensor) -> Tensor:
        """The vector of each user, float32 (B, dim), that learns the target; called where V > 1, in training only.

        By default it is the one nearest to the target (Cen et al., KDD 2020, equation 7). A label-aware encoder weighs
        all by their similarity to it.

        Args:
            vectors: float32 (B, V, dim), what `forward` gave.
            targets: float32 (B, dim), the vectors of the items to learn.
        """
        best = torch.einsum("bvd,bd->bv", vectors.detach(), targets.detach()).argmax(dim=1)
        return vectors[torch.arange(len(vectors), device=vectors.device), best]

    @abstractmethod
    def exported(self) -> ExportedEncoder:
        """The same encoder without torch."""


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

"""The parts of user encoders in training: bags of a batch, pooling, and networks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .mlp import EPSILON, SMALLEST, Activation, Layer, Mlp, Norm, Vectors
from .padding import padded
from .pooling import pool, pool_gradient
from .serving import ExportedEncoder, ExportedItemEncoder

MODULES: dict[Activation, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": partial(nn.GELU, approximate="tanh"),
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


@dataclass(frozen=True, slots=True)
class TokenBags:
    """The bags of a batch, over the embeddings that the batch uses.

    Attributes:
        rows: float32 (n_used, dim), the embeddings; they take gradients.
        places: int64 (nnz,), the position in `rows` of each token's embedding.
        offsets: int64 (B + 1,), the CSR offsets of the bags.
        weights: float32 (nnz,), the weight of each token.
    """

    rows: Tensor
    places: Tensor
    offsets: Tensor
    weights: Tensor

    def sum(self, weights: Tensor) -> Tensor:
        """The sums `Σ w_t · row_t` of each bag, one for each row of `weights` (n_pools, nnz): (B, n_pools · dim)."""
        sums: Tensor = Pool.apply(self.rows, self.places, self.offsets, weights)  # type: ignore[no-untyped-call]
        return sums


class Pool(torch.autograd.Function):
    """`pooling.pool` with its gradient; on a GPU, torch's embedding bag does the same for each pool."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, places: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
        """See `pooling.pool`."""
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
        return torch.from_numpy(pool(rows.numpy(), places.numpy(), offsets.numpy(), weights.numpy()))

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """See `pooling.pool_gradient`."""
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
                pool_gradient(gradient.numpy(), places.numpy(), offsets.numpy(), weights.numpy(), ctx.n_rows)
            )
        return to_rows, None, None, None


@dataclass(frozen=True, slots=True)
class HistoryBags(TokenBags):
    """The histories of a batch: sequences of items, oldest first.

    Attributes:
        positions: float32 (nnz,), 0 for the newest event, 1 for the one before it; all 0 if the log has no order.
        ages: float32 (nnz,), seconds between the event and the time of the example; 0 without timestamps.
    """

    positions: Tensor
    ages: Tensor


@dataclass(frozen=True, slots=True)
class UserBatch:
    """The input of an encoder: the users of a batch.

    Attributes:
        profile: the tokens of ids and features.
        history: the sequences of items.
        example_ages: float32 (B,), seconds between each example and the newest event of the log; 0 as in a request
            when vectors are not for a training step.
        terms: the words of the text that each user searches for, none for a user who does not; None for a retriever
            that reads no search terms. A row is the embedding of a word: the sum of those of its tokens.
    """

    profile: TokenBags
    history: HistoryBags
    example_ages: Tensor
    terms: TokenBags | None = None


class UserEncoder(nn.Module, ABC):
    """Maps the profiles and histories of users to vectors: the part of the model that each retriever defines."""

    @abstractmethod
    def forward(self, users: UserBatch) -> Tensor:
        """The users' vectors, float32 (B, V, dim), V ≥ 1; of length 1 if they are compared by cosine.

        An item's score is its best under any of the V.
        """

    def learn(self, users: UserBatch) -> Tensor:
        """The vectors that a training step scores against the targets, float32 (T, V, dim): by default those of users.

        A `CausalEncoder` gives one for each event of the histories instead.
        """
        vectors: Tensor = self(users)
        return vectors

    def begin_at_mean(self) -> None:
        """Set the weights so that vectors begin at the mean of the history's embeddings; by default, do nothing."""

    def penalty(self) -> Tensor | None:
        """What the users of the last call of `learn` add to the mean loss of the step; None: nothing."""
        return None

    def choose(self, vectors: Tensor, targets: Tensor) -> Tensor:
        """The vectors of each user that learn, float32 (B, V', dim); called in training only, if V > 1.

        By default all of them, so that the loss scores an item as a request does: a vector that no target is near must
        not come near other items either. An encoder may give the nearest vector alone, or a label-aware mean.

        Args:
            vectors: float32 (B, V, dim), the result of `forward`.
            targets: float32 (B, dim), the vectors of the target items.
        """
        return vectors

    @abstractmethod
    def export(self) -> ExportedEncoder:
        """The encoder in a form that runs without torch."""


class ItemEncoder(nn.Module, ABC):
    """A network from items' tokens to item vectors."""

    @abstractmethod
    def forward(self, items: TokenBags) -> Tensor:
        """Item vectors, float32 (B, dim); of length 1 if they are compared by cosine.

        The tokens of an item stand in the order of its fields, and those of a text in the order of its words.
        """

    def begin_at_sum(self) -> None:
        """Set the weights so that vectors begin at the sum of the tokens' embeddings; by default, do nothing."""

    @abstractmethod
    def export(self) -> ExportedItemEncoder | None:
        """The same encoder without torch; None if the vectors of a fit are all that requests need."""


class Net(nn.Module):
    """Linear layers with norm, activation and dropout between them; the output is scaled to length 1."""

    def __init__(
        self, n_in: int, widths: Sequence[int], dim: int, activation: Activation, norm: Norm, dropout: float
    ) -> None:
        super().__init__()
        self.dim, self.activation = dim, activation
        self.linear = nn.ModuleList(
            nn.Linear(before, after) for before, after in zip((n_in, *widths), (*widths, dim), strict=True)
        )
        norms = {"none": nn.Identity, "batch": _BatchNorm, "layer": nn.LayerNorm}
        self.norms = nn.ModuleList(norms[norm](width) for width in widths)
        self.between = nn.Sequential(MODULES[activation](), nn.Dropout(dropout))

    @torch.no_grad()
    def begin_at(self, weight: Tensor) -> None:
        """Set the only layer to `weight`, float32 (dim, n_in), without a bias; with hidden layers, do nothing."""
        if len(self.linear) == 1:
            only = self.linear[0]
            assert isinstance(only, nn.Linear)
            only.weight.copy_(weight)
            only.bias.zero_()

    def forward(self, inputs: Tensor) -> Tensor:
        """Unit vectors, float32 (B, dim)."""
        values, n = inputs, len(inputs)
        for linear, norm in zip(self.linear, self.norms, strict=False):
            values = self.between(norm(linear(padded(values))[:n]))
        return functional.normalize(self.linear[-1](padded(values))[:n].float(), dim=1, eps=SMALLEST)

    def export(self) -> Mlp:
        """The network in a form that runs without torch; batch norms are folded into their layers."""
        layers = []
        for number, linear in enumerate(self.linear):
            assert isinstance(linear, nn.Linear)
            weight, bias = to_array(linear.weight).T.copy(), to_array(linear.bias)
            gain = shift = np.empty(0, np.float32)
            norm = self.norms[number] if number < len(self.norms) else None
            if isinstance(norm, nn.LayerNorm):
                gain, shift = to_array(norm.weight), to_array(norm.bias)
            elif isinstance(norm, nn.BatchNorm1d):
                assert norm.running_mean is not None
                assert norm.running_var is not None
                factor = to_array(norm.weight) / np.sqrt(to_array(norm.running_var) + np.float32(EPSILON))
                weight, bias = weight * factor, (bias - to_array(norm.running_mean)) * factor + to_array(norm.bias)
            layers.append(Layer(weight, bias, gain, shift))
        return Mlp(layers, self.activation)


class _BatchNorm(nn.BatchNorm1d):
    """A batch norm that uses the running statistics for a batch of one, whose own variance is 0."""

    def forward(self, values: Tensor) -> Tensor:
        """The normalised values, (B, width)."""
        if len(values) > 1:
            return super().forward(values)
        return functional.batch_norm(
            values, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
        )


def to_array(tensor: Tensor) -> Vectors:
    values: Vectors = tensor.detach().cpu().float().numpy().copy()
    return values

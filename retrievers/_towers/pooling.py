"""Weighted sums of embedding rows, for a batch in training and for one user in a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.kernels import Array, fast_kernel, kernel, prefetch

from .mlp import Mlp, Vectors
from .serving import ExportedEncoder, ExportedItemEncoder, UserInputs


@dataclass(frozen=True, slots=True)
class PooledVector(ExportedEncoder):
    """`PooledEncoder` without torch: one vector per user.

    Attributes:
        net: the network, from the result of `user_input` to the vector.
        half_lives: float64 (n,), the number of newer events after which the weight of an event is halved.
    """

    net: Mlp
    half_lives: NDArray[np.float64]

    @classmethod
    def of(cls, net: Mlp, half_lives: Sequence[float]) -> Self:
        """The encoder of a network and half-lives."""
        return cls(net, np.array(half_lives, np.float64))

    def __call__(self, user: UserInputs) -> Vectors:
        """See `ExportedEncoder.__call__`."""
        return self.net(self.inputs(user))[None]

    def of_each(self, users: Sequence[UserInputs]) -> Vectors:
        """See `ExportedEncoder.of_each`; every row goes through the network by itself, but in one call."""
        return self.net(np.array([self.inputs(user) for user in users])[:, None])

    def inputs(self, user: UserInputs) -> Vectors:
        """The inputs of the network: the profile, then the mean of the history for each half-life, float32 (n_in,)."""
        pooled: Vectors = user_input(
            user.tokens,
            user.token_weights,
            user.token_table,
            user.history,
            user.weights,
            user.ordered,
            self.half_lives,
            user.item_table,
        )
        return pooled

    def arrays(self) -> dict[str, NDArray[Any]]:
        """See `Exported.arrays`; the half-lives are settings, and so not among the arrays."""
        return self.net.arrays()

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]], config: Any) -> Self:
        """See `Exported.of_arrays`."""
        return cls.of(Mlp.of_arrays(arrays, config.activation), config.half_lives)


@dataclass(frozen=True, slots=True)
class SummedItem(ExportedItemEncoder):
    """`SummedItems` without torch.

    Attributes:
        net: from the weighted sum of the token embeddings to the vector.
    """

    net: Mlp

    def __call__(self, weights: Vectors, rows: Vectors) -> Vectors:
        """See `ExportedItemEncoder.__call__`."""
        return self.net(weights @ rows)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """See `Exported.arrays`."""
        return self.net.arrays()

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]], config: Any) -> Self:
        """See `Exported.of_arrays`."""
        return cls(Mlp.of_arrays(arrays, config.activation))


@kernel
def user_input(
    tokens: Array,
    token_weights: Array,
    tokens_table: Array,
    history: Array,
    weights: Array,
    ordered: bool,
    half_lives: Array,
    items_table: Array,
) -> Array:
    """The input of the user network, float32 ((1 + n_half_lives) · dim,).

    First comes the sum of the profile's tokens, then for each half-life the weighted mean of the history. The weight
    of an event is `w · 0.5 ** (a / half_life)`, where `a` is 0 for the newest event, 1 for the one before it, and so
    on; it is `w` if the history has no order. The mean of a history whose weights are all 0 is 0.
    """
    dim = items_table.shape[1]
    entries = items_table.reshape(-1)
    for row in history:
        prefetch(entries, np.int64(row) * dim, dim * entries.itemsize)
    out = np.zeros((1 + half_lives.size) * dim, np.float32)
    for place in range(tokens.size):
        row = tokens_table[tokens[place]]
        for column in range(dim):
            out[column] += token_weights[place] * row[column]
    for pool in range(half_lives.size):
        pooled = out[(1 + pool) * dim : (2 + pool) * dim]
        rate = np.float32(np.exp2(-1.0 / half_lives[pool])) if ordered else np.float32(1.0)
        decay, total = np.float32(1.0), np.float32(0.0)
        for event in range(history.size - 1, -1, -1):
            weight = weights[event] * decay
            row = items_table[history[event]]
            for column in range(dim):
                pooled[column] += weight * row[column]
            total += weight
            decay *= rate
        if total > 0.0:
            for column in range(dim):
                pooled[column] /= total
    return out


@fast_kernel
def pool(rows: Array, places: Array, offsets: Array, weights: Array) -> Array:
    """`Σ_t w_pt · rows[places[t]]` of each bag for each row `p` of `weights`, float32 (n_bags, n_pools · dim).

    `rows` is float32 (n, dim), `places` int64 (nnz,), `offsets` int64 (n_bags + 1,), `weights` float32 (n_pools, nnz).
    """
    n_pools, dim = weights.shape[0], rows.shape[1]
    out = np.zeros((offsets.size - 1, n_pools * dim), np.float32)
    for bag in range(offsets.size - 1):
        for place in range(offsets[bag], offsets[bag + 1]):
            row = rows[places[place]]
            for pool in range(n_pools):
                weight, into = weights[pool, place], out[bag, pool * dim : (pool + 1) * dim]
                for column in range(dim):
                    into[column] += weight * row[column]
    return out


@fast_kernel
def pool_gradient(gradient: Array, places: Array, offsets: Array, weights: Array, n_rows: int) -> Array:
    """The gradient of `pool` in its rows, float32 (n_rows, dim), from that in its result."""
    n_pools = weights.shape[0]
    dim = gradient.shape[1] // n_pools
    out = np.zeros((n_rows, dim), np.float32)
    for bag in range(offsets.size - 1):
        for place in range(offsets[bag], offsets[bag + 1]):
            into = out[places[place]]
            for pool in range(n_pools):
                weight, part = weights[pool, place], gradient[bag, pool * dim : (pool + 1) * dim]
                for column in range(dim):
                    into[column] += weight * part[column]
    return out

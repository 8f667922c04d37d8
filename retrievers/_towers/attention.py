"""The user encoder of `sasrec` for requests: causal self-attention in numba."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.kernels import Array, fast_kernel, kernel

from .mlp import EPSILON, Vectors
from .serving import ExportedEncoder, UserInputs
from .vectorised import layer_norm, linear, multiply_silu, raise_e, sigmoid

Gate = Literal["none", "ligr"]
"""Whether a block gates what its layers add: `none` is `x + f(x)`; `ligr` is `x + sigmoid(G x) * f(x)` with a SwiGLU
feed-forward layer."""


class Block(NamedTuple):
    """The weights of one block; a matrix is (n_in, n_out), and a layer norm has a gain and a shift.

    Attributes:
        attention_gain, attention_shift: the layer norm before the attention, (dim,).
        query, query_bias: the projection to queries, (dim, dim) and (dim,).
        others, others_bias: the projection to keys and values, (dim, 2 · dim) and (2 · dim,).
        merge, merge_bias: the projection of the heads' results, (dim, dim) and (dim,).
        forward_gain, forward_shift: the layer norm before the feed-forward layer, (dim,).
        widen, widen_bias: its first layer, (dim, width) and (width,).
        beside, beside_bias: the layer by which SwiGLU multiplies the first, of the same shapes; empty without a gate.
        narrow, narrow_bias: its second layer, (width, dim) and (dim,).
        attention_gate, attention_gate_bias, forward_gate, forward_gate_bias: the gates; empty without.
    """

    attention_gain: Vectors
    attention_shift: Vectors
    query: Vectors
    query_bias: Vectors
    others: Vectors
    others_bias: Vectors
    merge: Vectors
    merge_bias: Vectors
    forward_gain: Vectors
    forward_shift: Vectors
    widen: Vectors
    widen_bias: Vectors
    beside: Vectors
    beside_bias: Vectors
    narrow: Vectors
    narrow_bias: Vectors
    attention_gate: Vectors
    attention_gate_bias: Vectors
    forward_gate: Vectors
    forward_gate_bias: Vectors

    @classmethod
    def of(cls, layers: Sequence[tuple[Vectors, Vectors]]) -> Self:
        """The block of the layers of `AttentionEncoder`: norm, projection, merge, norm, widen, narrow, and gates."""
        attention, project, merge, forward, widen, narrow, *gates = layers
        none = np.empty((0, 0), np.float32), np.empty(0, np.float32)
        query, others = _split(project, len(project[0]))
        left, right = _split(widen, len(narrow[0])) if gates else (widen, none)
        parts = [attention, query, others, merge, forward, left, right, narrow, *(gates or [none, none])]
        return cls(*(array for part in parts for array in part))


def _split(layer: tuple[Vectors, Vectors], column: int) -> tuple[tuple[Vectors, Vectors], tuple[Vectors, Vectors]]:
    """The layers of the first outputs, up to `column`, and of the others."""
    weight, bias = layer
    return (weight[:, :column].copy(), bias[:column].copy()), (weight[:, column:].copy(), bias[column:].copy())


@dataclass(frozen=True, slots=True)
class Attention(ExportedEncoder):
    """`AttentionEncoder` without torch: one vector per user, zeros for an empty history.

    Attributes:
        positions: float32 (length, dim), the embedding of each distance from the newest event.
        blocks: the blocks, first to last.
        gain, shift: float32 (dim,), the last layer norm.
        n_heads: the number of attention heads.
        gate: see `Gate`.
    """

    positions: Vectors
    blocks: Sequence[Block]
    gain: Vectors
    shift: Vectors
    n_heads: int
    gate: Gate

    def __call__(self, user: UserInputs) -> Vectors:
        """See `ExportedEncoder.__call__`. The last block computes the vector of the newest event only."""
        n_events = user.history.size
        if not n_events:
            return np.zeros((1, self.gain.size), np.float32)
        values = _embed(user.item_table, user.history, self.positions)
        for number, block in enumerate(self.blocks):
            first = n_events - 1 if number == len(self.blocks) - 1 else 0
            values = _run_block(values, first, self.n_heads, self.gate == "ligr", *block)
        return _normalise(values[-1:], self.gain, self.shift)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """See `Exported.arrays`."""
        arrays = {"positions": self.positions, "gain": self.gain, "shift": self.shift}
        for number, block in enumerate(self.blocks):
            arrays |= {f"block{number}-{name}": array for name, array in block._asdict().items()}
        return arrays

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]], config: Any) -> Self:
        """See `Exported.of_arrays`."""
        blocks = [
            Block(*(np.ascontiguousarray(arrays[f"block{number}-{name}"]) for name in Block._fields))
            for number in range(config.blocks)
        ]
        return cls(arrays["positions"], blocks, arrays["gain"], arrays["shift"], config.heads, config.gate)


@kernel
def _embed(table: Array, history: Array, positions: Array) -> Array:
    n_events, dim = history.size, table.shape[1]
    values = np.empty((n_events, dim), np.float32)
    scale = np.float32(np.sqrt(dim))
    for event in range(n_events):
        for column in range(dim):
            values[event, column] = table[history[event], column] * scale + positions[n_events - 1 - event, column]
    return values


@fast_kernel
def _run_block(
    values: Array,
    first: int,
    n_heads: int,
    gated: bool,
    attention_gain: Array,
    attention_shift: Array,
    query: Array,
    query_bias: Array,
    others: Array,
    others_bias: Array,
    merge: Array,
    merge_bias: Array,
    forward_gain: Array,
    forward_shift: Array,
    widen: Array,
    widen_bias: Array,
    beside: Array,
    beside_bias: Array,
    narrow: Array,
    narrow_bias: Array,
    attention_gate: Array,
    attention_gate_bias: Array,
    forward_gate: Array,
    forward_gate_bias: Array,
) -> Array:
    """The values float32 (n - first, dim) of the events from `first` on, after one block over `values` (n, dim)."""
    normed = layer_norm(values, attention_gain, attention_shift, EPSILON)
    queries = linear(normed[first:], query, query_bias)
    change = linear(_attend(queries, linear(normed, others, others_bias), first, n_heads), merge, merge_bias)
    kept = values[first:]
    if gated:
        change *= sigmoid(linear(kept, attention_gate, attention_gate_bias))
    kept = kept + change
    normed = layer_norm(kept, forward_gain, forward_shift, EPSILON)
    wide = linear(normed, widen, widen_bias)
    if gated:
        multiply_silu(wide, linear(normed, beside, beside_bias))
    else:
        wide = np.maximum(wide, np.float32(0.0))
    change = linear(wide, narrow, narrow_bias)
    if gated:
        change *= sigmoid(linear(kept, forward_gate, forward_gate_bias))
    change += kept
    return change


@fast_kernel
def _attend(queries: Array, others: Array, first: int, n_heads: int) -> Array:
    """Causal attention of the events from `first` on, float32 (n - first, dim).

    Args:
        queries: float32 (n - first, dim).
        others: float32 (n, 2 · dim), keys and values of all events.
        first: the number of the event of the first query.
        n_heads: the number of heads.
    """
    n_rows, dim = queries.shape
    width = dim // n_heads
    scale = np.float32(1 / np.sqrt(width))
    mixed = np.empty((n_rows, dim), np.float32)
    for head in range(n_heads):
        begin, end = head * width, (head + 1) * width
        keys, own = others[:, begin:end].copy(), others[:, dim + begin : dim + end].copy()
        shares = np.dot(queries[:, begin:end].copy(), keys.T)
        for row in range(n_rows):
            scores, n_seen = shares[row], first + row + 1
            top = np.float32(-np.inf)
            for event in range(n_seen):
                top = max(top, scores[event])
            for event in range(n_seen):
                scores[event] = (scores[event] - top) * scale
            scores[n_seen:] = -np.inf
        raise_e(shares.reshape(-1))
        for row in range(n_rows):
            scores, n_seen = shares[row], first + row + 1
            total = np.float32(0.0)
            for event in range(n_seen):
                total += scores[event]
            scores[:n_seen] *= np.float32(1.0) / total
            scores[n_seen:] = 0.0
        mixed[:, begin:end] = np.dot(shares, own)
    return mixed


@kernel
def _normalise(values: Array, gain: Array, shift: Array) -> Array:
    return layer_norm(values, gain, shift, EPSILON)

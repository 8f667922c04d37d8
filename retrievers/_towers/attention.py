"""The user encoder of `sasrec` for requests: causal self-attention in numba."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.kernels import Array, dot, fast_kernel, kernel

from .mlp import EPSILON, Vectors
from .serving import ExportedEncoder, UserInputs
from .vectorised import layer_norm, raise_e, sigmoid

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
        widen, widen_bias: its first layer, (dim, width), or (dim, 2 · width) with a gate.
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
    narrow: Vectors
    narrow_bias: Vectors
    attention_gate: Vectors
    attention_gate_bias: Vectors
    forward_gate: Vectors
    forward_gate_bias: Vectors

    @classmethod
    def of(cls, layers: Sequence[tuple[Vectors, Vectors]]) -> Self:
        """The block of the layers of `AttentionEncoder`: norm, projection, merge, norm, widen, narrow, and gates."""
        attention, (project, project_bias), *others = layers
        dim = len(project)
        query, rest = project[:, :dim].copy(), project[:, dim:].copy()
        none = np.empty((0, 0), np.float32), np.empty(0, np.float32)
        parts = [attention, (query, project_bias[:dim].copy()), (rest, project_bias[dim:].copy()), *others]
        return cls(*(array for part in [*parts, *[none] * (9 - len(parts))] for array in part))


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
    narrow: Array,
    narrow_bias: Array,
    attention_gate: Array,
    attention_gate_bias: Array,
    forward_gate: Array,
    forward_gate_bias: Array,
) -> Array:
    """The values float32 (n - first, dim) of the events from `first` on, after one block over `values` (n, dim)."""
    normed = layer_norm(values, attention_gain, attention_shift, EPSILON)
    queries = np.dot(normed[first:], query) + query_bias
    mixed = _attend(queries, np.dot(normed, others) + others_bias, first, n_heads)
    change = np.dot(mixed, merge) + merge_bias
    kept = values[first:]
    if gated:
        change *= sigmoid(np.dot(kept, attention_gate) + attention_gate_bias)
    kept = kept + change
    wide = np.dot(layer_norm(kept, forward_gain, forward_shift, EPSILON), widen) + widen_bias
    width = len(narrow)
    if gated:
        left = wide[:, :width].copy()
        wide = left * sigmoid(left) * wide[:, width:]
    else:
        wide = np.maximum(wide, np.float32(0.0))
    change = np.dot(wide, narrow) + narrow_bias
    if gated:
        change *= sigmoid(np.dot(kept, forward_gate) + forward_gate_bias)
    results: Array = kept + change
    return results


@fast_kernel
def _attend(queries: Array, others: Array, first: int, n_heads: int) -> Array:
    """Causal attention of the events from `first` on.

    Args:
        queries: float32 (n - first, dim).
        others: float32 (n, 2 · dim), keys and values of all events.
        first: the number of the event of the first query.
        n_heads: the number of heads.
    """
    dim = queries.shape[1]
    width = dim // n_heads
    scale = np.float32(1 / np.sqrt(width))
    mixed = np.zeros(queries.shape, np.float32)
    for row in range(len(queries)):
        n_seen = first + row + 1
        for head in range(n_heads):
            own = slice(head * width, (head + 1) * width)
            wanted = queries[row, own]
            shares = np.empty(n_seen, np.float32)
            top = np.float32(-np.inf)
            for event in range(n_seen):
                shares[event] = dot(wanted, others[event, own]) * scale
                top = max(top, shares[event])
            shares -= top
            raise_e(shares)
            total = np.float32(0.0)
            for event in range(n_seen):
                total += shares[event]
            into = mixed[row, own]
            for event in range(n_seen):
                share = shares[event] / total
                for column in range(width):
                    into[column] += share * others[event, dim + head * width + column]
    return mixed


@kernel
def _normalise(values: Array, gain: Array, shift: Array) -> Array:
    return layer_norm(values, gain, shift, EPSILON)

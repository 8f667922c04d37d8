"""The user encoder of `sasrec` in training: causal self-attention over the history."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .attention import Attention, Block, Gate
from .causal_encoder import CausalEncoder, Grid
from .dropout import Dropout
from .encoders import to_array

POSITION_SPREAD = 0.1
"""Standard deviation of the initial position embeddings."""


class AttentionEncoder(CausalEncoder):
    """Blocks of self-attention and feed-forward layers over embeddings of items and positions.

    Args:
        dim: the number of dimensions.
        n_blocks: the number of blocks.
        n_heads: the number of attention heads, a divisor of `dim`.
        length: the largest number of events in a history.
        widening: the width of the feed-forward layers, in multiples of `dim`.
        dropout: the share of values that a training step sets to 0.
        gate: see `attention.Gate`.
    """

    def __init__(
        self, dim: int, n_blocks: int, n_heads: int, length: int, widening: int, dropout: float, gate: Gate
    ) -> None:
        super().__init__()
        self.n_heads, self.gate = n_heads, gate
        self.positions = nn.Parameter(torch.randn(length, dim) * POSITION_SPREAD)
        self.blocks = nn.ModuleList(_Block(dim, n_heads, widening, dropout, gate) for _ in range(n_blocks))
        self.norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)
        self.scale = dim**0.5

    def states(self, rows: Tensor, positions: Tensor, grid: Grid) -> Tensor:
        """See `CausalEncoder.states`."""
        values = self.dropout(rows * self.scale + self.positions.index_select(0, positions))
        for block in self.blocks:
            values = block(values, grid)
        states: Tensor = self.norm(values.float())
        return states

    def export(self) -> Attention:
        """See `UserEncoder.export`."""
        blocks = [block.export() for block in self.blocks if isinstance(block, _Block)]
        return Attention(
            to_array(self.positions),
            blocks,
            to_array(self.norm.weight),
            to_array(self.norm.bias),
            self.n_heads,
            self.gate,
        )


class _Block(nn.Module):
    """One block: causal attention, then a feed-forward layer, each behind a layer norm and beside a residual path."""

    def __init__(self, dim: int, n_heads: int, widening: int, dropout: float, gate: Gate) -> None:
        super().__init__()
        self.n_heads, self.gated = n_heads, gate == "ligr"
        self.norm_attention, self.norm_forward = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.project = nn.Linear(dim, 3 * dim)
        self.merge = nn.Linear(dim, dim)
        width = widening * dim
        self.widen = nn.Linear(dim, 2 * width if self.gated else width)
        self.narrow = nn.Linear(width, dim)
        self.gates = nn.ModuleList(nn.Linear(dim, dim) for _ in range(2 if self.gated else 0))
        self.dropout = Dropout(dropout)

    def forward(self, values: Tensor, grid: Grid) -> Tensor:
        """The values (n_events, dim) after the block."""
        values = self._join(values, self._attend(self.norm_attention(values), grid), 0)
        return self._join(values, self._feed(self.norm_forward(values)), 1)

    def export(self) -> Block:
        """The weights, in the form that requests use."""

        def weights(layer: nn.Module) -> tuple[Any, Any]:
            assert isinstance(layer, nn.Linear | nn.LayerNorm)
            kernel = to_array(layer.weight)
            return kernel.T.copy() if kernel.ndim == 2 else kernel, to_array(layer.bias)

        gates = [weights(gate) for gate in self.gates]
        layers = self.norm_attention, self.project, self.merge, self.norm_forward, self.widen, self.narrow
        return Block.of([*map(weights, layers), *gates])

    def _attend(self, values: Tensor, grid: Grid) -> Tensor:
        """Causal attention; an event attends to itself and to older ones."""
        cells = grid.spread(self.project(values))
        if cells.device.type == "cpu":
            cells = cells.float()  # on a CPU, torch's attention is slower in bfloat16, by up to four times
        query, key, value = cells.view(*cells.shape[:2], 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        with torch.autocast(cells.device.type, enabled=False):
            mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        merged: Tensor = self.merge(grid.collect(mixed.transpose(1, 2).flatten(2)))
        return merged

    def _feed(self, values: Tensor) -> Tensor:
        wide = self.widen(values)
        if self.gated:
            left, right = wide.chunk(2, dim=1)
            wide = functional.silu(left) * right
        else:
            wide = functional.relu(wide)
        narrowed: Tensor = self.narrow(self.dropout(wide))
        return narrowed

    def _join(self, values: Tensor, change: Tensor, number: int) -> Tensor:
        """The residual path: `x + f(x)`, or `x + sigmoid(G x) * f(x)` with a gate."""
        change = self.dropout(change)
        return values + (torch.sigmoid(self.gates[number](values)) * change if self.gated else change)

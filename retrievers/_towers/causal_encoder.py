"""Encoders whose vector after an event depends on that event and older ones only."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from .encoders import UserBatch, UserEncoder


@dataclass(frozen=True, slots=True)
class Grid:
    """Histories of unequal length as the rows of a grid (B, L), oldest event first, padded at the end.

    Padding at the end needs no mask: no event looks at a later one.

    Attributes:
        n_rows, n_columns: B and L.
        cells: int64 (n_events,), the cell of each event, row by row; None: every cell has an event.
    """

    n_rows: int
    n_columns: int
    cells: Tensor | None

    @classmethod
    def of(cls, offsets: Tensor) -> Self:
        """The grid for histories with these CSR offsets, int64 (B + 1,)."""
        lengths = offsets.diff()
        n_rows, n_columns = len(lengths), int(lengths.max()) if len(lengths) else 0
        n_events = int(offsets[-1])
        if n_events == n_rows * n_columns:
            return cls(n_rows, n_columns, None)
        firsts = torch.arange(n_rows, device=offsets.device) * n_columns - offsets[:-1]
        return cls(n_rows, n_columns, torch.arange(n_events, device=offsets.device) + firsts.repeat_interleave(lengths))

    def spread(self, events: Tensor) -> Tensor:
        """The grid (B, L, width) of values (n_events, width); zeros in empty cells."""
        if self.cells is not None:
            empty = events.new_zeros(self.n_rows * self.n_columns, events.shape[1])
            events = empty.index_copy(0, self.cells, events)
        return events.view(self.n_rows, self.n_columns, -1)

    def collect(self, grid: Tensor) -> Tensor:
        """The values (n_events, width) of a grid (B, L, width)."""
        flat = grid.reshape(self.n_rows * self.n_columns, -1)
        return flat if self.cells is None else flat.index_select(0, self.cells)


class CausalEncoder(UserEncoder):
    """An encoder that a training step teaches every event of a history at once."""

    @abstractmethod
    def states(self, rows: Tensor, positions: Tensor, grid: Grid) -> Tensor:
        """The user's vector after each event, float32 (n_events, dim).

        Args:
            rows: float32 (n_events, dim), the embedding of each event's item.
            positions: int64 (n_events,), 0 for the newest event, 1 for the one before it.
            grid: the place of each event in its history.
        """

    def learn(self, users: UserBatch) -> Tensor:
        """See `UserEncoder.learn`: the vector after each event, to be scored against what followed."""
        history = users.history
        rows = history.rows.index_select(0, history.places)
        return self.states(rows, history.positions.long(), Grid.of(history.offsets))[:, None]

    def forward(self, users: UserBatch) -> Tensor:
        """The vector after the newest event, float32 (B, 1, dim); zeros for an empty history."""
        states = self.learn(users)
        offsets = users.history.offsets
        filled = offsets.diff() > 0
        newest = states.index_select(0, offsets[1:][filled] - 1)
        return states.new_zeros(len(filled), *states.shape[1:]).index_copy(0, filled.nonzero()[:, 0], newest)

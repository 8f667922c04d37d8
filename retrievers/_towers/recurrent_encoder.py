"""The user encoder of `gru4rec` in training: a gated recurrent network over the history."""

from __future__ import annotations

from torch import Tensor, nn

from .causal_encoder import CausalEncoder, Grid
from .dropout import Dropout
from .encoders import to_array
from .recurrent import Recurrent


class RecurrentEncoder(CausalEncoder):
    """Layers of gated recurrent units over item embeddings, and a linear layer from their state to the vector.

    Args:
        dim: the number of dimensions of embeddings and vectors.
        width: the width of the state.
        n_layers: the number of recurrent layers.
        dropout: the share of the inputs and of the states that a training step sets to 0.
    """

    def __init__(self, dim: int, width: int, n_layers: int, dropout: float) -> None:
        super().__init__()
        self.units = nn.ModuleList(nn.GRU(dim if layer == 0 else width, width) for layer in range(n_layers))
        self.project = nn.Linear(width, dim)
        self.dropout = Dropout(dropout)
        self.scale = dim**0.5

    def states(self, rows: Tensor, positions: Tensor, grid: Grid) -> Tensor:
        """See `CausalEncoder.states`; the positions are not needed."""
        values = grid.spread(self.dropout(rows * self.scale)).transpose(0, 1)
        for units in self.units:
            values = self.dropout(units(values)[0])
        states: Tensor = self.project(grid.collect(values.transpose(0, 1)))
        return states.float()

    def export(self) -> Recurrent:
        """See `UserEncoder.export`."""
        layers = []
        for units in self.units:
            inputs, states, input_bias, state_bias = (to_array(weight) for weight in units.parameters())
            layers.append((inputs.T.copy(), input_bias, states.T.copy(), state_bias))
        return Recurrent(layers, to_array(self.project.weight).T.copy(), to_array(self.project.bias))

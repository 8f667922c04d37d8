"""The user encoder of `youtube_dnn` in training."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .encoders import Net, UserBatch, UserEncoder
from .pooled_encoder import history_means
from .youtube import DeepVector

WHOLE = (float("inf"),)
"""The half-life of a mean in which all events weigh alike."""

AGE_S = 30 * 86_400.0
"""The age of an example, in seconds, that becomes 1/2 as an input."""

N_AGES = 3
"""The inputs from the age of an example."""


class DeepEncoder(UserEncoder):
    """Averages the history and sums search terms and profile, beside the age of the example, as inputs of a network.

    An example of age `a` has the inputs `x`, `x²` and `√x` with `x = a / (a + 30 days)`; in a request, `a` is 0.

    Args:
        net: the network, from 3 · dim + 3 inputs to the vector: history, search terms, profile, age.
    """

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, users: UserBatch) -> Tensor:
        """See `UserEncoder.forward`; V is 1."""
        mean = history_means(users.history, WHOLE)
        asked = torch.zeros_like(mean) if users.terms is None else users.terms.sum(users.terms.weights[None])
        share = users.example_ages / (users.example_ages + AGE_S)
        age = torch.stack([share, share**2, share.sqrt()], dim=1)
        profile = users.profile.sum(users.profile.weights[None])
        vectors: Tensor = self.net(torch.cat([mean, asked, profile, age], dim=1))
        return vectors[:, None]

    def export(self) -> DeepVector:
        """See `UserEncoder.export`; the inputs of the age are left out, which are 0 in a request."""
        net = self.net.export()
        first = replace(net.layers[0], weight=net.layers[0].weight[:-N_AGES].copy())
        return DeepVector(replace(net, layers=[first, *net.layers[1:]]))

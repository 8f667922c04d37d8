"""The user encoder of `youtube_dnn` in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .encoders import Net, UserBatch, UserEncoder
from .pooled_encoder import history_means
from .youtube import DeepVector

AGE_S = 30 * 86_400.0
"""The age of an example, in seconds, that becomes 1/2 as an input."""

N_AGES = 3
"""The inputs from the age of an example."""


class DeepEncoder(UserEncoder):
    """Averages the history and sums search terms and profile, beside the age of the example, as inputs of a network.

    An example of age `a` has the inputs `x`, `x²` and `√x` with `x = a / (a + 30 days)`; in a request, `a` is 0.

    Args:
        net: the network, from (2 + n_half_lives) · dim + 3 inputs to the vector: profile, history, search terms, age.
        half_lives: the number of newer events after which the weight of an event is halved, one for each mean.
    """

    def __init__(self, net: Net, half_lives: Sequence[float]) -> None:
        super().__init__()
        self.net, self.half_lives = net, tuple(half_lives)

    def forward(self, users: UserBatch) -> Tensor:
        """See `UserEncoder.forward`; V is 1."""
        profile = users.profile.sum(users.profile.weights[None])
        means = history_means(users.history, self.half_lives)
        asked = torch.zeros_like(profile) if users.terms is None else users.terms.sum(users.terms.weights[None])
        share = users.example_ages / (users.example_ages + AGE_S)
        age = torch.stack([share, share**2, share.sqrt()], dim=1)
        vectors: Tensor = self.net(torch.cat([profile, means, asked, age], dim=1))
        return vectors[:, None]

    def export(self) -> DeepVector:
        """See `UserEncoder.export`; the inputs of the age are left out, which are 0 in a request."""
        net = self.net.export()
        first = replace(net.layers[0], weight=net.layers[0].weight[:-N_AGES].copy())
        return DeepVector.of(replace(net, layers=[first, *net.layers[1:]]), self.half_lives)

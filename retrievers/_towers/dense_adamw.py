"""AdamW for the weights of networks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from .sparse_adamw import BETA_1, BETA_2, EPSILON

FIELDS = ("step", "exp_avg", "exp_avg_sq")
"""The state of a weight: the number of its steps, and the moments of its gradient."""


class DenseAdamW:
    """The weights of networks with torch's AdamW; a step moves those that have a gradient.

    `torch.optim.AdamW` calls the same function, but its first use imports torch's compiler, which takes a second.
    """

    def __init__(self, weights: Iterable[nn.Parameter], weight_decay: float) -> None:
        self._weights = [weight for weight in weights if weight.requires_grad]
        self._weight_decay = weight_decay
        self._states: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def clear_gradients(self) -> None:
        """Forget the gradients of the last step."""
        for weight in self._weights:
            weight.grad = None

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update the weights by their gradients at a learning rate, in place."""
        moved = [number for number, weight in enumerate(self._weights) if weight.grad is not None]
        for number in moved:
            if number not in self._states:
                own = self._weights[number]
                start = torch.zeros((), device=own.device), torch.zeros_like(own), torch.zeros_like(own)
                self._states[number] = start
        if not moved:
            return
        steps, first, second = (list(own) for own in zip(*(self._states[number] for number in moved), strict=True))
        adamw(
            [self._weights[number] for number in moved],
            [gradient for number in moved if (gradient := self._weights[number].grad) is not None],
            first,
            second,
            [],
            steps,
            fused=True,
            amsgrad=False,
            beta1=BETA_1,
            beta2=BETA_2,
            lr=rate,
            weight_decay=self._weight_decay,
            eps=EPSILON,
            maximize=False,
        )

    def state(self) -> dict[str, Tensor]:
        """What `restore` resumes from."""
        return {
            f"optimizer-{number}-{name}": value
            for number, own in self._states.items()
            for name, value in zip(FIELDS, own, strict=True)
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Resume from the entries of `state` that a call of `state` gave."""
        self._states = {}
        numbers = [number for number in range(len(self._weights)) if f"optimizer-{number}-step" in state]
        for number in numbers:
            step, first, second = (state[f"optimizer-{number}-{name}"] for name in FIELDS)
            self._states[number] = step, first, second

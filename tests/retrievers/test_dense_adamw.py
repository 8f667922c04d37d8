"""AdamW for network weights."""

from __future__ import annotations

import torch

from multirecall.retrievers._towers.dense_adamw import DenseAdamW


def weights() -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((3, 4), (3,), (2, 2))]


def set_gradients(own: list[torch.nn.Parameter], number: int) -> None:
    """The last weight has a gradient in every second step only."""
    for place, weight in enumerate(own):
        has_one = place < 2 or number % 2
        weight.grad = torch.sin(weight.detach() * (place + number + 1)) if has_one else None


def test_steps_are_those_of_torch_to_the_bit() -> None:
    own, theirs = weights(), weights()
    ours, peer = DenseAdamW(own, 0.05), torch.optim.AdamW(theirs, weight_decay=0.05, fused=True)
    for number, rate in enumerate((0.1, 0.05, 0.2, 0.1)):
        set_gradients(own, number)
        set_gradients(theirs, number)
        ours.step(rate)
        peer.param_groups[0]["lr"] = rate
        peer.step()
    for mine, other in zip(own, theirs, strict=True):
        assert torch.equal(mine, other)


def test_resumed_steps_are_those_of_an_uninterrupted_run() -> None:
    own, other = weights(), weights()
    whole = DenseAdamW(own, 0.0)
    set_gradients(own, 0)
    whole.step(0.1)
    resumed = DenseAdamW(other, 0.0)
    resumed.restore({name: value.clone() for name, value in whole.state().items()})
    for weight, now in zip(other, own, strict=True):
        weight.data.copy_(now.data)
    for adamw, parameters in ((whole, own), (resumed, other)):
        set_gradients(parameters, 1)
        adamw.step(0.1)
    for mine, copy in zip(own, other, strict=True):
        assert torch.equal(mine, copy)


def test_weights_without_a_gradient_stay() -> None:
    own = weights()
    frozen = own[0].requires_grad_(False)
    adamw = DenseAdamW(own, 0.1)
    own[1].grad = torch.ones_like(own[1])
    adamw.step(0.1)
    adamw.clear_gradients()
    assert all(weight.grad is None for weight in own)
    for now, before in zip((frozen, own[2]), (weights()[0], weights()[2]), strict=True):
        assert torch.equal(now, before)
    adamw.step(0.1)
    assert not torch.equal(own[1], weights()[1])

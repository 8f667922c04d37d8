"""The kernels of `multi_interest`, each beside a slow and obvious oracle."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from multirecall.csr import offsets_of
from multirecall.retrievers._towers.interest_attention import attend
from multirecall.retrievers._towers.interest_encoders import Attend, attend_on_gpu, route_on_gpu
from multirecall.retrievers._towers.interest_routing import n_used_interests, route

N_ROWS, DIM, WIDTH, LENGTH = 5, 3, 4, 6


class Bags:
    """Random histories, some of them empty, with random weights, some of them 0."""

    def __init__(self, seed: int, n_bags: int) -> None:
        self.rng = np.random.default_rng(seed)
        lengths = self.rng.integers(0, LENGTH + 1, n_bags)
        self.offsets = offsets_of(lengths)
        n = int(self.offsets[-1])
        self.places = self.rng.integers(0, N_ROWS, n)
        self.positions = np.concatenate([np.arange(one)[::-1] for one in lengths]) if n_bags else self.places
        self.weights = (self.rng.integers(0, 3, n) / 2).astype(np.float32)

    def normal(self, *shape: int) -> NDArray[np.float32]:
        return self.rng.normal(size=shape).astype(np.float32)

    @property
    def runs(self) -> list[slice]:
        return [slice(first, last) for first, last in zip(self.offsets[:-1], self.offsets[1:], strict=True)]


def attended(bags: Bags, rows: Tensor, hidden: Tensor, shift: Tensor, heads: Tensor) -> tuple[Tensor, Tensor]:
    """`attend`, bag by bag."""
    results, shares = [torch.zeros(0, len(heads), DIM)], [torch.zeros(0, len(heads))]
    for run in bags.runs:
        weights = torch.from_numpy(bags.weights[run])[:, None]
        logits = torch.tanh(hidden[bags.places[run]] + shift[bags.positions[run].copy()]) @ heads.T
        strengths = weights * torch.exp(logits)
        own = strengths / strengths.sum(dim=0).clamp_min(1e-12)
        shares.append(own)
        results.append((own.T @ rows[bags.places[run]])[None])
    return torch.cat(results), torch.cat(shares)


@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_attention_and_its_gradient(seed: int, n_bags: int, n_heads: int) -> None:
    bags = Bags(seed, n_bags)
    shapes = [(N_ROWS, DIM), (N_ROWS, WIDTH), (LENGTH, WIDTH), (n_heads, WIDTH)]
    inputs = [torch.from_numpy(2 * bags.normal(*shape)) for shape in shapes]
    arrays = [torch.from_numpy(one) for one in (bags.places, bags.positions.copy(), bags.offsets, bags.weights)]
    pulls = (
        torch.from_numpy(bags.normal(n_bags, n_heads, DIM)),
        torch.from_numpy(bags.normal(bags.places.size, n_heads)),
    )
    gradients = []
    for compute in (lambda *own: attended(bags, *own), lambda *own: Attend.apply(*own, *arrays), on_gpu(arrays)):
        own = [one.clone().requires_grad_() for one in inputs]
        results = compute(*own)
        (results[0] * pulls[0]).sum().add((results[1] * pulls[1]).sum()).backward()
        gradients.append([*results, *(one.grad for one in own)])
    for found in gradients[1:]:
        for value, expected in zip(found, gradients[0], strict=True):
            torch.testing.assert_close(value, expected, atol=1e-5, rtol=1e-4)


def on_gpu(arrays: list[Tensor]) -> Callable[..., tuple[Tensor, Tensor]]:
    return lambda *own: attend_on_gpu(*own, *arrays)


def test_attention_by_hand() -> None:
    """Logits tanh(0) = 0 and tanh(50) = 1 with weights 2 and 1: shares 2 / (2 + e) and e / (2 + e)."""
    out, shares = attend(
        np.array([[1.0], [3.0]], np.float32),
        np.array([[0.0], [20.0]], np.float32),
        np.array([[30.0], [0.0]], np.float32),
        np.array([[1.0]], np.float32),
        np.array([0, 1]),
        np.array([1, 0]),
        np.array([0, 2]),
        np.array([2.0, 1.0], np.float32),
    )
    np.testing.assert_allclose(shares[:, 0], [2 / (2 + np.e), np.e / (2 + np.e)], rtol=1e-6)
    assert out[0, 0, 0] == pytest.approx((2 + 3 * np.e) / (2 + np.e), rel=1e-6)


def routed(
    bags: Bags, mapped: NDArray[np.float32], starts: NDArray[np.float32], iterations: int, adaptive: bool
) -> NDArray[np.float64]:
    """`route`, bag by bag, in float64."""
    n_interests = starts.shape[1]
    couplings = np.zeros((n_interests, bags.places.size))
    for run in bags.runs:
        n_events = run.stop - run.start
        if not n_events:
            continue
        n_own = max(1, min(n_interests, int(np.log2(n_events)))) if adaptive else n_interests
        vectors = np.broadcast_to(mapped[bags.places[run]], (n_events, n_interests, DIM))[:, :n_own].astype(np.float64)
        logits = starts[bags.places[run], :n_own].astype(np.float64)
        for number in range(iterations):
            strengths = np.exp(logits)
            own = bags.weights[run, None] * strengths / strengths.sum(axis=1, keepdims=True)
            sums = np.einsum("tk,tkd->kd", own, vectors)
            squares = (sums**2).sum(axis=1, keepdims=True)
            interests = squares / (1 + squares) * sums / np.sqrt(np.maximum(squares, 1e-30))
            if number < iterations - 1:
                logits = logits + np.einsum("tkd,kd->tk", vectors, interests)
        couplings[:n_own, run] = own.T
        couplings[n_own:, run] = own.T[0]
    return couplings


@given(st.integers(0, 2**32), st.integers(0, 5), st.integers(1, 4), st.integers(1, 4), st.booleans(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_routing(seed: int, n_bags: int, n_interests: int, iterations: int, adaptive: bool, shared: bool) -> None:
    bags = Bags(seed, n_bags)
    mapped, starts = bags.normal(N_ROWS, 1 if shared else n_interests, DIM), bags.normal(N_ROWS, n_interests)
    expected = routed(bags, mapped, starts, iterations, adaptive)
    arrays = mapped, starts, bags.places, bags.offsets, bags.weights
    np.testing.assert_allclose(route(*arrays, iterations, adaptive), expected, atol=1e-5)
    found = route_on_gpu(*(torch.from_numpy(one) for one in arrays), iterations, adaptive)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_short_histories_have_fewer_interests() -> None:
    assert [n_used_interests(n, 4) for n in (0, 1, 2, 3, 4, 7, 8, 15, 16, 50)] == [1, 1, 1, 1, 2, 2, 3, 3, 4, 4]
    assert n_used_interests(50, 1) == 1

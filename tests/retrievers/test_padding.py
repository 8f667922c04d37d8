"""Sizes of matrix products recur, and change nothing else."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from multirecall.retrievers._towers.encoders import Net  # noqa: E402
from multirecall.retrievers._towers.padding import MULTIPLE, padded  # noqa: E402


@pytest.mark.parametrize(("n", "expected"), [(0, 0), (1, MULTIPLE), (MULTIPLE, MULTIPLE), (MULTIPLE + 1, 2 * MULTIPLE)])
def test_rows_of_zeros_come_behind(n: int, expected: int) -> None:
    rows = torch.arange(3.0 * n).view(n, 3) + 1
    found = padded(rows)
    assert found.shape == (expected, 3)
    assert torch.equal(found[:n], rows)
    assert not found[n:].any()


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_a_network_gives_its_rows_the_vectors_and_gradients_that_they_have_without(norm: str) -> None:
    """Batch norm takes the mean of the rows that are there."""
    torch.manual_seed(0)
    net = Net(5, (7,), 3, "relu", norm, 0.0)
    rows = torch.randn(11, 5, requires_grad=True)
    vectors = net(rows)
    vectors[:, 0].sum().backward()
    hidden = net.between(net.norms[0](net.linear[0](rows.detach())))
    expected = torch.nn.functional.normalize(net.linear[1](hidden), dim=1)
    torch.testing.assert_close(vectors, expected)
    weight = net.linear[0].weight
    gradient, weight.grad = weight.grad, None
    expected[:, 0].sum().backward()
    torch.testing.assert_close(gradient, weight.grad)

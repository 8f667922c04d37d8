from __future__ import annotations

import numpy as np
import torch

from multirecall.retrievers._towers.sparse_adamw import Table


def start() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32))


def test_rows_are_distinct_and_each_token_finds_its_own() -> None:
    table, tokens = Table(start()), np.array([4, 1, 4, 0, 1], np.int32)
    rows, places = table.rows(tokens)
    torch.testing.assert_close(rows.detach(), start()[[0, 1, 4]], rtol=0, atol=0)
    torch.testing.assert_close(rows.detach()[places], start()[tokens], rtol=0, atol=0)


def test_no_tokens_have_no_rows() -> None:
    rows, places = Table(start()).rows(np.empty(0, np.int32))
    assert rows.shape == (0, 3)
    assert places.shape == (0,)


def test_steps_on_all_rows_are_those_of_adamw() -> None:
    table, dense = Table(start()), torch.nn.Parameter(start())
    optimizer = torch.optim.AdamW([dense], lr=0.1, weight_decay=0.05)
    for number in range(1, 4):
        rows, places = table.rows(np.array([5, 4, 3, 2, 1, 0, 0]))
        (rows[places] ** 2 * (places + 1)[:, None]).sum().backward()
        table.step(0.1, 0.05, number)
        optimizer.zero_grad()
        tokens = torch.tensor([5, 4, 3, 2, 1, 0, 0])
        (dense[tokens] ** 2 * (tokens + 1)[:, None]).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    torch.testing.assert_close(table.values, dense.detach(), rtol=1e-5, atol=1e-6)


def test_a_step_moves_the_rows_of_all_calls_and_no_others() -> None:
    """Two calls hand out row 2; its gradient is their sum, and its step as long as that of one call."""
    table = Table(start())
    for tokens in ([1, 2], [2, 3]):
        rows, _ = table.rows(np.array(tokens))
        rows.sum().backward()
    table.step(0.1, 0.0, 1)
    moved = start() - table.values
    torch.testing.assert_close(moved[1:4], torch.full((3, 3), 0.1))
    assert not moved[[0, 4, 5]].any()


def test_rows_without_gradients_are_not_moved() -> None:
    table = Table(start())
    with torch.no_grad():
        table.rows(np.array([1]))
    table.step(0.1, 0.0, 1)
    assert torch.equal(table.values, start())

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from multirecall.data import Interactions
from multirecall.retrievers._towers.encoders import Pool
from multirecall.retrievers._towers.histories import histories_before
from multirecall.retrievers._towers.mlp import Activation, Layer, Mlp
from multirecall.retrievers._towers.pooling import PooledVector, pool, pool_gradient, user_input
from multirecall.retrievers._towers.serving import UserInputs

DIM = 3


def test_user_input_by_hand() -> None:
    """Ages from the newest: 0, 1, 2; a half-life of 1 gives weights 1, 1/2, 1/4 times those of the events."""
    tokens_table = np.arange(12, dtype=np.float32).reshape(4, DIM)
    items_table = np.eye(3, dtype=np.float32)
    found = user_input(
        np.array([1, 3], np.int32),
        np.array([1.0, 0.5], np.float32),
        tokens_table,
        np.array([0, 1, 2], np.int32),
        np.array([4.0, 1.0, 1.0], np.float32),
        True,
        np.array([1.0]),
        items_table,
    )
    expected = [3 + 4.5, 4 + 5, 5 + 5.5, 1 / 2.5, 0.5 / 2.5, 1 / 2.5]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_order_counts_only_where_it_means_something() -> None:
    table = np.eye(2, dtype=np.float32)
    arrays = np.array([0, 1], np.int32), np.ones(2, np.float32)
    none = np.empty(0, np.int32), np.empty(0, np.float32), table
    for ordered, expected in ((True, [1 / 3, 2 / 3]), (False, [0.5, 0.5])):
        found = user_input(*none, *arrays, ordered, np.array([1.0]), table)
        np.testing.assert_allclose(found[2:], expected, rtol=1e-6)


@pytest.mark.parametrize("weights", [[], [0.0, 0.0]])
def test_history_without_weight_is_zero(weights: list[float]) -> None:
    table = np.ones((2, 2), np.float32)
    none = np.empty(0, np.int32), np.empty(0, np.float32), table
    history = np.arange(len(weights), dtype=np.int32), np.array(weights, np.float32)
    assert user_input(*none, *history, True, np.array([1.0]), table).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "tanh"])
@pytest.mark.parametrize("n_users", [1, 2, 33])
def test_several_users_have_the_vectors_of_each(activation: Activation, n_users: int) -> None:
    """To the bit: what a user gets does not depend on who is asked about together."""
    rng = np.random.default_rng(n_users)
    tokens_table, items_table = (rng.normal(size=(50, 16)).astype(np.float32) for _ in range(2))
    widths = [(48, 37), (37, 20), (20, 16)]
    layers = [
        Layer(*(rng.normal(size=shape).astype(np.float32) for shape in (width, width[1:], width[1:], width[1:])))
        for width in widths
    ]
    encoder = PooledVector.of(Mlp(layers, activation), [2.0, 20.0])
    users = []
    for size in rng.integers(0, 9, n_users):
        tokens, history = (rng.integers(0, 50, n).astype(np.int32) for n in (3, size))
        weights = (rng.random(n).astype(np.float32) for n in (3, size))
        nothing = np.empty(0, np.float32), np.empty((0, 16), np.float32)
        arrays = tokens, next(weights), tokens_table, history, next(weights)
        users.append(UserInputs(*arrays, None, None, True, items_table, *nothing))
    together = encoder.of_each(users)
    assert together.shape == (n_users, 1, 16)
    assert together.tobytes() == np.array([encoder(user) for user in users]).tobytes()


@given(st.integers(0, 5), st.integers(1, 6), st.integers(1, 3), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_pools_and_their_gradient_are_matrix_products(n_bags: int, n_rows: int, n_pools: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 4, n_bags)
    offsets = np.append(0, np.cumsum(lengths))
    places = rng.integers(0, n_rows, offsets[-1])
    weights = rng.random((n_pools, offsets[-1])).astype(np.float32)
    rows = rng.normal(size=(n_rows, DIM)).astype(np.float32)
    dense = np.zeros((n_pools, n_bags, n_rows))
    for bag, place in zip(np.repeat(np.arange(n_bags), lengths), range(offsets[-1]), strict=True):
        dense[:, bag, places[place]] += weights[:, place]
    expected = np.concatenate(list(dense @ rows), axis=1) if n_bags else np.zeros((0, n_pools * DIM))
    np.testing.assert_allclose(pool(rows, places, offsets, weights), expected, atol=1e-5)
    gradient = rng.normal(size=(n_bags, n_pools * DIM)).astype(np.float32)
    parts = gradient.reshape(n_bags, n_pools, DIM)
    back = sum(dense[pool].T @ parts[:, pool] for pool in range(n_pools))
    np.testing.assert_allclose(pool_gradient(gradient, places, offsets, weights, n_rows), back, atol=1e-5)


def test_pooled_passes_its_gradient_to_torch() -> None:
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    sums = Pool.apply(rows, torch.tensor([0, 1, 1]), torch.tensor([0, 1, 3]), torch.tensor([[1.0, 0.5, 0.25]]))
    torch.testing.assert_close(sums, torch.tensor([[1.0, 2.0], [2.25, 3.0]]))
    sums.sum().backward()
    torch.testing.assert_close(rows.grad, torch.tensor([[1.0, 1.0], [0.75, 0.75]]))


def log(ordered: bool) -> Interactions:
    """User 0 has chosen 5, 6, 7, 5, 8; user 1 nothing; user 2 has chosen 5, 9."""
    return Interactions(
        np.array([0, 0, 0, 0, 0, 2, 2], np.int32),
        np.array([5, 6, 7, 5, 8, 5, 9], np.int32),
        None,
        np.arange(1, 8).astype(np.float32),
        3,
        10,
        ordered,
    )


def runs(ordered: bool, events: list[int], gaps: list[int], length: int) -> list[list[tuple[int, float, float]]]:
    found = histories_before(log(ordered), np.array(events), np.array(gaps), length)
    rows = list(zip(found.items.tolist(), found.weights.tolist(), found.positions.tolist(), strict=True))
    return [rows[start:stop] for start, stop in zip(found.offsets[:-1], found.offsets[1:], strict=True)]


def test_histories_stand_right_before_their_event() -> None:
    assert runs(True, [4, 0, 6, 2], [0, 0, 0, 0], 3) == [
        [(6, 2, 2), (7, 3, 1), (5, 4, 0)],
        [],
        [(5, 6, 0)],
        [(5, 1, 1), (6, 2, 0)],
    ]


def test_a_gap_leaves_the_newest_out() -> None:
    assert runs(True, [4, 1], [2, 3], 3) == [[(5, 1, 1), (6, 2, 0)], []]


def test_without_order_it_is_the_other_events_of_other_items() -> None:
    assert runs(False, [3, 6, 0], [0, 0, 0], 9) == [
        [(8, 5, 0), (6, 2, 0), (7, 3, 0)],
        [(5, 6, 0)],
        [(6, 2, 0), (7, 3, 0), (8, 5, 0)],
    ]
    assert [len(run) for run in runs(False, [1], [0], 2)] == [2]

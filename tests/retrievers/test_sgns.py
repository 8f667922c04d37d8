from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chisquare

from multirecall.progress import SILENT
from multirecall.retrievers._graph.skipgram import (
    Sampler,
    SkipGram,
    SkipGramConfig,
    _draw,
    _scratch,
    _step,
    _step_cbow,
    _to_errors,
    _train,
    train_skipgram,
)


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = 1 / (1 + np.exp(-x))
    return values


def test_sampler_follows_its_weights() -> None:
    weights = np.array([5.0, 0.0, 1.0, 3.0, 0.5, 0.0, 10.0])
    sampler = Sampler.of(weights)
    state = np.array([12345], np.uint64)
    drawn = np.bincount([_draw(sampler.choices, state) for _ in range(40_000)], minlength=7)
    assert drawn[weights == 0].sum() == 0
    present = weights > 0
    assert chisquare(drawn[present], 40_000 * weights[present] / weights.sum()).pvalue > 0.001


def test_negatives_follow_frequency_to_the_power() -> None:
    counts = np.array([16, 0, 81, 1])
    model = SkipGram(counts, SkipGramConfig(sampling_exponent=0.75), np.random.default_rng(0), planned=1)
    state = np.array([99], np.uint64)
    drawn = [_draw(model.sampler.choices, state) for _ in range(36_000)]
    assert chisquare(np.bincount(drawn, minlength=4)[[0, 2, 3]], [8_000, 27_000, 1_000]).pvalue > 0.001


def test_frequent_tokens_are_dropped_as_in_word2vec() -> None:
    model = SkipGram(np.array([900, 99, 1]), SkipGramConfig(subsample=0.01), np.random.default_rng(0), planned=1)
    ratio = 0.01 / 0.9
    assert model.keep.tolist() == pytest.approx([ratio**0.5 + ratio, (0.01 / 0.099) ** 0.5 + 0.01 / 0.099, 1.0])


@pytest.mark.parametrize("truth", [False, True])
def test_errors_are_the_distance_from_the_logistic_function(truth: bool) -> None:
    logits = np.linspace(-30, 30, 1_001)
    errors = np.append(np.float32(7), logits.astype(np.float32))
    _to_errors(errors, 1, logits.size, truth, 0.1)
    np.testing.assert_allclose(errors[1:], 0.1 * (truth - sigmoid(logits)), atol=0.1 * 5e-5)
    assert errors[0] == 7


DIM = 16
"""The least length of a row in the kernels."""


def world() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    return rng.normal(size=(6, DIM)).astype(np.float32), rng.normal(size=(6, DIM)).astype(np.float32)


def test_one_step_written_out() -> None:
    """Contexts 0 and 2 of centre 5 with the negatives 1 and 3, learning rate 0.1."""
    vectors, outputs = world()
    before, sides = vectors.astype(np.float64), outputs.astype(np.float64)
    contexts, targets = np.array([0, 2, 9, 9], np.int32), np.array([5, 1, 3], np.int32)
    _step(vectors.ravel(), outputs.ravel(), contexts, 2, targets, 3, *_scratch(4, 3, DIM), DIM, 0.1)

    inputs, others = before[[0, 2]], sides[[5, 1, 3]]
    errors = 0.1 * (np.array([1.0, 0.0, 0.0]) - sigmoid(inputs @ others.T))
    before[[0, 2]] += errors @ others
    sides[[5, 1, 3]] += errors.T @ inputs
    np.testing.assert_allclose(vectors, before, atol=1e-4)
    np.testing.assert_allclose(outputs, sides, atol=1e-4)
    assert (vectors[[1, 3, 4, 5]] == world()[0][[1, 3, 4, 5]]).all()
    assert (outputs[[0, 2, 4]] == world()[1][[0, 2, 4]]).all()


def test_one_step_of_cbow_written_out() -> None:
    vectors, outputs = world()
    before, sides = vectors.astype(np.float64), outputs.astype(np.float64)
    contexts, targets = np.array([0, 2], np.int32), np.array([5, 1, 3], np.int32)
    inputs, _, errors_of = _scratch(2, 3, DIM)
    _step_cbow(vectors.ravel(), outputs.ravel(), contexts, 2, targets, 3, inputs, errors_of, DIM, 0.1)

    mean, others = before[[0, 2]].mean(axis=0), sides[[5, 1, 3]]
    errors = 0.1 * (np.array([1.0, 0.0, 0.0]) - sigmoid(others @ mean))
    before[[0, 2]] += errors @ others / 2
    sides[[5, 1, 3]] += np.outer(errors, mean)
    np.testing.assert_allclose(vectors, before, atol=1e-4)
    np.testing.assert_allclose(outputs, sides, atol=1e-4)


def test_window_bounds_who_is_a_context() -> None:
    """With a window of 1 only direct neighbours are contexts, so the ends never move each other."""
    tokens, bounds = np.array([0, 1, 2], np.int32), np.array([0, 3])
    vectors, outputs = np.ones((4, DIM), np.float32), np.zeros((4, DIM), np.float32)
    keep = np.ones(4)
    only_three = Sampler.of(np.array([0.0, 0.0, 0.0, 1.0]))
    _train(tokens, bounds, vectors, outputs, only_three.choices, keep, 1, 1, 0.1, False, 7)
    steps = outputs[:, 0]
    assert steps[1] > steps[0] == pytest.approx(steps[2]), "the middle has two contexts, each end one"
    assert steps[3] < 0


def communities(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Sequences of ten tokens, each from one half of 20 tokens."""
    tokens = rng.integers(0, 10, (300, 10)) + 10 * (np.arange(300)[:, None] % 2)
    return tokens.ravel().astype(np.int32), np.arange(0, 3001, 10)


@pytest.mark.parametrize("cbow", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_tokens_of_one_context_come_together(cbow: bool, threads: int) -> None:
    config = SkipGramConfig(dim=8, cbow=cbow, threads=threads, subsample=0)
    vectors = train_skipgram(
        *communities(np.random.default_rng(0)), 20, config, 20, np.random.default_rng(1), SILENT, ""
    )
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = units @ units.T
    assert cosines[:10, :10].mean() > cosines[:10, 10:].mean() + 0.5
    assert cosines[10:, 10:].mean() > cosines[:10, 10:].mean() + 0.5


def test_one_thread_is_reproducible() -> None:
    config = SkipGramConfig(dim=8)
    first, second, other = (
        train_skipgram(*communities(np.random.default_rng(0)), 20, config, 3, np.random.default_rng(seed), SILENT, "")
        for seed in (1, 1, 2)
    )
    assert (first == second).all()
    assert (first != other).any()


def test_chunks_are_streamed_under_one_schedule() -> None:
    """Training in two chunks goes on where the first one ended, learning rate included."""
    tokens, offsets = communities(np.random.default_rng(0))
    config = SkipGramConfig(dim=4)
    whole, halves = (
        SkipGram(np.bincount(tokens), config, np.random.default_rng(1), planned=tokens.size) for _ in range(2)
    )
    whole.train(tokens, offsets)
    halves.train(tokens[:1280], offsets[:129])
    halves.train(tokens[1280:], offsets[128:] - 1280)
    assert np.abs(whole.vectors).max() == pytest.approx(np.abs(halves.vectors).max(), rel=0.5)
    assert halves._trained == whole._trained == tokens.size


@pytest.mark.parametrize("dim", [5, 16, 20, 80])
def test_vectors_of_any_length_are_trained(dim: int) -> None:
    config = SkipGramConfig(dim=dim, subsample=0)
    vectors = train_skipgram(
        *communities(np.random.default_rng(0)), 20, config, 20, np.random.default_rng(1), SILENT, ""
    )
    assert vectors.shape == (20, dim)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = units @ units.T
    assert cosines[:10, :10].mean() > cosines[:10, 10:].mean() + 0.5

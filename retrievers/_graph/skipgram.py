"""Skip-gram and CBOW with negative sampling, streamed over chunks of sequences."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from multirecall.csr import take_runs
from multirecall.kernels import Array, fast_kernel, kernel
from multirecall.progress import Progress
from multirecall.protocols import ThreadedConfig
from multirecall.validation import Count, NonNegative, Positive

from .alias import alias_tables

TABLE_SIZE = 4096
LARGEST_LOGIT = 8.0
"""The absolute logit above which the logistic function is rounded to 0 or 1."""

SEQUENCES_PER_TASK = 64
"""Sequences that one thread takes at a time; each task has a random stream of its own."""


class SkipGramConfig(ThreadedConfig):
    """Settings of the training."""

    dim: Count = 64
    """Length of a vector. Changes results; memory is 8 bytes a number."""

    window: Count = 5
    """Most positions between a centre and its context; each centre draws its own, 1 … window. Changes results."""

    negatives: Count = 5
    """Negative samples of a window, shared by its contexts. Changes results."""

    learning_rate: Positive = 0.05
    """Learning rate at the start; falls linearly to a thousandth of it. Changes results."""

    subsample: NonNegative = 1e-3
    """Frequency above which occurrences are dropped at random; 0: none are. Changes results."""

    sampling_exponent: float = 0.75
    """Negatives are drawn by frequency to this power. Changes results."""

    cbow: bool = False
    """Predict the centre from the mean of its window, instead of from each context. Changes results."""

    threads: Count = 1
    """Threads of the training. Changes speed; only with 1 are results reproducible (lock-free updates)."""


@dataclass(frozen=True, slots=True)
class Sampler:
    """Draws tokens by weight in constant time.

    Attributes:
        choices: an alias table, `alias.CHOICE` (n,).
    """

    choices: NDArray[np.void]

    @classmethod
    def of(cls, weights: NDArray[np.float64]) -> Sampler:
        """A sampler over 0 … n-1 in proportion to `weights` (n,), ≥ 0, not all 0."""
        _, choices = alias_tables(np.array([0, weights.size]), weights)
        never = weights == 0
        choices["keep"][never] = 0.0
        stuck = np.flatnonzero(never & (choices["jump"] == 0))
        choices["jump"][stuck] = weights.argmax() - stuck
        return cls(choices)


class SkipGram:
    """Trains vectors of tokens on sequences, chunk by chunk.

    Mikolov et al. (NIPS 2013), "Distributed Representations of Words and Phrases", equation 4: for a context `c`
    of a centre `o`, with vectors `v` and `v'`, each step ascends

        log σ(v'_o · v_c) + Σ_negatives log σ(-v'_n · v_c).

    The negatives are drawn once for a window and shared by its contexts (Ji et al. 2016, "Parallelizing Word2Vec
    in Shared and Distributed Memory"), so that a window is two small matrix products. One thread gives the same
    vectors every time.

    Attributes:
        vectors: float32 (n_tokens, dim), what is learned.
        outputs: float32 (n_tokens, dim), the vectors `v'` of the other side.
    """

    def __init__(
        self, counts: NDArray[np.integer], config: SkipGramConfig, rng: np.random.Generator, *, planned: int
    ) -> None:
        """Prepare to train on `planned` tokens in all, epochs included, which appear `counts` (n_tokens,) times."""
        self.config = config
        self._planned = max(planned, 1)
        self._trained = 0
        self._rng = rng
        self._counts = counts.astype(np.float64)
        self.vectors = ((rng.random((counts.size, config.dim)) - 0.5) / config.dim).astype(np.float32)
        self.outputs = np.zeros_like(self.vectors)

    @cached_property
    def sampler(self) -> Sampler:
        """Draws negatives."""
        weights = np.zeros_like(self._counts)
        np.power(self._counts, self.config.sampling_exponent, out=weights, where=self._counts > 0)
        return Sampler.of(weights)

    @cached_property
    def keep(self) -> NDArray[np.float64]:
        """The chance that an occurrence is kept, as in word2vec: `√(t / f) + t / f`, with frequency `f`."""
        if not self.config.subsample:
            return np.ones_like(self._counts)
        ratio = self.config.subsample * self._counts.sum() / np.maximum(self._counts, 1.0)
        keep: NDArray[np.float64] = np.minimum(1.0, np.sqrt(ratio) + ratio)
        return keep

    def train(self, tokens: NDArray[np.int32], offsets: NDArray[np.int64]) -> None:
        """Go once over sequences: sequence `s` is `tokens[offsets[s]:offsets[s + 1]]`."""
        starts = range(0, offsets.size - 1, SEQUENCES_PER_TASK)
        seeds = self._rng.integers(1, 2**63 - 1, len(starts), dtype=np.uint64)
        done = self._trained

        def task(number: int) -> None:
            start = starts[number]
            bounds = offsets[start : start + SEQUENCES_PER_TASK + 1]
            progress = min(1.0, (done + int(bounds[0] - offsets[0])) / self._planned)
            rate = self.config.learning_rate * max(1.0 - progress, 1e-3)
            _train(
                tokens,
                bounds,
                self.vectors,
                self.outputs,
                self.sampler.choices,
                self.keep,
                LOGISTIC,
                self.config.window,
                self.config.negatives,
                rate,
                self.config.cbow,
                seeds[number],
            )

        if self.config.threads == 1:
            for number in range(len(starts)):
                task(number)
        else:
            with ThreadPoolExecutor(self.config.threads) as pool:
                list(pool.map(task, range(len(starts))))
        self._trained += int(offsets[-1] - offsets[0])


def train_skipgram(
    tokens: NDArray[np.int32],
    offsets: NDArray[np.int64],
    n_tokens: int,
    config: SkipGramConfig,
    epochs: int,
    rng: np.random.Generator,
    progress: Progress,
    task: str,
) -> NDArray[np.float32]:
    """Learn vectors, float32 (n_tokens, dim), in `epochs` passes over the same sequences, shuffled each time."""
    counts = np.bincount(tokens, minlength=n_tokens)
    model = SkipGram(counts, config, rng, planned=epochs * tokens.size)
    with progress.task(task, epochs) as advance:
        for _ in range(epochs):
            bounds, places = take_runs(offsets, rng.permutation(offsets.size - 1))
            model.train(tokens[places], bounds)
            advance(1)
    return model.vectors


LOGISTIC: NDArray[np.float32] = (1.0 / (1.0 + np.exp(-np.linspace(-LARGEST_LOGIT, LARGEST_LOGIT, TABLE_SIZE)))).astype(
    np.float32
)


@kernel
def _random(state: Array) -> float:
    """The next number of an xorshift64* stream, uniform in [0, 1)."""
    bits = state[0]
    bits ^= bits >> np.uint64(12)
    bits ^= bits << np.uint64(25)
    bits ^= bits >> np.uint64(27)
    state[0] = bits
    return float((bits * np.uint64(2685821657736338717)) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@kernel
def _draw(choices: Array, state: Array) -> int:
    place = _random(state) * choices.size
    column = int(place)
    return column if place - column < choices[column].keep else column + int(choices[column].jump)


@fast_kernel
def _train(
    tokens: Array,
    bounds: Array,
    vectors: Array,
    outputs: Array,
    choices: Array,
    keep: Array,
    logistic: Array,
    window: int,
    n_negatives: int,
    rate: float,
    cbow: bool,
    seed: int,
) -> None:
    dim = vectors.shape[1]
    state = np.array([seed], np.uint64)
    longest = 0
    for sequence in range(bounds.size - 1):
        longest = max(longest, bounds[sequence + 1] - bounds[sequence])
    kept = np.empty(longest, np.int32)
    contexts = np.empty(2 * window, np.int32)
    targets = np.empty(1 + n_negatives, np.int32)
    inputs = np.empty((2 * window, dim), np.float32)
    sides = np.empty((1 + n_negatives, dim), np.float32)
    input_steps = np.empty((2 * window, dim), np.float32)
    for sequence in range(bounds.size - 1):
        size = 0
        for position in range(bounds[sequence], bounds[sequence + 1]):
            token = tokens[position]
            if keep[token] >= 1.0 or _random(state) < keep[token]:
                kept[size] = token
                size += 1
        for centre in range(size):
            reach = 1 + int(_random(state) * window)
            n_contexts = 0
            for position in range(max(0, centre - reach), min(size, centre + reach + 1)):
                if position != centre:
                    contexts[n_contexts] = kept[position]
                    n_contexts += 1
            if n_contexts == 0:
                continue
            targets[0] = kept[centre]
            n_targets = 1
            for _ in range(n_negatives):
                token = _draw(choices, state)
                if token != targets[0]:
                    targets[n_targets] = token
                    n_targets += 1
            if cbow:
                _step_cbow(
                    vectors, outputs, contexts, n_contexts, targets, n_targets, inputs, input_steps, logistic, rate
                )
            else:
                _step(
                    vectors,
                    outputs,
                    contexts,
                    n_contexts,
                    targets,
                    n_targets,
                    inputs,
                    sides,
                    input_steps,
                    logistic,
                    rate,
                )


@fast_kernel
def _step(
    vectors: Array,
    outputs: Array,
    contexts: Array,
    n_contexts: int,
    targets: Array,
    n_targets: int,
    inputs: Array,
    sides: Array,
    input_steps: Array,
    logistic: Array,
    rate: float,
) -> None:
    """One step on a window: every context against the centre (`targets[0]`) and the negatives behind it."""
    dim = vectors.shape[1]
    for context in range(n_contexts):
        for column in range(dim):
            inputs[context, column] = vectors[contexts[context], column]
            input_steps[context, column] = 0.0
    for target in range(n_targets):
        token = targets[target]
        for column in range(dim):
            sides[target, column] = outputs[token, column]
        for context in range(n_contexts):
            logit = np.float32(0.0)
            for column in range(dim):
                logit += inputs[context, column] * sides[target, column]
            gradient = np.float32(rate * ((target == 0) - _logistic(float(logit), logistic)))
            for column in range(dim):
                input_steps[context, column] += gradient * sides[target, column]
            for column in range(dim):
                outputs[token, column] += gradient * inputs[context, column]
    for context in range(n_contexts):
        for column in range(dim):
            vectors[contexts[context], column] += input_steps[context, column]


@fast_kernel
def _step_cbow(
    vectors: Array,
    outputs: Array,
    contexts: Array,
    n_contexts: int,
    targets: Array,
    n_targets: int,
    inputs: Array,
    input_steps: Array,
    logistic: Array,
    rate: float,
) -> None:
    """One step on a window: the mean of its contexts against the centre and the negatives."""
    dim = vectors.shape[1]
    share = np.float32(1.0 / n_contexts)
    for column in range(dim):
        total = np.float32(0.0)
        for context in range(n_contexts):
            total += vectors[contexts[context], column]
        inputs[0, column] = total * share
        input_steps[0, column] = 0.0
    for target in range(n_targets):
        token = targets[target]
        logit = np.float32(0.0)
        for column in range(dim):
            logit += inputs[0, column] * outputs[token, column]
        gradient = np.float32(rate * ((target == 0) - _logistic(float(logit), logistic)))
        for column in range(dim):
            input_steps[0, column] += gradient * outputs[token, column]
        for column in range(dim):
            outputs[token, column] += gradient * inputs[0, column]
    for context in range(n_contexts):
        for column in range(dim):
            vectors[contexts[context], column] += share * input_steps[0, column]


@kernel
def _logistic(logit: float, table: Array) -> float:
    """`1 / (1 + exp(-logit))`, from a table."""
    if logit >= LARGEST_LOGIT:
        return 1.0
    if logit <= -LARGEST_LOGIT:
        return 0.0
    return float(table[int((logit + LARGEST_LOGIT) * ((TABLE_SIZE - 1) / (2.0 * LARGEST_LOGIT)))])

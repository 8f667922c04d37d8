"""Skip-gram and CBOW with negative sampling, streamed over chunks of sequences."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from multirecall.csr import take_runs
from multirecall.kernels import Array, dot, fast_kernel, kernel, prefetch
from multirecall.progress import Progress
from multirecall.protocols import ThreadedConfig
from multirecall.validation import Count, NonNegative, Positive

from .._sparse.spectral_start import Start, Vectors
from .alias import alias_tables
from .row_products import BLOCK, add_rows, copy_row, dots_of_block, padded

LARGEST = np.float32(4.97)
"""Half of the absolute logit beyond which the logistic function counts as 0 or 1."""

ABOVE = tuple(np.float32(one) for one in (135_135, 17_325, 378, 1))
BELOW = tuple(np.float32(one) for one in (135_135, 62_370, 3_150, 28))
"""The Padé approximant of tanh: `x · Σ ABOVE[k] x^2k / Σ BELOW[k] x^2k`."""

LENGTH = np.float32(5.0)
"""The length of a vector that begins at a singular vector."""

SEQUENCES_PER_TASK = 64
"""Sequences that one thread takes at a time; each task has a random stream of its own."""


class SkipGramConfig(ThreadedConfig):
    """Settings of the training."""

    start: Start = "spectrum"
    """Where vectors begin: `spectrum` at the leading singular vectors of the log or graph, `random` at random, which
    needs more passes. Changes results."""

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
    """

    def __init__(
        self,
        counts: NDArray[np.integer],
        config: SkipGramConfig,
        rng: np.random.Generator,
        *,
        planned: int,
        start: Vectors | None = None,
    ) -> None:
        """Prepare to train on `planned` tokens in all, epochs included, which appear `counts` (n_tokens,) times.

        `v` and `v'` begin at `start`, float32 (n_tokens, dim), vectors of length 1, scaled; None: at random.
        """
        self.config = config
        self._planned = max(planned, 1)
        self._trained = 0
        self._rng = rng
        self._counts = counts.astype(np.float64)
        self._vectors = np.zeros((counts.size, padded(config.dim)), np.float32)
        self._vectors[:, : config.dim] = (rng.random((counts.size, config.dim)) - 0.5) / config.dim
        self._outputs = np.zeros_like(self._vectors)
        if start is not None:
            self._outputs[:, : config.dim] = LENGTH * start
            self._vectors += self._outputs

    @property
    def vectors(self) -> NDArray[np.float32]:
        """What is learned, float32 (n_tokens, dim)."""
        return np.ascontiguousarray(self._vectors[:, : self.config.dim])

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
                self._vectors,
                self._outputs,
                self.sampler.choices,
                self.keep,
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
    start: Vectors | None = None,
) -> NDArray[np.float32]:
    """Learn vectors, float32 (n_tokens, dim), in `epochs` passes over the same sequences, shuffled each time.

    `start` as in `SkipGram`.
    """
    counts = np.bincount(tokens, minlength=n_tokens)
    model = SkipGram(counts, config, rng, planned=epochs * tokens.size, start=start)
    del start  # a third of the memory of all vectors
    with progress.task(task, epochs) as advance:
        for _ in range(epochs):
            bounds, places = take_runs(offsets, rng.permutation(offsets.size - 1))
            model.train(tokens[places], bounds)
            advance(1)
    return model.vectors


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


@kernel
def _train(
    tokens: Array,
    bounds: Array,
    vectors: Array,
    outputs: Array,
    choices: Array,
    keep: Array,
    window: int,
    n_negatives: int,
    rate: float,
    cbow: bool,
    seed: int,
) -> None:
    """Go over the sequences between `bounds`; rows of `vectors` and `outputs` are padded (see `row_products`)."""
    dim = vectors.shape[1]
    own, others = vectors.reshape(-1), outputs.reshape(-1)
    state = np.array([seed], np.uint64)
    longest = 0
    for sequence in range(bounds.size - 1):
        longest = max(longest, bounds[sequence + 1] - bounds[sequence])
    kept = np.empty(longest, np.int32)
    contexts = np.empty(2 * window, np.int32)
    targets = np.empty(1 + n_negatives, np.int32)
    upcoming = np.empty(n_negatives, np.int32)
    inputs, sides, errors = _scratch(2 * window, 1 + n_negatives, dim)
    _draw_negatives(upcoming, choices, state, others, dim)
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
            for place in range(n_negatives):
                if upcoming[place] != targets[0]:
                    targets[n_targets] = upcoming[place]
                    n_targets += 1
            _draw_negatives(upcoming, choices, state, others, dim)
            if cbow:
                _step_cbow(own, others, contexts, n_contexts, targets, n_targets, inputs, errors, dim, rate)
            else:
                _step(own, others, contexts, n_contexts, targets, n_targets, inputs, sides, errors, dim, rate)


@kernel
def _draw_negatives(drawn: Array, choices: Array, state: Array, outputs: Array, dim: int) -> None:
    """Draw the negatives of the next window, and ask for their rows, which arrive while this window is trained."""
    for place in range(drawn.size):
        drawn[place] = _draw(choices, state)
        prefetch(outputs, int(drawn[place]) * dim, dim * outputs.itemsize)


@kernel
def _scratch(n_contexts: int, n_targets: int, dim: int) -> tuple[Array, Array, Array]:
    """Memory for steps on up to `n_contexts` and `n_targets`, flat: inputs, sides, errors."""
    most = _whole_blocks(n_contexts)
    return (
        np.zeros(most * dim, np.float32),
        np.zeros(n_targets * dim, np.float32),
        np.zeros(n_targets * most, np.float32),
    )


@kernel
def _whole_blocks(n: int) -> int:
    return -(-n // BLOCK) * BLOCK


@kernel
def _step(
    vectors: Array,
    outputs: Array,
    contexts: Array,
    n_contexts: int,
    targets: Array,
    n_targets: int,
    inputs: Array,
    sides: Array,
    errors: Array,
    dim: int,
    rate: float,
) -> None:
    """One step on a window: every context against the centre (`targets[0]`) and the negatives behind it.

    Rows of `vectors` and `outputs`, both flat, have `dim` numbers, a multiple of `LANES`; the last three arrays are
    those of `_scratch`.
    """
    width = _whole_blocks(n_contexts)
    for place in range(n_contexts):
        copy_row(inputs, place * dim, vectors, np.int64(contexts[place]) * dim, dim)
    for place in range(n_targets):
        copy_row(sides, place * dim, outputs, np.int64(targets[place]) * dim, dim)
        for context in range(0, n_contexts, BLOCK):
            dots_of_block(inputs, context * dim, sides, place * dim, dim, errors, place * width + context)
    for place in range(n_targets):
        _to_errors(errors, place * width, n_contexts, place == 0, rate)
        add_rows(outputs, np.int64(targets[place]) * dim, errors, place * width, 1, inputs, 0, n_contexts, dim)
    for place in range(n_contexts):
        add_rows(vectors, np.int64(contexts[place]) * dim, errors, place, width, sides, 0, n_targets, dim)


@fast_kernel
def _step_cbow(
    vectors: Array,
    outputs: Array,
    contexts: Array,
    n_contexts: int,
    targets: Array,
    n_targets: int,
    inputs: Array,
    errors: Array,
    dim: int,
    rate: float,
) -> None:
    """One step on a window: the mean of its contexts against the centre and the negatives; arrays as in `_step`."""
    share = np.float32(1.0 / n_contexts)
    mean, change = inputs[:dim], inputs[dim : 2 * dim]
    mean[:] = 0.0
    change[:] = 0.0
    for place in range(n_contexts):
        first = np.int64(contexts[place]) * dim
        for column in range(dim):
            mean[column] += share * vectors[first + column]
    for place in range(n_targets):
        first = np.int64(targets[place]) * dim
        side = outputs[first : first + dim]
        errors[0] = dot(mean, side)
        _to_errors(errors, 0, 1, place == 0, rate)
        for column in range(dim):
            change[column] += errors[0] * side[column]
            side[column] += errors[0] * mean[column]
    for place in range(n_contexts):
        first = np.int64(contexts[place]) * dim
        for column in range(dim):
            vectors[first + column] += share * change[column]


@fast_kernel
def _to_errors(logits: Array, first: int, n: int, truth: float, rate: float) -> None:
    """Replace `n` float32 logits `x` from `first` on by `rate · (truth - σ(x))`.

    `σ(x) = ½ + ½ tanh(x / 2)`, with the Padé approximant of tanh of degrees 7 and 6, which vectorises. The error of σ
    is at most 5e-5.
    """
    half, scale = np.float32(0.5), np.float32(rate)
    centred = np.float32(truth) - half
    for place in range(first, first + n):
        x = min(max(half * logits[place], -LARGEST), LARGEST)
        square = x * x
        above = ((ABOVE[3] * square + ABOVE[2]) * square + ABOVE[1]) * square + ABOVE[0]
        below = ((BELOW[3] * square + BELOW[2]) * square + BELOW[1]) * square + BELOW[0]
        logits[place] = scale * (centred - half * x * above / below)

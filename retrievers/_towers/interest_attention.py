"""Self-attention over histories with several heads, and its gradient: kernels for training on a CPU.

A bag holds the events of one history. Head `k` gives the event `t` of a bag the logit `h_k · tanh(x_t + y_t)`, where
`x_t` depends on the item of the event and `y_t` on its position. The shares of a head are the weighted softmax of its
logits over the bag, `a_kt = w_t exp(l_kt) / Σ_s w_s exp(l_ks)`, and the result of a head is `Σ_t a_kt · row_t` (Lin et
al., ICLR 2017, equations 6 and 8; Cen et al., KDD 2020, equations 5 and 6).
"""

from __future__ import annotations

import numpy as np

from multirecall.kernels import Array, fast_kernel

LARGEST = 9.0
"""The largest argument of tanh; beyond it, tanh differs from 1 by less than float32 can tell."""


@fast_kernel
def attend(
    rows: Array,
    hidden: Array,
    shift: Array,
    heads: Array,
    places: Array,
    positions: Array,
    offsets: Array,
    weights: Array,
) -> tuple[Array, Array]:
    """The result of each head, float32 (n_bags, n_heads, dim), and the shares, float32 (nnz, n_heads).

    A bag without a weight above 0 has shares and results of 0.

    Args:
        rows: float32 (n_used, dim).
        hidden: float32 (n_used, width), `x` of each of `rows`.
        shift: float32 (length, width), `y` of each position.
        heads: float32 (n_heads, width).
        places: int64 (nnz,), the position in `rows` of each event.
        positions: int64 (nnz,), the position of each event in its history.
        offsets: int64 (n_bags + 1,), the CSR offsets of the bags.
        weights: float32 (nnz,), the weights of the events, ≥ 0.
    """
    n_heads, width = heads.shape
    dim = rows.shape[1]
    out = np.zeros((offsets.size - 1, n_heads, dim), np.float32)
    shares = np.zeros((places.size, n_heads), np.float32)
    values = np.empty(width, np.float32)
    for bag in range(offsets.size - 1):
        first, last = offsets[bag], offsets[bag + 1]
        for event in range(first, last):
            _tanh(hidden[places[event]], shift[positions[event]], values)
            for head in range(n_heads):
                logit = np.float32(0.0)
                for column in range(width):
                    logit += heads[head, column] * values[column]
                shares[event, head] = logit
        for head in range(n_heads):
            top = np.float32(-np.inf)
            for event in range(first, last):
                if weights[event] > 0:
                    top = max(top, shares[event, head])
            total = np.float32(0.0)
            for event in range(first, last):
                strength = np.float32(0.0)
                if weights[event] > 0:
                    strength = weights[event] * np.exp(shares[event, head] - top)
                shares[event, head] = strength
                total += strength
            if total > 0:
                for event in range(first, last):
                    shares[event, head] /= total
        for event in range(first, last):
            row = rows[places[event]]
            for head in range(n_heads):
                share, into = shares[event, head], out[bag, head]
                for column in range(dim):
                    into[column] += share * row[column]
    return out, shares


@fast_kernel
def attend_gradient(
    to_out: Array,
    to_shares: Array,
    shares: Array,
    rows: Array,
    hidden: Array,
    shift: Array,
    heads: Array,
    places: Array,
    positions: Array,
    offsets: Array,
) -> tuple[Array, Array, Array, Array]:
    """The gradients of `attend` in `rows`, `hidden`, `shift` and `heads`, from those in its two results."""
    n_heads, width = heads.shape
    dim = rows.shape[1]
    to_rows, to_hidden = np.zeros_like(rows), np.zeros_like(hidden)
    to_shift, to_heads = np.zeros_like(shift), np.zeros_like(heads)
    to_logits = np.empty((0, n_heads), np.float32)
    values = np.empty(width, np.float32)
    for bag in range(offsets.size - 1):
        first, last = offsets[bag], offsets[bag + 1]
        if last - first > len(to_logits):
            to_logits = np.empty((last - first, n_heads), np.float32)
        for event in range(first, last):
            row, to_row = rows[places[event]], to_rows[places[event]]
            for head in range(n_heads):
                share, from_head = shares[event, head], to_out[bag, head]
                inner = to_shares[event, head]
                for column in range(dim):
                    inner += from_head[column] * row[column]
                    to_row[column] += share * from_head[column]
                to_logits[event - first, head] = inner
        for head in range(n_heads):
            mean = np.float32(0.0)
            for event in range(first, last):
                mean += shares[event, head] * to_logits[event - first, head]
            for event in range(first, last):
                to_logits[event - first, head] = shares[event, head] * (to_logits[event - first, head] - mean)
        for event in range(first, last):
            _tanh(hidden[places[event]], shift[positions[event]], values)
            into, beside = to_hidden[places[event]], to_shift[positions[event]]
            for head in range(n_heads):
                slope, to_head = to_logits[event - first, head], to_heads[head]
                for column in range(width):
                    to_head[column] += slope * values[column]
            for column in range(width):
                through = np.float32(0.0)
                for head in range(n_heads):
                    through += to_logits[event - first, head] * heads[head, column]
                through *= np.float32(1.0) - values[column] * values[column]
                into[column] += through
                beside[column] += through
    return to_rows, to_hidden, to_shift, to_heads


@fast_kernel
def _tanh(left: Array, right: Array, out: Array) -> None:
    """Write `tanh(left + right)` into `out`, exact to 2e-7; in this form the loop vectorises.

    With `tanh(x / 2) = n / d`, `tanh(x) = 2 n d / (n² + d²)`. `n` and `d` are Lambert's continued fraction for tanh,
    cut after seven terms.
    """
    for column in range(out.size):
        half = np.float32(0.5) * min(max(left[column] + right[column], np.float32(-LARGEST)), np.float32(LARGEST))
        square = half * half
        n = half * (np.float32(135135.0) + square * (np.float32(17325.0) + square * (np.float32(378.0) + square)))
        d = np.float32(135135.0) + square * (
            np.float32(62370.0) + square * (np.float32(3150.0) + np.float32(28.0) * square)
        )
        out[column] = np.float32(2.0) * n * d / (n * n + d * d)

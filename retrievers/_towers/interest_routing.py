"""Dynamic routing of the events of a history to interests: kernels.

Each event `t` has a vector `m_tk` for interest `k`, and a start logit `b_tk`. An iteration computes the couplings
`c_tk = w_t · softmax_k(b_tk)`, the interests `v_k = squash(Σ_t c_tk m_tk)`, and then adds `m_tk · v_k` to `b_tk`
(Sabour et al., NeurIPS 2017, procedure 1; Li et al., CIKM 2019, algorithm 1, with one map for all interests; Cen et
al., KDD 2020, algorithm 1, with a map for each).
"""

from __future__ import annotations

import numpy as np

from multirecall.kernels import Array, fast_kernel, kernel


@fast_kernel
def route(
    mapped: Array, starts: Array, places: Array, offsets: Array, weights: Array, iterations: int, adaptive: bool
) -> Array:
    """The couplings of the last iteration, float32 (n_interests, nnz).

    With `adaptive`, a bag of `n` events has `max(1, min(n_interests, log2 n))` interests; each further one repeats the
    first.

    Args:
        mapped: float32 (n_used, n_maps, dim), the vectors of each item; `n_maps` is 1 or `n_interests`.
        starts: float32 (n_used, n_interests), the start logits of each item.
        places: int64 (nnz,), the position of each event's item in `mapped`.
        offsets: int64 (n_bags + 1,), the CSR offsets of the bags.
        weights: float32 (nnz,), the weights of the events, ≥ 0.
        iterations: the number of iterations, ≥ 1.
        adaptive: see above.
    """
    n_maps, dim = mapped.shape[1:]
    n_interests = starts.shape[1]
    couplings = np.empty((n_interests, places.size), np.float32)
    logits = np.empty((0, n_interests), np.float32)
    interests = np.empty((n_interests, dim), np.float32)
    for bag in range(offsets.size - 1):
        first, last = offsets[bag], offsets[bag + 1]
        n_own = n_used_interests(last - first, n_interests) if adaptive else n_interests
        if last - first > len(logits):
            logits = np.empty((last - first, n_interests), np.float32)
        for event in range(first, last):
            logits[event - first] = starts[places[event]]
        for iteration in range(iterations):
            for event in range(first, last):
                own, top, total = logits[event - first], np.float32(-np.inf), np.float32(0.0)
                for interest in range(n_own):
                    top = max(top, own[interest])
                for interest in range(n_own):
                    couplings[interest, event] = np.exp(own[interest] - top)
                    total += couplings[interest, event]
                for interest in range(n_own):
                    couplings[interest, event] *= weights[event] / total
            if iteration == iterations - 1:
                break
            interests[:] = 0
            for event in range(first, last):
                for interest in range(n_own):
                    row, into = mapped[places[event], min(interest, n_maps - 1)], interests[interest]
                    coupling = couplings[interest, event]
                    for column in range(dim):
                        into[column] += coupling * row[column]
            for interest in range(n_own):
                _squash(interests[interest])
            for event in range(first, last):
                for interest in range(n_own):
                    row, to = mapped[places[event], min(interest, n_maps - 1)], interests[interest]
                    agreement = np.float32(0.0)
                    for column in range(dim):
                        agreement += row[column] * to[column]
                    logits[event - first, interest] += agreement
        for interest in range(n_own, n_interests):
            couplings[interest, first:last] = couplings[0, first:last]
    return couplings


@kernel
def n_used_interests(n_events: int, n_interests: int) -> int:
    """`max(1, min(n_interests, log2 n_events))`, rounded down (Li et al. 2019, equation 9)."""
    n_own = 1
    while n_own < n_interests and 2 ** (n_own + 1) <= n_events:
        n_own += 1
    return n_own


@fast_kernel
def _squash(vector: Array) -> None:
    """Scale `vector` from length `l` to length `l² / (1 + l²)`, in place."""
    square = np.float32(0.0)
    for column in range(vector.size):
        square += vector[column] * vector[column]
    vector *= np.sqrt(square) / (np.float32(1.0) + square)

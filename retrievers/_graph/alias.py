"""Alias tables: drawing by weight in constant time."""

from __future__ import annotations

import numpy as np

from multirecall.kernels import Array, kernel

CHOICE = np.dtype([("keep", np.float32), ("jump", np.int32)])
"""The probability to keep a uniformly drawn edge, and how far away the edge is that is taken otherwise."""


@kernel
def alias_tables(offsets: Array, weights: Array) -> tuple[Array, Array]:
    """For each run `offsets[i]:offsets[i + 1]` of `weights` its total, float64 (n,), and its choices, `CHOICE`.

    Drawing an entry of the run uniformly, then staying with chance `keep` or moving by `jump`, is drawing by
    weight (Walker 1977), here by the method of Vose (1991).
    """
    n_nodes = offsets.size - 1
    totals = np.zeros(n_nodes, np.float64)
    choices = np.zeros(weights.size, CHOICE)
    largest = 0
    for node in range(n_nodes):
        largest = max(largest, offsets[node + 1] - offsets[node])
    shares = np.empty(largest, np.float64)
    pending = np.empty(largest, np.int32)
    for node in range(n_nodes):
        low, degree = offsets[node], offsets[node + 1] - offsets[node]
        for edge in range(low, low + degree):
            totals[node] += weights[edge]
        n_small, n_large = 0, 0
        for place in range(degree):
            choices[low + place].keep = 1.0
            shares[place] = weights[low + place] / totals[node] * degree
            if shares[place] < 1.0:
                pending[n_small] = place
                n_small += 1
            else:
                n_large += 1
                pending[degree - n_large] = place
        while n_small and n_large:
            n_small -= 1
            small, large = pending[n_small], pending[degree - n_large]
            choices[low + small].keep = shares[small]
            choices[low + small].jump = large - small
            shares[large] -= 1.0 - shares[small]
            if shares[large] < 1.0:
                n_large -= 1
                pending[n_small] = large
                n_small += 1
    return totals, choices
